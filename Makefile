# make serve    set up everything, get the embedded model, answer on 127.0.0.1:8000
# make check    style, types, layers and the unit tests, in under two minutes
# make test     set up everything, check style, types and layers, run the tests
# make help     the other targets

VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

# The first Python that is new enough; name another with `make PYTHON=…`.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$python; break; }; done)

DISTRIBUTIONS := -e . -e plugins/contract -e plugins/kit -e 'plugins/llamacpp[engine]' -e plugins/vllm -e conformance
# MLX's own packages are many and only some models need them: a first start does without, the tests do not.
SERVED := $(DISTRIBUTIONS) -e plugins/mlx
TESTED := $(DISTRIBUTIONS) -e 'plugins/mlx[engine]'
MANIFESTS := pyproject.toml $(wildcard plugins/*/pyproject.toml) conformance/pyproject.toml
CHECKED := router plugins conformance tests examples

INSTALLED := $(VENV)/installed
DEV_INSTALLED := $(VENV)/dev-installed
NODE_MODULES := tests/integration/node/node_modules/.package-lock.json

VLLM_ENV := .cache/vllm-venv
SCHEMA_NODE := .cache/schemas/node
SCHEMA_SUITE := .cache/schemas/jsonschema-4.26.0

# What `make check` runs of the tests: no engine, no real server, no rule of the suite that waits for a clock.
UNIT := tests/unit tests/docs plugins/contract plugins/kit \
	$(addprefix conformance/selftest/test_,rules.py docs.py report.py wire.py cli.py cut_json.py)

.PHONY: help serve setup check test unit test-vllm vllm-env parity schemas conformance lint format bench bench-engines clean
.DEFAULT_GOAL := help

help:
	@echo "make serve    set up everything, get the embedded model, answer on 127.0.0.1:8000"
	@echo "              make serve ARGS='--port 9000' passes options to 'enginehouse serve'"
	@echo "make check    style, types, layers and the unit tests, in under two minutes"
	@echo "make test     set up everything, check style, types and layers, run the tests"
	@echo "make test-vllm  build vLLM's environment for processors (3.4 GB) and run the tests that need it"
	@echo "make parity   compare the answers of the three engines on the same real weights, prompt by prompt"
	@echo "make conformance  run the conformance suite on every engine that is here and write the reports;"
	@echo "              WEIGHTS=real takes SmolLM2-135M instead of the tiny random model"
	@echo "make unit     the tests of 'make check' without the other checks"
	@echo "make lint     the checks of 'make test' without the tests"
	@echo "make format   rewrite the code in the project's style"
	@echo "make schemas  judge the compiler of JSON Schema: the standard's test suite, bombs, random schemas"
	@echo "make bench    measure the router beside others"
	@echo "make bench-engines  measure MLX and vLLM behind it beside their own servers (about half an hour)"
	@echo "make clean    remove what these commands made here; downloaded weights stay"

# ---- serve ----

serve: $(INSTALLED)
	@$(BIN)/enginehouse models pull $(if $(CONFIG),--config $(CONFIG)) >/dev/null
	@exec $(BIN)/enginehouse serve $(if $(CONFIG),--config $(CONFIG)) $(ARGS)

$(VENV)/pyvenv.cfg:
	@test -n "$(PYTHON)" || { echo "Enginehouse needs Python 3.11 or newer; install it, or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(INSTALLED): $(VENV)/pyvenv.cfg $(MANIFESTS)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(SERVED)
	@touch $@

# ---- test ----

# Types on one core, tests on the other: each takes about as long, so that tests in several processes would gain nothing.
check: $(DEV_INSTALLED)
	@$(MAKE) --no-print-directory -j2 lint unit

unit: $(DEV_INSTALLED)
	$(BIN)/python -m pytest -q $(UNIT) $(ARGS)

test: lint $(NODE_MODULES)
	$(BIN)/python -m pytest $(ARGS)

# vLLM's own environment, for processors: built anew when its recipe changes, or when a build was interrupted.
vllm-env: $(VENV)/pyvenv.cfg
	@$(BIN)/python plugins/vllm/environment/build.py $(VLLM_ENV)

test-vllm: $(DEV_INSTALLED) vllm-env
	ENGINEHOUSE_VLLM_PYTHON=$(abspath $(VLLM_ENV))/bin/python $(BIN)/python -m pytest plugins/vllm/tests tests/parity $(ARGS)

# The same requests to every engine with the same real weights in f32.
parity: $(DEV_INSTALLED) vllm-env
	ENGINEHOUSE_VLLM_PYTHON=$(abspath $(VLLM_ENV))/bin/python $(BIN)/python -m tests.parity

# vLLM is left out where its environment is not there: `make vllm-env` builds it.
conformance: $(DEV_INSTALLED)
	$(BIN)/python -m tests.conformance $(if $(WEIGHTS),--weights $(WEIGHTS)) $(ARGS)

setup: $(DEV_INSTALLED) $(NODE_MODULES)

# pip reads dependency groups from 25.1 on, and a fresh environment may hold an older one.
$(DEV_INSTALLED): $(VENV)/pyvenv.cfg $(MANIFESTS)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group dev $(TESTED)
	@touch $(INSTALLED) $@

$(NODE_MODULES): tests/integration/node/package-lock.json $(DEV_INSTALLED)
	$(BIN)/npm ci --prefix tests/integration/node --no-audit --no-fund --loglevel=error
	@touch $@

lint: $(DEV_INSTALLED)
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/ruff format --check $(CHECKED)
	$(BIN)/mypy
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/pyright
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

schemas: $(DEV_INSTALLED) $(SCHEMA_SUITE)
	$(BIN)/python -m tests.schemas.suite $(SCHEMA_SUITE)/json/tests/draft2020-12
	$(BIN)/python -m tests.schemas.pydantic_types
	mkdir -p $(SCHEMA_NODE) && cp tests/schemas/node/package.json $(SCHEMA_NODE)/
	npm install --prefix $(SCHEMA_NODE) --no-audit --no-fund --ignore-scripts --silent
	$(BIN)/python -m tests.schemas.generated $(SCHEMA_NODE)
	$(BIN)/python -m tests.schemas.bombs
	$(BIN)/python -m tests.schemas.fuzz $(or $(COUNT),2000)

bench: $(DEV_INSTALLED)
	$(BIN)/python -m tests.bench $(ARGS)
	$(BIN)/python -m tests.bench.idle
	$(BIN)/python -m tests.bench.slow_readers
	$(BIN)/python -m tests.bench.disconnects

bench-engines: $(DEV_INSTALLED) vllm-env
	$(BIN)/python -m tests.bench.beside_mlx
	$(BIN)/python -m tests.bench.beside_vllm
	$(BIN)/python -m tests.bench.engine_disconnects

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .schemathesis
	rm -rf tests/integration/node/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

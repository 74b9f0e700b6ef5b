"""Generated requests, right and wrong, find no 5xx and no answer that the OpenAPI document does not describe."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.weights import rank_gguf, tiny_gguf

from .conftest import Serve
from .served import MODEL

pytestmark = pytest.mark.engine

# So small weights, and so short a context and answer, that no generated request takes long.
CONFIG = f"""
[server]
port = 0
unknown_fields = "refuse"

[models."{MODEL}"]
context_tokens = 256
reproducible = true
placements = [{{ backend = "llamacpp", source = {json.dumps(str(tiny_gguf()))} }}]

[models."{MODEL}".defaults]
max_tokens = 4

[models.minilm]
context_tokens = 256
task = "embed"
placements = [{{ backend = "llamacpp", source = {json.dumps(str(tiny_gguf()))}, options = {{ pooling = "mean" }} }}]

[models.bge-reranker]
context_tokens = 256
placements = [{{ backend = "llamacpp", source = {json.dumps(str(rank_gguf()))} }}]
"""
OWN = {
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/rerank",
    "/rerank",
    "/v2/rerank",
    "/v1/responses",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/tokenize",
    "/detokenize",
    "/v1/models",
    "/v1/models/{model_id}",
    "/health",
    "/ready",
    "/metrics",
}
"""The routes that the document of the server's own profile has, beside those of responses that are kept."""
MOUNTED = f"""{CONFIG}
[agents."desk"]
model = "{MODEL}"
instructions = "You know trains."

[agents."desk".defaults]
max_tokens = 4

[[mounts]]
profile = "dos-ai"
path = "/dos"
settings.fields.max_tokens.default = 4

[[mounts]]
profile = "krosai"
path = "/kros"
settings.fields.max_tokens.default = 4

[[mounts]]
profile = "dottxt"
path = "/dottxt"

[[mounts]]
profile = "digitalocean-agent"
path = "/"
models = {{ "{MODEL}" = "desk" }}
"""


@pytest.mark.parametrize(
    ("config", "operations"), [(CONFIG, len(OWN)), (MOUNTED, len(OWN) + 4)], ids=["own", "mounted"]
)
def test_schemathesis_finds_no_5xx_and_no_violation(serve: Serve, tmp_path: Path, config: str, operations: int) -> None:
    """Every check but `positive_data_acceptance`.

    That one wants a 2xx for each body that the schema allows, and a schema cannot say that a model exists, that a
    prompt fits, or that a named tool is among the tools. Fields that nobody knows are refused, as the schemas say:
    agents' endpoints would leave them out and name them. Documents that are mounted may have no status 405: there a
    wrong method is a 400.
    """
    unchecked = ["positive_data_acceptance"] + ([] if config == CONFIG else ["unsupported_method"])
    served = serve(config)
    described = httpx.get(f"{served.url}/openapi.json", trust_env=False).json()["paths"]
    assert described.keys() >= OWN
    assert len(described) >= operations
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")),
            *("run", f"{served.url}/openapi.json", "--no-color", "--continue-on-failure"),
            *("--request-timeout", "60", "--max-response-time", "60"),
            *("--checks", "all", "--exclude-checks", ",".join(unchecked)),
            *("--phases", "examples,coverage,fuzzing", "--max-examples", "10" if config == CONFIG else "6"),
            *(() if config == CONFIG else ("--include-path-regex", "^/(dos|kros|dottxt|api)/.*completions")),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    requests = [line for line in served.log if line["event"] == "request"]
    statuses = {line["status"] for line in requests}
    assert len(requests) > (300 if config == CONFIG else 200)
    assert {200, 400} <= statuses
    assert not any(status >= 500 for status in statuses)
    assert not [line for line in served.log if line["level"] == "error"]

"""Generated requests, right and wrong, find no 5xx and no answer that the OpenAPI document does not describe."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Serve
from .served import MODEL

pytestmark = pytest.mark.engine

# So short a context and answer that no generated request takes long.
CONFIG = f"""
[server]
port = 0

[models."{MODEL}"]
context_tokens = 256
placements = [{{ backend = "llamacpp", source = "demo:smollm2-135m" }}]

[models."{MODEL}".defaults]
max_tokens = 4
"""


def test_schemathesis_finds_no_5xx_and_no_violation(serve: Serve, tmp_path: Path) -> None:
    """Every check but `positive_data_acceptance`.

    That one wants a 2xx for each body that the schema allows, and a schema cannot say that a model exists, that a
    prompt fits, or that a named tool is among the tools.
    """
    served = serve(CONFIG)
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")),
            *("run", f"{served.url}/openapi.json", "--no-color", "--continue-on-failure", "--request-timeout", "60"),
            *("--checks", "all", "--exclude-checks", "positive_data_acceptance"),
            *("--phases", "examples,coverage,fuzzing", "--max-examples", "25"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    requests = [line for line in served.log if line["event"] == "request"]
    statuses = {line["status"] for line in requests}
    assert len(requests) > 300
    assert {200, 400} <= statuses
    assert not any(status >= 500 for status in statuses)
    assert not [line for line in served.log if line["level"] == "error"]

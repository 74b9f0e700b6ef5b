"""`enginehouse certify` on the real engine, and a server that trusts only what it has proven.

Which features a model of this size proves is the suite's affair; these tests rely on those whose rules force the
answer, whatever the weights are, and on `seed`, which the quick core does not test.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from tests.docs.fenced import blocks

from tests.weights import tiny_gguf

from .conftest import Serve
from .served import MODEL

pytestmark = pytest.mark.engine

PROVING = f"""
trust = "proven"

[server]
port = 0

[certificates]
path = "certificates"

[models."{MODEL}"]
context_tokens = 1024
reproducible = true
placements = [{{ backend = "llamacpp", source = {json.dumps(str(tiny_gguf()))} }}]
"""
FORCED = {"json_schema", "n", "logit_bias", "tool_choice_named"}
PAGE = "docs/operations.md"


# Whoever runs the tests in the background may have told all below it to ignore SIGINT.
SCRIPT = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from enginehouse.cli import main
main()
"""


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """The command line in a process of its own, away from the owner's settings."""
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *arguments],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if not name.startswith("ENGINEHOUSE_")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    with start(folder, *arguments) as process:
        out, err = process.communicate(timeout=1800)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a configuration, and the certificate that the first command of the page makes of its model."""
    folder = tmp_path_factory.mktemp("proving")
    (folder / "house.toml").write_text(PROVING)
    (command,) = (
        line
        for block in blocks(PAGE)
        if block.language == "sh"
        for line in block.text.splitlines()
        if line.startswith("enginehouse certify")
    )
    done = run(folder, *shlex.split(command)[1:], "--json")
    certificate = json.loads(done.stdout)
    states = {name: proof["state"] for name, proof in certificate["features"].items()}
    assert {name for name in FORCED if states[name] != "proven"} == set(), done.stderr
    assert states["seed"] == "untested"
    is_clean = not {"failed", "inconclusive"} & {*states.values()} and certificate["general"]["state"] != "failed"
    assert done.returncode == (0 if is_clean else 1), done.stderr
    (file,) = (folder / "certificates").glob("*.json")
    assert json.loads(file.read_text()) == certificate
    (taken,) = (folder / "certificates" / "fingerprints").iterdir()
    fingerprint = json.loads(taken.read_text())
    assert (taken.name, taken.stat().st_mode & 0o777) == (file.name, 0o600)
    assert (len(fingerprint["probes"]), fingerprint["noise"]) == (24, 0)
    told = fingerprint["served_by"]
    assert {"backend", "engine", "devices", "option cache_type_k", "option batch_tokens"} <= {*told}
    return folder


def ask(client: httpx.Client, **fields: Any) -> httpx.Response:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4, **fields}
    return client.post("/v1/chat/completions", json=body)


def test_a_server_uses_what_is_proven_and_refuses_the_rest(house: Path, serve: Serve) -> None:
    served = serve(PROVING, folder=house)
    assert served.wait_for_log("instance certified")["proven"] >= len(FORCED)
    with httpx.Client(base_url=served.url, timeout=120, trust_env=False) as client:
        card = client.get(f"/v1/models/{MODEL}").json()
        assert len(ask(client, n=2).json()["choices"]) == 2
        refused = ask(client, seed=7)
    assert (card["trust"], card["certificate"]["state"], card["certificate"]["selection"]) == (
        "proven",
        "current",
        "quick",
    )
    assert set(card["proven_features"]) == set(card["features"]) >= FORCED
    assert "seed" in card["declared_features"]
    assert card["certificate"]["unproven"]["seed"] == "untested"
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert (error["code"], error["param"]) == ("unsupported_parameter", "seed")
    assert f"'enginehouse certify {MODEL}'" in error["message"]
    listing = run(house, "models", "--url", served.url)
    assert listing.returncode == 0
    assert "PROVEN" in listing.stdout


def test_the_listings_tell_what_is_proven_and_what_has_become_stale(house: Path) -> None:
    explained = run(house, "explain", MODEL, "--config", "house.toml")
    assert explained.returncode == 0
    assert "Certificate: current, of " in explained.stdout
    assert "n: proven\n" in explained.stdout
    assert "features proven" in run(house, "models", "--config", "house.toml").stdout
    changed = PROVING.replace(" }]", ", options = { slots = 2 } }]")
    assert changed != PROVING
    (house / "changed.toml").write_text(changed)
    assert "is stale: the option slots changed" in run(house, "explain", MODEL, "--config", "changed.toml").stdout


@pytest.fixture
def certifying(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A run that has its first result: engine and suite are at work."""
    (tmp_path / "house.toml").write_text(PROVING)
    process = start(tmp_path, "certify", MODEL, "--quick", "--config", "house.toml")
    below: list[psutil.Process] = []
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("["):
                break
        below = psutil.Process(process.pid).children(recursive=True)
        assert below, "the engine is a process of its own"
        yield process
        _, alive = psutil.wait_procs(below, timeout=120)
        assert alive == [], "nothing outlives the command"
    finally:
        for left in below:
            if left.is_running():
                left.kill()
        process.kill()
        process.communicate()


def test_an_engine_that_dies_in_mid_run_leaves_no_certificate(
    certifying: subprocess.Popen[str], tmp_path: Path
) -> None:
    engine = max(psutil.Process(certifying.pid).children(recursive=True), key=lambda below: below.memory_info().rss)
    engine.kill()
    _, said = certifying.communicate(timeout=600)
    assert certifying.returncode == 1
    assert "Error: The engine ended while the suite ran: " in said
    assert "Traceback" not in said
    assert list((tmp_path / "certificates").iterdir()) == []


def test_an_interruption_ends_the_engine_and_leaves_no_certificate(
    certifying: subprocess.Popen[str], tmp_path: Path
) -> None:
    certifying.send_signal(signal.SIGINT)
    _, said = certifying.communicate(timeout=600)
    assert certifying.returncode == 130
    assert "Interrupted: nothing is stored." in said
    assert "Traceback" not in said
    assert list((tmp_path / "certificates").iterdir()) == []

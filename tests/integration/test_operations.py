"""docs/operations.md says what the running server does."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
from tests.docs.fenced import ROOT, blocks

from enginehouse.config import load_config
from enginehouse.config.schema import ServerConfig
from enginehouse.dialects.openai.models import ReadyStatus
from enginehouse.fleet import State

from .conftest import Serve
from .served import EMBEDDED, MODEL, Served, locked

PAGE = "docs/operations.md"
TEXT = (ROOT / PAGE).read_text()


def section(title: str) -> str:
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def table(title: str) -> list[list[str]]:
    """The cells of the section's table, without its heading."""
    rows = [line.strip("|").split("|") for line in section(title).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in rows[1:]]


def names(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def ask(client: httpx.Client, **fields: Any) -> httpx.Response:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2, **fields}
    return client.post("/v1/chat/completions", json=body)


@pytest.mark.engine
def test_the_log_line_of_a_request_has_exactly_the_fields_that_are_described(
    http: httpx.Client, server: Served
) -> None:
    described = {names(cells[0])[0] for cells in table("Logs")}
    ask(http, user="someone", metadata={"a": "b"}).raise_for_status()
    line = server.wait_for_log("request", lambda line: "recorded" in line)
    assert set(line) - {"event", "level", "timestamp"} == described
    assert set(line["recorded"]) == {"user", "metadata"}
    plain = ask(http).headers["x-request-id"]
    assert "recorded" not in server.wait_for_log("request", lambda line: line["id"] == plain)


@pytest.mark.engine
def test_a_log_holds_no_prompt_and_no_answer(http: httpx.Client, server: Served) -> None:
    secret = "xylophone-7141"
    reply = ask(http, messages=[{"role": "user", "content": secret}], max_tokens=12, temperature=0)
    said = reply.json()["choices"][0]["message"]["content"]
    server.wait_for_log("request", lambda line: line["id"] == reply.headers["x-request-id"])
    assert secret not in server.text()
    assert said not in server.text()


def test_each_event_that_is_named_is_logged_somewhere() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "router").rglob("*.py"))
    listed = section("Logs").rpartition("Other events are changes of state:")[2]
    assert len(names(listed)) > 5
    for event in names(listed):
        of_state = event.removeprefix("instance ") in get_args(State) and event.startswith("instance ")
        assert of_state or re.search(rf'log\.\w+\(\s*"{event}"', sources), event


@pytest.mark.engine
def test_the_metrics_are_exactly_those_described_with_their_types_and_labels(http: httpx.Client) -> None:
    ask(http).raise_for_status()
    text = http.get("/metrics").text
    described = {names(cells[0])[0]: (cells[1], set(names(cells[2]))) for cells in table("Metrics")}
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    assert kinds == {name: kind for name, (kind, _) in described.items()}
    for name, (kind, labels) in described.items():
        sample = re.search(rf"^{name}(?:_count)?(?:{{(.*)}})? \S+$", text, re.MULTILINE)
        if name in ("enginehouse_instance_distance", "enginehouse_probe_tokens_total"):  # nothing was compared here
            assert sample is None
            continue
        assert sample, name
        assert set(re.findall(r'(\w+)="', sample[1] or "")) == labels, name
        assert kind in ("counter", "gauge", "histogram")


def test_the_states_of_a_model_are_all_named() -> None:
    listed = section("Health and readiness").partition("names each model's state:")[2].partition("\n\n")[0]
    assert set(names(listed)) == {*get_args(State), "unplaced"}


def test_the_statuses_of_readiness_are_all_named() -> None:
    (cell,) = [cells[2] for cells in table("Health and readiness") if cells[0] == "`/ready`"]
    assert {"ready", *names(cell)} == set(get_args(ReadyStatus))


def test_the_settings_of_the_table_of_limits_exist() -> None:
    settings = {name for cells in table("Limits") for name in names(cells[1])}
    assert {"max_body_bytes", "total_timeout_s"} <= settings
    known = (ROOT / "docs/configuration.md").read_text()
    assert all(f"| `{name}` |" in known for name in settings)
    packages = ("router/enginehouse", "plugins/contract/enginehouse_plugin")
    modules = [path.read_text() for package in packages for path in (ROOT / package).rglob("*.py")]
    codes = {code for cells in table("Limits") for code in re.findall(r"\d{3} `(\w+)`", cells[2])}
    assert len(codes) >= 8
    assert {code for code in codes if not any(f'"{code}"' in module for module in modules)} == set()


@pytest.mark.parametrize("block", [block for block in blocks(PAGE) if block.language == "toml"], ids=lambda b: b.line)
def test_each_piece_of_a_configuration_can_be_used(block: Any, tmp_path: Path) -> None:
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).touch()
    (tmp_path / "house.toml").write_text(block.text)
    config = load_config(tmp_path / "house.toml")
    assert (config.server, config.trust) != (ServerConfig(), "declared")


@pytest.mark.engine
def test_each_command_can_be_typed(serve: Serve, tmp_path: Path) -> None:
    """All but `serve`, which is typed to have a server for the others, `certify`, which test_certify.py types, and
    what removes weights of a hub, which are not here.
    """
    commands = [line for block in blocks(PAGE) if block.language == "sh" for line in block.text.strip().splitlines()]
    assert "enginehouse serve --config house.toml" in commands
    config = locked("k", EMBEDDED.replace("[server]\n", '[server]\nadmin_socket = "admin.sock"\n'))
    (tmp_path / "house.toml").write_text(config)
    served = serve(config, folder=tmp_path)
    with httpx.Client(base_url=served.url, headers={"authorization": "Bearer k"}, timeout=60) as client:
        ask(client).raise_for_status()
    served.wait_for_log("request")
    printed = {}
    for command in commands:
        if command.startswith(("enginehouse serve", "enginehouse certify", "enginehouse models remove hub:")):
            continue
        program, *arguments = shlex.split(command.replace("http://127.0.0.1:8000", served.url))
        found = str(Path(sys.executable).with_name(program)) if program == "enginehouse" else program
        done = subprocess.run([found, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        printed[command] = done.stdout
    assert '"ready"' in printed["curl http://127.0.0.1:8000/ready"]
    assert "sha256" in printed["enginehouse keys new alice"]
    assert "llamacpp" in printed["enginehouse plugins"]
    assert "tests" in printed["enginehouse usage --config house.toml"]
    assert served.end() == 0, served.text()

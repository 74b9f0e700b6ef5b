"""What a SIGKILL leaves: of an engine, of its guardian, of the router."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from enginehouse.weights import locate

from .conftest import Serve
from .raw import NO_END, Engine, Raw, engines, metric, wait_until
from .served import MODEL, Served

OTHER = "other"
CUT = "cut"
DYING = "dying"
CONTEXT = {MODEL: 4096, OTHER: 2048}
"""Tells the engines apart."""


def model(name: str, *, source: str = f"demo:{MODEL}", options: str = "") -> str:
    """A section of the configuration."""
    return f"""
[models."{name}"]
context_tokens = {CONTEXT.get(name, 512)}
[[models."{name}".placements]]
backend = "llamacpp"
source = "{source}"
options = {{ slots = 2, batch_tokens = 16{options} }}
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of two models that work, of one whose file ends too early, and of one whose engine dies."""
    folder = tmp_path_factory.mktemp("kills")
    weights = locate(f"demo:{MODEL}")
    assert weights is not None
    cut = folder / "cut.gguf"
    cut.write_bytes(Path(weights).read_bytes()[: 16 << 20])
    dying = folder / "dying"
    dying.write_text("#!/bin/sh\necho 'I am out of cheese' >&2\nexit 3\n")
    dying.chmod(0o755)
    models = (model(MODEL), model(OTHER), model(CUT, source=str(cut)), model(DYING, options=f', binary = "{dying}"'))
    served = Served("[server]\nport = 0\n" + "".join(models), folder)
    try:
        for name in (MODEL, OTHER):
            served.wait_for_log("instance ready", lambda line, name=name: line["model"] == name)
        yield served
        assert served.end() == 0, served.text()
    finally:
        served.close()


def engine_of(served: Served, model: str) -> tuple[str, psutil.Process]:
    """Socket and process of the engine of *model*."""
    (found,) = [row for row in engines(served) if row[0]["context_tokens"] == CONTEXT[model]]
    return found[0]["socket"], found[1]


def ask_and_answer(served: Served, **fields: Any) -> Any:
    """Ask for a short answer; returns its body, which is a whole one."""
    with Raw(served.address) as client:
        client.ask(max_tokens=2, **fields)
        body = client.answer()
        assert client.status == 200, body
        assert body["choices"][0]["finish_reason"] == "length"
        return body


@pytest.mark.parametrize("victim", ["engine", "guardian"])
def test_a_killed_engine_ends_its_streams_with_an_error_and_is_started_again(served: Served, victim: str) -> None:
    """The stream of another instance goes on to its end, on the same process."""
    _, process = engine_of(served, MODEL)
    _, other_process = engine_of(served, OTHER)
    restarts = metric(served, "enginehouse_instance_restarts_total")
    with Raw(served.address) as client, Raw(served.address) as other:
        client.ask(stream=True, max_tokens=3000, logit_bias=NO_END)
        other.ask(model=OTHER, stream=True, max_tokens=60, logit_bias=NO_END)
        events, other_events = client.events(), other.events()
        for _ in range(3):
            next(events)
        next(other_events)

        (process if victim == "engine" else process.parent() or process).kill()
        rest = [json.loads(event) for event in events]  # none is [DONE]: that is no JSON

        error = rest.pop()["error"]
        assert error["type"] == "server_error"
        assert "ended" in error["message"]
        assert not any(choice["finish_reason"] for chunk in rest for choice in chunk["choices"])
        ask_and_answer(served)
        assert metric(served, "enginehouse_instance_restarts_total") == restarts + 1
        wait_until(lambda: not process.is_running(), "the killed engine is gone")

        *_, last, done = list(other_events)
        assert done == "[DONE]"
        assert json.loads(last)["choices"][0]["finish_reason"] == "length"
    assert engine_of(served, OTHER)[1] == other_process
    assert metric(served, "enginehouse_instance_restarts_total", OTHER) == 0


@pytest.mark.parametrize("stream", [True, False])
def test_a_request_that_had_no_token_yet_is_answered_by_the_new_engine(served: Served, stream: bool) -> None:
    ask_and_answer(served)  # it is up again after other tests
    path, process = engine_of(served, MODEL)
    prompt = f"{stream}: " + "All work and no play makes Jack a dull boy. " * 60
    with Raw(served.address) as client, Engine(path) as engine:
        client.ask(messages=[{"role": "user", "content": prompt}], stream=stream, max_tokens=3)
        wait_until(lambda: engine.busy_slots() > 0, "the engine begins")
        process.kill()
        if stream:
            *_, last, done = list(client.events())
            assert done == "[DONE]"
            assert json.loads(last)["choices"][0]["finish_reason"] == "length"
        else:
            body = client.answer()
            assert client.status == 200, body
            assert body["usage"]["completion_tokens"] == 3


@pytest.mark.parametrize(("name", "tries", "words"), [(CUT, 1, "it was cut short"), (DYING, 6, "I am out of cheese")])
def test_an_engine_that_dies_while_loading_is_reported_and_given_up(
    served: Served, name: str, tries: int, words: str
) -> None:
    """At once when no try can help, else after some; requests are refused with its last words until the next try."""
    line = served.wait_for_log("instance given up", lambda line: line["model"] == name, timeout_s=120.0)
    assert words in line["reason"]
    loads = [line for line in served.log if line["event"] == "instance failed" and line["model"] == name]
    assert len(loads) == tries
    with Raw(served.address) as client:
        client.ask(model=name)
        error = client.answer()["error"]
    assert client.status == 503
    assert error["code"] == "model_unavailable"
    assert words in error["message"]
    assert int(client.headers["retry-after"]) > 0


def test_a_killed_router_leaves_no_process_and_no_socket(serve: Serve) -> None:
    served = serve("[server]\nport = 0\n" + model(MODEL))
    below = served.descendants()
    ((settings, _),) = engines(served)
    folder = os.path.dirname(settings["socket"])
    assert os.path.isdir(folder)
    with Raw(served.address) as client:
        client.ask(stream=True, max_tokens=3000, logit_bias=NO_END)
        next(client.events())
        served.signal(signal.SIGKILL)
        served.wait()
    assert len(below) >= 2  # guardian and engine, and perhaps one that looks at the devices
    wait_until(lambda: not any(process.is_running() for process in below), "guardian and engine are gone")
    wait_until(lambda: not os.path.exists(folder), "their folder is gone")

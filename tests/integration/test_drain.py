"""SIGTERM: what runs finishes, what comes is refused, and nothing is left."""

from __future__ import annotations

import json
import signal
from typing import Any

import psutil

from .conftest import Serve
from .raw import NO_END, Raw, metric, wait_until
from .served import LAZY, MODEL, Served


def config(drain_timeout_s: float) -> str:
    """One slot, so that a second request waits."""
    return f"""
[server]
port = 0
drain_timeout_s = {drain_timeout_s}

[models."{MODEL}"]
context_tokens = 4096
reproducible = true
[[models."{MODEL}".placements]]
backend = "llamacpp"
source = "demo:{MODEL}"
options = {{ slots = 1 }}
"""


def assert_refused(client: Raw) -> None:
    """The next answer on this connection says that the server is going down."""
    error = client.answer()["error"]
    assert (client.status, error["code"]) == (503, "draining")
    assert int(client.headers["retry-after"]) > 0


def assert_ended(served: Served, below: list[psutil.Process]) -> None:
    """The router ends well, and with it its guardians and engines."""
    assert served.wait() == 0, served.text()
    wait_until(lambda: not any(process.is_running() for process in below), "the processes below the router are gone")
    assert served.log[-1]["event"] == "stopped"


def chunks(events: list[str]) -> list[Any]:
    """What a stream said, without its [DONE]."""
    return [json.loads(event) for event in events if event != "[DONE]"]


def test_sigterm_lets_running_streams_finish_and_refuses_the_rest(serve: Serve) -> None:
    """On new connections, on kept ones, and in the queue."""
    served = serve(config(drain_timeout_s=120))
    below = served.descendants()
    with Raw(served.address) as running, Raw(served.address) as kept, Raw(served.address) as queued:
        running.ask(stream=True, max_tokens=600, logit_bias=NO_END)
        events = running.events()
        first = next(events)
        queued.ask(stream=True)
        wait_until(lambda: metric(served, "enginehouse_queued_requests") == 1, "it waits")
        kept.get("/ready")
        kept.answer()
        assert kept.status == 200

        served.signal(signal.SIGTERM)

        served.wait_for_log("draining")
        assert_refused(queued)
        kept.ask()
        assert_refused(kept)
        with Raw(served.address) as new:
            new.ask(stream=True)
            assert_refused(new)
            new.get("/ready")
            assert (new.answer()["status"], new.status) == ("draining", 503)
        rest = list(events)
        assert rest[-1] == "[DONE]"
        parts = chunks([first, *rest])
        assert parts[-1]["choices"][0]["finish_reason"] == "length"
        running.read_end()
    assert_ended(served, below)


def test_a_second_sigterm_ends_at_once(serve: Serve) -> None:
    """The stream is cut off, and does not look whole."""
    served = serve(config(drain_timeout_s=600))
    below = served.descendants()
    with Raw(served.address) as running:
        running.ask(stream=True, max_tokens=3000, logit_bias=NO_END)
        first = next(running.events())
        served.signal(signal.SIGTERM)
        served.wait_for_log("draining")
        served.signal(signal.SIGTERM)
        assert b"[DONE]" not in running.read_end()
        assert "finish_reason" in first
    assert_ended(served, below)


def test_a_stream_that_outlasts_the_drain_timeout_ends_with_an_error(serve: Serve) -> None:
    served = serve(config(drain_timeout_s=0.2))
    below = served.descendants()
    with Raw(served.address) as running:
        running.ask(stream=True, max_tokens=3000, logit_bias=NO_END)
        events = running.events()
        next(events)
        served.signal(signal.SIGTERM)
        rest = list(events)
        assert "[DONE]" not in rest
        *parts, last = chunks(rest)
        assert (last["error"]["type"], last["error"]["code"]) == ("server_error", "draining")
        assert not any(choice["finish_reason"] for chunk in parts for choice in chunk["choices"])
    assert_ended(served, below)


def test_sigterm_while_a_model_loads_leaves_no_engine(serve: Serve) -> None:
    """A request that waits for the load is told why it is not answered."""
    served = serve(config(drain_timeout_s=600), ready=False)
    with Raw(served.address) as client:
        client.ask()
        wait_until(lambda: len(served.descendants()) == 2, "guardian and engine run")
        below = served.descendants()
        served.signal(signal.SIGTERM)
        assert_refused(client)
    assert_ended(served, below)


def test_sigterm_right_at_the_start_ends_well(serve: Serve) -> None:
    served = serve(LAZY, ready=False)  # it has just begun to listen
    served.signal(signal.SIGTERM)
    assert served.wait() == 0, served.text()
    assert "Traceback" not in served.text()

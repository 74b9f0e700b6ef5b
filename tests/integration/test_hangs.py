"""What a stopped engine leaves: it is noticed, and everybody who waits for it hears of it."""

from __future__ import annotations

import json
import signal

from .conftest import Serve
from .raw import NO_END, Raw, engines
from .served import MODEL, Served

CONFIG = f"""
[server]
port = 0
hang_timeout_s = 4

[models."{MODEL}"]
context_tokens = 2048
[[models."{MODEL}".placements]]
backend = "llamacpp"
source = "demo:{MODEL}"
options = {{ slots = 2 }}
"""


def stop(served: Served) -> None:
    """Stop the engine, which says nothing more and holds its connections open."""
    ((_, process),) = engines(served)
    process.send_signal(signal.SIGSTOP)


def test_a_stopped_engine_is_ended_and_its_requests_move_or_end(serve: Serve) -> None:
    """The stream that had begun ends with an error; the request that had nothing yet is answered by the next engine.

    The request that was there both times is refused the third time, and no other.
    """
    served = serve(CONFIG)
    with Raw(served.address) as streaming, Raw(served.address) as waiting, Raw(served.address) as other:
        streaming.ask(stream=True, max_tokens=1500, logit_bias=NO_END)
        events = streaming.events()
        next(events)
        next(events)
        stop(served)
        waiting.ask(max_tokens=2, logit_bias=NO_END)

        error = [json.loads(event) for event in events].pop()["error"]
        assert error["code"] == "engine_died"
        assert "it made no progress for 4 s" in error["message"]
        other.get("/ready")
        assert other.answer()["status"] != "ready"
        assert other.status == 503
        body = waiting.answer()
        assert (waiting.status, body["usage"]["completion_tokens"]) == (200, 2)

    with Raw(served.address) as again:
        again.ask(stream=True, max_tokens=1500, logit_bias=NO_END)
        events = again.events()
        next(events)
        stop(served)
        assert "engine_died" in list(events)[-1]
    with Raw(served.address) as third, Raw(served.address) as other:
        third.ask(stream=True, max_tokens=1500, logit_bias=NO_END)
        error = third.answer()["error"]
        assert (third.status, error["code"]) == (400, "request_poisonous")
        other.ask(max_tokens=2, logit_bias=NO_END)
        other.answer()
        assert other.status == 200

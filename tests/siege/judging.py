"""What every answer must be, whoever asked for what."""

from __future__ import annotations

import json

from tests.siege.client import Answer
from tests.siege.endpoints import is_ended, is_told
from tests.siege.house import House
from tests.siege.pulse import Pulse
from tests.siege.verdict import Verdict

HONEST = {"model": "tiny", "messages": [{"role": "user", "content": "Tell me a story."}], "max_tokens": 2}
FAULTS = ("request failed", "stream failed", "exception in the event loop")
"""Events of the log that tell of a fault of the router's own."""


def judge(verdict: Verdict, name: str, answer: Answer, path: str = "/v1/chat/completions") -> None:
    """Count *answer* by its status; it is a whole 200, or a well-formed refusal that is not the router's own fault."""
    verdict.count(f"status {answer.status}")
    if not verdict.expect(answer.is_whole, f"{name}: no whole answer ({answer.status}, {answer.body[:80]!r})"):
        return
    if answer.status == 200:
        if answer.headers.get("content-type", "").partition(";")[0] in ("text/event-stream", "application/x-ndjson"):
            verdict.expect(is_ended(path, answer), f"{name}: a stream without an end: {answer.body[-80:]!r}")
        return
    verdict.expect(is_told(path, answer), f"{name}: malformed {answer.status}: {answer.body[:120]!r}")
    verdict.expect(400 <= answer.status < 500, f"{name}: status {answer.status}: {answer.body[:120]!r}")


async def judge_house(verdict: Verdict, running: House, seen: Pulse | None = None) -> None:
    """After it all: an honest request is answered, the pulse was steady, and the log tells of no fault of its own."""
    async with running.client() as client:
        answer = await client.chat(
            HONEST | {"model": json.loads((await client.get("/v1/models")).body)["data"][0]["id"]}
        )
    verdict.expect(answer.status == 200, f"an honest request afterwards: {answer.status} {answer.body[:120]!r}")
    if seen is not None:
        verdict.counts["pulse"] = f"{seen.text()}, {seen.missing} missing"
        verdict.expect(seen.is_steady, seen.text())
    for event in FAULTS:
        if found := running.events(event):
            verdict.failures.append(f"{len(found)} times '{event}' in the log: {json.dumps(found[0])[-400:]}")

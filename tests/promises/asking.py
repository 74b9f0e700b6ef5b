"""Requests put to a running router, and what is wrong with what came of them."""

from __future__ import annotations

import json
from typing import Any

import httpx
import msgspec
from tests.promises.asks import Ask

KEYS = {False: "eh-strict", True: "eh-lenient"}
"""The secrets of two keys: one that has everything refused that the model lacks, one that has it reported."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came: of an error its code, of an answer the end of each choice and what was left out of the request."""

    status: int
    code: str | None = None
    finishes: tuple[str | None, ...] = ()
    called: bool = False
    fingerprint: Any = None
    total_tokens: int | None = None
    left_out: str | None = None
    is_broken: bool = False
    """A stream that did not end as one does."""

    def __str__(self) -> str:
        said = self.code or ", ".join(sorted({str(finish) for finish in self.finishes}))
        return f"{self.status} {said}" + (f", without {self.left_out}" if self.left_out else "")


def put(http: httpx.Client, ask: Ask, model: str) -> Outcome:
    """Send *ask* to *model* and read the answer to its end."""
    answer = http.post(
        "/v1/chat/completions",
        json=ask.sent_to(model),
        headers={"authorization": f"Bearer {KEYS[ask.lenient]}"},
    )
    left_out = answer.headers.get("x-enginehouse-ignored")
    if answer.status_code != 200:
        return Outcome(status=answer.status_code, code=answer.json()["error"]["code"], left_out=left_out)
    is_broken = False
    if ask.body.get("stream"):
        lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line.startswith("data: ")]
        is_broken = lines[-1:] != ["[DONE]"]
        parts = [json.loads(line) for line in lines if line != "[DONE]"]
    else:
        parts = [answer.json()]
    return _outcome(parts, left_out, is_broken=is_broken)


def _outcome(parts: list[dict[str, Any]], left_out: str | None, *, is_broken: bool) -> Outcome:
    choices = [choice for part in parts for choice in part.get("choices", ())]
    usages = [usage for part in parts if (usage := part.get("usage"))]
    return Outcome(
        status=200,
        code=next((part["error"]["code"] for part in parts if "error" in part), None),
        finishes=tuple(reason for choice in choices if (reason := choice["finish_reason"])),
        called=any((choice.get("message") or choice["delta"]).get("tool_calls") for choice in choices),
        fingerprint=parts[0].get("system_fingerprint"),
        total_tokens=usages[-1]["total_tokens"] if usages else None,
        left_out=left_out,
        is_broken=is_broken,
    )


def faults(ask: Ask, came: Outcome) -> list[str]:
    """What of *came* is not as *ask* promises."""
    found = [
        f"{name} is {is_!r}, not {should!r}"
        for name, is_, should in (
            ("status", came.status, ask.status),
            ("code", came.code, ask.code),
            ("x-enginehouse-ignored", came.left_out, ask.left_out),
        )
        if is_ != should
    ]
    if came.status != 200 or ask.status != 200:
        return found
    if came.is_broken:
        found.append("the stream has no end")
    if len(came.finishes) != ask.body.get("n", 1):
        found.append(f"{len(came.finishes)} choices ended, not {ask.body.get('n', 1)}")
    if ask.finish is not None and set(came.finishes) != {ask.finish}:
        found.append(f"it ended with {came.finishes}, not {ask.finish}")
    if ask.calls and not came.called:
        found.append("no tool was called")
    if ask.total_tokens is not None and came.total_tokens != ask.total_tokens:
        found.append(f"{came.total_tokens} tokens in all, not {ask.total_tokens}")
    if not isinstance(came.fingerprint, str) or not came.fingerprint:
        found.append(f"system_fingerprint is {came.fingerprint!r}")
    return found

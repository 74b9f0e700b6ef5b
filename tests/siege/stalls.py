"""One request, and everybody else: what must neither stall the router nor make it grow."""

from __future__ import annotations

import functools
import json
import random
import string
from collections.abc import Callable
from typing import Any

from tests.siege.house import MOST_TO_LOAD_S, SERVER, VLLM_PYTHON, House, house, is_here, of_engine
from tests.siege.pulse import pulse
from tests.siege.verdict import Scenario, Verdict

MOST_KEPT_MIB = 200.0
_MESSAGE = {"role": "user", "content": "x"}


def _chat(**fields: Any) -> bytes:
    return json.dumps({"model": "tiny", "max_tokens": 1, "messages": [_MESSAGE], **fields}).encode()


def _schema(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "s", "strict": True, "schema": schema}}


def _names(count: int) -> list[str]:
    return [f"name{at}" for at in range(count)]


def _required() -> bytes:
    names = _names(90_000)
    return _chat(response_format=_schema({"type": "object", "properties": {}, "required": names}))


def _enum() -> bytes:
    values = ["".join(random.Random(at).choices(string.ascii_letters, k=40)) for at in range(100_000)]
    return _chat(response_format=_schema({"type": "string", "enum": values}))


def _duplicate_key() -> bytes:
    tool = b'{"type":"function","function":{"name":"f"}},'
    tools = (tool * 300_000)[:-1]
    return b'{"model":"tiny","messages":[{"role":"user","content":"x"}],"tools":[' + tools + b'],"model":"tiny"}'


def _long_call() -> bytes:
    function = {"name": "f", "arguments": json.dumps({"a": "y" * 10_000_000})}
    call = {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": function}]}
    return _chat(messages=[_MESSAGE, call, {"role": "tool", "tool_call_id": "c", "content": "z"}])


_HALF = {"15107": 60}  # a token that is the beginning of a character and never its end, told again and again

BODIES: dict[str, Callable[[], bytes]] = {
    "half a character again and again, in 183 bytes": lambda: _chat(
        max_tokens=200, logit_bias=_HALF, frequency_penalty=2.0, temperature=0, logprobs=True
    ),
    "a pattern of 200 optional letters": lambda: _chat(
        max_tokens=50, response_format=_schema({"type": "string", "pattern": "^(a?){200}$"})
    ),
    "required of 90,000 names": _required,
    "enum of 4.5 MB": _enum,
    "an unknown model of 15 MB": lambda: _chat(model="tin" * 5_000_000),
    "metadata of 700,000 keys": lambda: _chat(metadata={f"k{at}": "v" for at in range(700_000)}),
    "a duplicate key behind 300,000 tools": _duplicate_key,
    "100,000 messages of a letter": lambda: _chat(messages=[_MESSAGE] * 100_000),
    "a message of 15 MB": lambda: _chat(messages=[{"role": "user", "content": "a b " * 3_900_000}]),
    "a user of 15 MB": lambda: _chat(user="u" * 15_000_000),
    "logit_bias of 700,000 tokens": lambda: _chat(logit_bias={str(at): 1 for at in range(700_000)}),
    "700,000 stops": lambda: _chat(stop=[f"s{at}" for at in range(700_000)]),
    "100,000 unknown fields": lambda: _chat(**{f"f{at}": at for at in range(100_000)}),
    "an array of depth 5,000,000": lambda: b'{"model":"tiny","messages":' + b"[" * 5_000_000 + b"]" * 5_000_000 + b"}",
    "a stop of 15 MB": lambda: _chat(stop="s" * 15_000_000),
    "a number of 15 MB": lambda: b'{"model":"tiny","messages":[],"seed":' + b"9" * 15_000_000 + b"}",
    "an unknown field of 15 MB": lambda: _chat(**{"f" * 15_000_000: 1}),
    "a content of 300,000 parts": lambda: _chat(
        messages=[{"role": "user", "content": [{"type": "text", "text": "x"}] * 300_000}]
    ),
    "a call of 10 MB in the history": _long_call,
}


async def _try(running: House, name: str, body: bytes, verdict: Verdict) -> None:
    before = running.resident_mib() + running.engines_mib()
    async with pulse(running) as seen, running.client(timeout_s=300) as client:
        answer = await client.chat(body)
    kept = running.resident_mib() + running.engines_mib() - before
    verdict.counts[name] = f"{answer.status}, {seen.text()}, {kept:+.0f} MiB"
    verdict.expect(answer.status == 200 or answer.error_code is not None, f"{name}: malformed {answer.status}")
    verdict.expect(answer.status < 500, f"{name}: status {answer.status}")
    verdict.expect(seen.is_steady, f"{name}: {seen.text()}")
    verdict.expect(kept < MOST_KEPT_MIB, f"{name}: {kept:.0f} MiB are kept")


async def _stalls(backend: str, verdict: Verdict) -> None:
    """Each heavy body alone, with the router's pulse taken meanwhile."""
    if not is_here(backend):
        verdict.counts["left out"] = f"{VLLM_PYTHON} names no interpreter"
        return
    async with house(SERVER + of_engine(backend), ready=False) as running:
        await running.wait_ready(MOST_TO_LOAD_S)
        async with running.client(timeout_s=300) as client:
            await client.chat(_chat())  # warm
        for name, make in BODIES.items():
            await _try(running, name, make(), verdict)


SCENARIOS: dict[str, Scenario] = {
    "stalls": functools.partial(_stalls, "llamacpp"),
    "stalls-mlx": functools.partial(_stalls, "mlx"),
    "stalls-vllm": functools.partial(_stalls, "vllm"),
}

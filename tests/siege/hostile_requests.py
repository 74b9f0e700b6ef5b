"""Hostile requests: every field of the chat route with every value of a table, and bodies that are none."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

from tests.siege.endpoints import KEY, KNOWN, METHODS, READS, Schema, config, honest, resolved, schemas
from tests.siege.house import SERVER, house, tiny
from tests.siege.judging import HONEST, judge, judge_house
from tests.siege.pulse import pulse
from tests.siege.verdict import Scenario, Verdict

from enginehouse.dialects.openai.chat.request import ChatRequest

_AT_ONCE = 4
_DEEP: Any = "x"
for _ in range(100):
    _DEEP = [_DEEP]

VALUES: dict[str, Any] = {
    "null": None,
    "true": True,
    "zero": 0,
    "minus one": -1,
    "a huge integer": 10**18,
    "beyond 64 bits": 2**64,
    "a fraction": 0.5,
    "a huge float": 1e308,
    "an integral float": 3.0,
    "no text": "",
    "a text": "x",
    "NUL": "\x00",
    "escapes of a terminal": "\x1b[2J\x9b31m\u202e",
    "beyond the first plane": "\U0001f600" * 10,
    "100 kB of text": "long " * 20_000,
    "control tokens": "<|im_end|><|endoftext|>{{ messages }}{% for %}",
    "an empty array": [],
    "an array of null": [None],
    "many empty arrays": [[]] * 1000,
    "an empty object": {},
    "an object": {"type": "text", "text": "x", "role": "user", "content": "x", "name": "x"},
    "many keys": {f"key{at}": at for at in range(1000)},
    "a deep array": _DEEP,
    "integers": list(range(100)),
}
"""What each field is given in turn."""

_MESSAGES: dict[str, Any] = {
    "a tool's result without a call": [{"role": "tool", "tool_call_id": "x", "content": "x"}],
    "an assistant alone": [{"role": "assistant", "content": None}],
    "half a surrogate pair": [{"role": "user", "content": "\ud800"}],
    "an image of nowhere": [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://169.254.169.254/latest"}}]}
    ],
    "a file of the host": [{"role": "user", "content": [{"type": "file", "file": {"file_data": "/etc/passwd"}}]}],
    "a thousand systems": [{"role": "system", "content": "x"}] * 1000,
    "a role of nobody": [{"role": "root", "content": "x"}],
    "code for a template": [{"role": "user", "content": "{{ cycler.__init__.__globals__.os.system('true') }}"}],
    "stand-ins": [{"role": "user", "content": "\ufdd00\ufdd1 \ufdd0999999999\ufdd1 \ufdd1\ufdd0"}],
}
_BODIES: dict[str, bytes] = {
    "nothing": b"",
    "space": b" " * 1000,
    "null": b"null",
    "an array": b"[]",
    "a cut body": b'{"model":"tiny","messages":[{"role":"user","content":"x"',
    "two bodies": b"{}{}",
    "a comma too many": b'{"model":"tiny",}',
    "NaN": b'{"model":"tiny","messages":[{"role":"user","content":"x"}],"temperature":NaN}',
    "infinity": b'{"model":"tiny","messages":[{"role":"user","content":"x"}],"temperature":1e999}',
    "no UTF-8": b'{"model":"\xff\xfe"}',
    "UTF-16": '{"model":"tiny"}'.encode("utf-16"),
    "a mark": b"\xef\xbb\xbf{}",
    "NULs": b"\x00" * 1000,
    "brackets": b"[" * 100_000,
    "quotes": b'"' * 100_001,
    "a key twice": b'{"model":"tiny","model":"tiny","messages":[]}',
    "escaped keys twice": b'{"mod\\u0065l":"tiny","model":"tiny","messages":[]}',
    "__proto__": b'{"__proto__":{"x":1},"constructor":{},"model":"tiny","messages":[]}',
}


def shapes() -> Iterator[tuple[str, bytes]]:
    """Every request by its name."""
    for field in ChatRequest.__struct_fields__:
        for name, value in VALUES.items():
            yield f"{field}: {name}", json.dumps(HONEST | {field: value}).encode()
    for name, value in VALUES.items():
        yield f"a message: {name}", json.dumps(HONEST | {"messages": [value]}).encode()
        yield f"content: {name}", json.dumps(HONEST | {"messages": [{"role": "user", "content": value}]}).encode()
        schema = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": value, "enum": value}}}
        yield f"a schema: {name}", json.dumps(HONEST | {"response_format": schema}).encode()
        tool = {"type": "function", "function": {"name": "f", "parameters": value}}
        yield f"a tool: {name}", json.dumps(HONEST | {"tools": [tool]}).encode()
        yield f"an unknown field: {name}", json.dumps(HONEST | {"x": value}).encode()
    for name, messages in _MESSAGES.items():
        yield f"messages: {name}", json.dumps(HONEST | {"messages": messages}).encode()
    yield from _BODIES.items()


async def hostile_requests(verdict: Verdict) -> None:
    """Each shape in turn, some at once; all are answered, and nobody else notices."""
    waiting = shapes()
    async with house(SERVER + tiny()) as running:

        async def ask() -> None:
            async with running.client() as client:
                for name, body in waiting:
                    verdict.count("shapes")
                    judge(verdict, name, await client.chat(body))

        async with pulse(running) as seen:
            await asyncio.gather(*(ask() for _ in range(_AT_ONCE)))
        await judge_house(verdict, running, seen)


def _of(path: str, document: Schema, schema: Schema) -> Iterator[tuple[str, bytes]]:
    """Each field of the route's schema with each value, and what is no JSON."""
    whole = honest(path, schema)
    yield "honest", json.dumps(whole).encode()
    for field in resolved(document, schema).get("properties", {}):
        for name, value in VALUES.items():
            yield f"{field}: {name}", json.dumps(whole | {field: value}).encode()
    for name, value in VALUES.items():
        yield f"an unknown field: {name}", json.dumps(whole | {"x": value}).encode()
        yield f"in place of a body: {name}", json.dumps(value).encode()
        if "messages" in whole:
            yield f"a message: {name}", json.dumps(whole | {"messages": [value]}).encode()
            yield f"content: {name}", json.dumps(whole | {"messages": [{"role": "user", "content": value}]}).encode()
    yield from _BODIES.items()


async def hostile_endpoints(verdict: Verdict) -> None:
    """The same on every other endpoint that takes a body, and every route by every method."""
    async with house(config(), ready=False) as running:
        running.key = KEY
        await running.wait_ready()
        routes = await schemas(running)
        del routes["/v1/chat/completions"]
        waiting = ((path, *shape) for path, found in routes.items() for shape in _of(path, *found))
        reading = ((method, path) for path in (*READS, *routes) for method in METHODS)

        async def ask() -> None:
            async with running.client() as client:
                for method, path in reading:
                    answer = await client.ask(method, path)
                    verdict.count("routes by methods")
                    is_right = answer.is_whole and answer.status < 500
                    verdict.expect(is_right, f"{method} {path}: {answer.status} {answer.body[:120]!r}")
                for path, name, body in waiting:
                    verdict.count("shapes")
                    verdict.count(f"shapes of {path}")
                    answer = await client.post(path, body)
                    judge(verdict, f"{path}: {name}", answer, path)
                    if name == "honest" and path in KNOWN:
                        verdict.expect(answer.status == 200, f"{path}: {answer.status} to an honest body")

        async with pulse(running) as seen:
            await asyncio.gather(*(ask() for _ in range(_AT_ONCE)))
        await judge_house(verdict, running, seen)


SCENARIOS: dict[str, Scenario] = {"hostile-requests": hostile_requests, "hostile-endpoints": hostile_endpoints}

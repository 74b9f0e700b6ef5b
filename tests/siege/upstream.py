"""A scripted upstream in the campaign's own process: it does what a request's text tells it, and keeps its own count.

The last message of a request is its script: `siege NUMBER TOKENS [FAULT]`. `counted` has, by number, the tokens that
were told for each; what the ledger has of the same number is compared with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, Final

PROMPT_TOKENS: Final = 3
FAULTS: Final = ("reset", "garbage", "half", "status", "lie", "cut")
"""Before the head, in place of a head, in mid-stream; 500; another length than said; no end. Beside these `hang` says
no word for ever, `slow` writes a token every `SLOW_S`, and `hold` answers when it is let go."""
SLOW_S: Final = 0.1
_JSON: Final = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
_STREAM: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_MODELS: Final = b'{"object":"list","data":[{"id":"scripted","object":"model","created":1,"owned_by":"x"}]}'


class Upstream:
    """What it has been asked and has told, by the number of the request."""

    def __init__(self) -> None:
        self.port = 0
        self.counted: dict[int, int] = {}
        self.asked: dict[int, int] = {}
        self.held: list[Callable[[], None]] = []

    def let_go(self) -> None:
        """Answer what was held."""
        while self.held:
            self.held.pop()()


@contextlib.asynccontextmanager
async def upstream() -> AsyncIterator[Upstream]:
    """Run one on loopback."""
    state = Upstream()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(state), "127.0.0.1", 0, backlog=1024)
    state.port = server.sockets[0].getsockname()[1]
    try:
        yield state
    finally:
        server.close()


def script(number: int, tokens: int, fault: str = "", *, stream: bool = False) -> dict[str, Any]:
    """The body of a request that scripts its answer."""
    text = f"siege {number} {tokens} {fault}".rstrip()
    return {"model": "scripted", "messages": [{"role": "user", "content": text}], "stream": stream}


class _Connection(asyncio.Protocol):
    """One connection of the router's; requests come one after another."""

    def __init__(self, state: Upstream) -> None:
        self._state = state
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._read += data
        while b"\r\n\r\n" in self._read:
            head, _, rest = self._read.partition(b"\r\n\r\n")
            _, _, length = head.lower().partition(b"content-length:")
            size = int(length.split(b"\r\n")[0]) if length else 0
            if len(rest) < size:
                return
            self._read = rest[size:]
            if head.startswith(b"GET"):
                self._write(_JSON % (b"200 OK", len(_MODELS), _MODELS))
            else:
                self._answer(json.loads(rest[:size]))

    def _answer(self, body: dict[str, Any]) -> None:
        words = str(body["messages"][-1]["content"]).split()
        number, tokens = (int(words[1]), int(words[2])) if words[:1] == ["siege"] else (-1, 3)
        fault = words[3] if len(words) > 3 else ""
        self._state.asked[number] = self._state.asked.get(number, 0) + 1
        match fault:
            case "reset":
                self._transport.abort()
            case "garbage":
                self._write(b"\x00\xff\r\n not HTTP at all\r\n\r\n")
            case "hang":
                pass
            case "hold":
                self._state.held.append(partial(self._stream, number, tokens, ""))
            case "status":
                self._write(_JSON % (b"500 Oh", 12, b'{"error":{}}'))
            case "lie":
                self._write(_JSON % (b"200 OK", 1 << 40, b"{"))
                self._transport.close()
            case "slow":
                self._write(_STREAM + _chunk(_delta({"role": "assistant", "content": ""})))
                self._go_on(number, tokens)
            case _ if body.get("stream"):
                self._stream(number, tokens, fault)
            case _:
                self._state.counted[number] = tokens
                answer = json.dumps(_whole(tokens)).encode()
                self._write(_JSON % (b"200 OK", len(answer), answer))

    def _go_on(self, number: int, tokens: int) -> None:
        told = self._state.counted.get(number, 0)
        if self._transport.is_closing():
            return
        if told == tokens:
            self._write(_end(tokens))
            return
        self._state.counted[number] = told + 1
        self._write(_chunk(_delta({"content": f" tok{told}"})))
        asyncio.get_running_loop().call_later(SLOW_S, self._go_on, number, tokens)

    def _stream(self, number: int, tokens: int, fault: str) -> None:
        parts = [_STREAM, _chunk(_delta({"role": "assistant", "content": ""}))]
        told = tokens // 2 if fault in ("half", "cut") else tokens
        parts += [_chunk(_delta({"content": f" tok{at}"})) for at in range(told)]
        self._state.counted[number] = told
        if not fault:
            parts.append(_end(told))
        self._write(b"".join(parts))
        if fault == "half":
            self._transport.abort()
        elif fault == "cut":
            self._transport.close()

    def _write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)


def _whole(tokens: int) -> dict[str, Any]:
    message = {"role": "assistant", "content": " tok" * tokens}
    usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": tokens, "total_tokens": PROMPT_TOKENS + tokens}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return {"id": "x", "object": "chat.completion", "created": 1, "model": "x", "choices": [choice], "usage": usage}


def _end(tokens: int) -> bytes:
    usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": tokens, "total_tokens": PROMPT_TOKENS + tokens}
    return b"".join(
        (_chunk(_delta({}, "stop")), _chunk({"choices": [], "usage": usage}), _event(b"[DONE]"), b"0\r\n\r\n")
    )


def _delta(delta: dict[str, str], finish: str | None = None) -> dict[str, Any]:
    return {
        "id": "x", "object": "chat.completion.chunk", "created": 1, "model": "x",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }  # fmt: skip


def _chunk(payload: dict[str, Any]) -> bytes:
    return _event(json.dumps(payload).encode())


def _event(data: bytes) -> bytes:
    event = b"data: " + data + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(event), event)

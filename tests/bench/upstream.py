"""An instant upstream: answers a chat request at once, or streams 64 chunks 5 ms apart.

Run as a program (`python upstream.py PORT [MANNER]`); it costs as little as Python can, so that what is measured is the
router. MANNER says what becomes of a stream: `whole` (the default), `held` (it begins, and stays open without a further
word) or `endless` (as fast as it is read, without an end).
"""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import sys

import uvloop

CHUNKS = 64
SPACING_S = 0.005
TEXT = "The capital of France is Paris. " * 4

_COMPLETION = json.dumps(
    {
        "id": "chatcmpl-x",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": TEXT},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 30, "completion_tokens": 20, "total_tokens": 50},
    }
).encode()
_USED = {"prompt_tokens": 30, "completion_tokens": 0, "total_tokens": 30}
_VECTOR = base64.b64encode(struct.pack("<576f", *[1 / 24] * 576)).decode()
_TEXTS = {
    b"/v1/embeddings": {"object": "list", "data": [{"index": 0, "embedding": _VECTOR}], "usage": _USED},
    b"/v1/rerank": {"results": [{"index": at, "relevance_score": at / 8} for at in range(4)], "usage": _USED},
    b"/tokenize": {"tokens": list(range(30))},
    b"/detokenize": {"content": TEXT},
}
"""What other routes than chat answer: a vector of the demo model's width, four scores, thirty tokens, their text."""
_MODELS = json.dumps(
    {"object": "list", "data": [{"id": "m", "object": "model", "created": 1, "owned_by": "x"}]}
).encode()


def _reply(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


_TEXTS_TOLD = {path: _reply(json.dumps(body).encode()) for path, body in _TEXTS.items()}


def _chunk(payload: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(payload), payload)


def _token(index: int) -> bytes:
    delta = {"role": "assistant", "content": ""} if index == 0 else {"content": f" tok{index}"}
    choice = {"index": 0, "delta": delta, "finish_reason": "stop" if index == CHUNKS - 1 else None}
    body = {"id": "chatcmpl-x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return _chunk(b"data: " + json.dumps(body).encode() + b"\n\n")


_USAGE = _chunk(
    b"data: "
    + json.dumps(
        {
            "id": "chatcmpl-x",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "m",
            "choices": [],
            "usage": {"prompt_tokens": 30, "completion_tokens": CHUNKS, "total_tokens": 30 + CHUNKS},
        }
    ).encode()
    + b"\n\n"
)
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
_TOKENS = [_token(index) for index in range(CHUNKS)]
_END = _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


def reads(*, stream: bool) -> list[bytes]:
    """What an answer is for who reads each write of it, one with its usage told."""
    if not stream:
        return [_reply(_COMPLETION)]
    return [_HEAD + _TOKENS[0], *_TOKENS[1:], _USAGE + _END]


class Upstream(asyncio.Protocol):
    """One connection; requests come one after another."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.pending = b""
        self.is_open = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False

    def data_received(self, data: bytes) -> None:
        self.pending += data
        while (request := self._next_request()) is not None:
            head, body = request
            if head.startswith(b"get"):
                self.transport.write(_reply(_MODELS))
            elif (told := _TEXTS_TOLD.get(head.split(b" ", 2)[1])) is not None:
                self.transport.write(told)
            elif b'"stream":true' in body or b'"stream": true' in body:
                self.transport.write(_HEAD)
                self._stream(0, b'"include_usage":true' in body)
            else:
                self.transport.write(_reply(_COMPLETION))

    def _next_request(self) -> tuple[bytes, bytes] | None:
        end = self.pending.find(b"\r\n\r\n")
        if end < 0:
            return None
        head, start = self.pending[:end].lower(), end + 4
        if b"transfer-encoding: chunked" in head:
            stop = self.pending.find(b"0\r\n\r\n", start)
            if stop < 0:
                return None
            body, self.pending = self.pending[start:stop], self.pending[stop + 5 :]
            return head, body
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self.pending) < start + length:
            return None
        body, self.pending = self.pending[start : start + length], self.pending[start + length :]
        return head, body

    def _stream(self, index: int, with_usage: bool) -> None:
        if not self.is_open:
            return
        self.transport.write(_TOKENS[index])
        if index + 1 < CHUNKS:
            asyncio.get_running_loop().call_later(SPACING_S, self._stream, index + 1, with_usage)
        else:
            self.transport.write((_USAGE if with_usage else b"") + _END)


class Held(Upstream):
    """Begins each stream and leaves it open."""

    def _stream(self, index: int, with_usage: bool) -> None:
        self.transport.write(_TOKENS[0] + _TOKENS[1])


class Endless(Upstream):
    """Writes each stream without an end, as fast as it is read."""

    is_full = False

    def _stream(self, index: int, with_usage: bool) -> None:
        self.transport.write(_TOKENS[0])
        self._flood()

    def pause_writing(self) -> None:
        self.is_full = True

    def resume_writing(self) -> None:
        self.is_full = False
        self._flood()

    def _flood(self) -> None:
        """Some at a time, so that one stream does not keep the others waiting."""
        if self.is_open and not self.is_full:
            self.transport.write(_TOKENS[1] * 100)
            asyncio.get_running_loop().call_soon(self._flood)


MANNERS = {"whole": Upstream, "held": Held, "endless": Endless}


async def main() -> None:
    manner = MANNERS[sys.argv[2] if len(sys.argv) > 2 else "whole"]
    server = await asyncio.get_running_loop().create_server(manner, "127.0.0.1", int(sys.argv[1]), backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())

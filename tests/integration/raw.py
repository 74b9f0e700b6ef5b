"""A client driven by hand: one socket, so that a test decides what is sent, read, left unread and cut off."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any, Self

import httpx
import psutil

from .served import MODEL, Served

NO_END = {"0": -100, "2": -100}
"""A logit bias that keeps the embedded model from ending its answer by itself."""

_TIMEOUT_S = 60.0  # a test that hangs fails then; nothing is judged by it
_numbers = itertools.count()


class Closed(Exception):
    """The server closed the connection."""


class Raw:
    """One connection. `ask` sends a chat request; `status`, `headers` and then events or a body are read."""

    def __init__(self, address: tuple[str, int], *, tiny_buffers: bool = False) -> None:
        self._socket = socket.socket()
        self._socket.settimeout(_TIMEOUT_S)
        if tiny_buffers:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            # The server's own send buffer is sized after it.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        self._socket.connect(address)
        self._unread = b""
        self._has_head = False
        self.status = 0
        self.headers: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def port(self) -> int:
        """The client's own port."""
        return int(self._socket.getsockname()[1])

    def ask(self, *, headers: dict[str, str] | None = None, padding: int = 0, **fields: Any) -> str:
        """Send a chat request, with *padding* bytes of space in its body, and return its id."""
        request_id = f"raw-{next(_numbers)}"
        body = {"model": MODEL, "messages": [{"role": "user", "content": "Tell me a story."}], **fields}
        data = json.dumps(body).encode() + b" " * padding
        lines = {
            "host": "localhost",
            "content-type": "application/json",
            "content-length": str(len(data)),
            "x-request-id": request_id,
            **(headers or {}),
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._socket.sendall(f"POST /v1/chat/completions HTTP/1.1\r\n{head}\r\n".encode() + data)
        return request_id

    def get(self, path: str) -> None:
        """Send a GET request."""
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())

    # ---- reading ----

    def read_head(self) -> int:
        """Read the head of an answer; returns its status."""
        head, _, self._unread = self._read_until(b"\r\n\r\n").partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        self._has_head = True
        self.status = int(status.split()[1])
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        return self.status

    def answer(self) -> Any:
        """Read a whole answer that is one body of JSON."""
        if not self._has_head:
            self.read_head()
        self._has_head = False
        size = int(self.headers["content-length"])
        while len(self._unread) < size:
            self._receive()
        body, self._unread = self._unread[:size], self._unread[size:]
        return json.loads(body)

    def events(self) -> Iterator[str]:
        """Read a stream's data lines to the end of the answer; comments are left out."""
        if not self._has_head:
            assert self.read_head() == 200, self._unread
        self._has_head = False
        assert self.headers["transfer-encoding"] == "chunked"
        text = b""
        while True:
            size, _, self._unread = self._read_until(b"\r\n").partition(b"\r\n")
            length = int(size, 16)
            while len(self._unread) < length + 2:
                self._receive()
            text += self._unread[:length]
            self._unread = self._unread[length + 2 :]
            if not length:
                assert not text, text
                return
            while b"\n\n" in text:
                event, _, text = text.partition(b"\n\n")
                if event.startswith(b"data: "):
                    yield event.removeprefix(b"data: ").decode()

    def read_end(self) -> bytes:
        """Read until the server closes the connection; returns what came before."""
        try:
            while True:
                self._receive()
        except (Closed, ConnectionResetError):
            return self._unread

    # ---- leaving ----

    def close(self) -> None:
        """Close; with unread bytes the server gets a reset, else a FIN."""
        self._socket.close()

    def reset(self) -> None:
        """Close with a reset."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def half_close(self) -> None:
        """Say that no more will be sent, and go on reading."""
        self._socket.shutdown(socket.SHUT_WR)

    # ---- inside ----

    def _read_until(self, mark: bytes) -> bytes:
        while mark not in self._unread:
            self._receive()
        return self._unread

    def _receive(self) -> None:
        data = self._socket.recv(65536)
        if not data:
            raise Closed
        self._unread += data


class Engine:
    """The engine's own view: its server is asked directly, past the router."""

    def __init__(self, socket_path: str) -> None:
        self._client = httpx.Client(transport=httpx.HTTPTransport(uds=socket_path), timeout=_TIMEOUT_S)

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def busy_slots(self) -> int:
        """How many sequences the engine works on."""
        return len(self._busy())

    def written_tokens(self) -> int:
        """How many tokens the sequences that it works on have by now."""
        return sum(slot["next_token"][0]["n_decoded"] for slot in self._busy())

    def _busy(self) -> list[dict[str, Any]]:
        reply = self._client.get("http://engine/slots", headers={"connection": "close"})
        return [slot for slot in reply.json() if slot["is_processing"]]


def engines(served: Served) -> list[tuple[dict[str, Any], psutil.Process]]:
    """The engine processes below a router, each with the settings it was started with (`socket` is one)."""
    found = []
    for process in served.descendants():
        with contextlib.suppress(psutil.NoSuchProcess):
            command = process.cmdline()
            if len(command) == 3 and command[1].endswith("embedded.py"):
                found.append((json.loads(command[-1]), process))
    return found


def wait_until(holds: Callable[[], bool], what: str) -> None:
    """Wait for something that must come true."""
    ends_at = time.monotonic() + _TIMEOUT_S
    while not holds():
        assert time.monotonic() < ends_at, f"never: {what}"
        time.sleep(0.005)


def metric(served: Served, name: str, model: str = MODEL) -> int:
    """The value of a gauge or counter of *model*."""
    text = httpx.get(f"{served.url}/metrics", trust_env=False).text
    rows = [line for line in text.splitlines() if line.startswith(f'{name}{{model="{model}"')]
    return sum(int(line.rpartition(" ")[2]) for line in rows)

"""ASGI on either side: an application that is run on our own connections, and exchanges under any ASGI server."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from litestar.types import ASGIApp, HTTPScope, Message, Receive, Send

from enginehouse.dialects.endpoint import Header
from enginehouse.dialects.openai import errors
from enginehouse.dialects.refusals import BodyTooLarge, TooSlow
from enginehouse.telemetry import get_logger
from enginehouse_plugin.errors import EnginehouseError

from .direct import DirectExchange
from .doors import ALWAYS_ANSWERED
from .exchange import Exchange, Handler
from .head import Head
from .limit_headers import limit_headers
from .limits import Limits

log = get_logger()


OF_SOCKET = "enginehouse.of_socket"
"""The key of a scope that says that a request came by the Unix socket for administration."""
AT_ONCE = 16
"""Requests that an application works on at a time. It takes far longer for one than the direct lane, which would wait
for all of them in each turn of the loop."""
AT_ONCE_OF_EACH = 4
"""Of those that ask how the server is, by each of their paths: they come beside the others."""


class Bridge:
    """Runs *app* for requests of our own server, each as a task, a few at a time; `tasks` are those that run.

    Those that ask how the server is wait for their like alone, not for the others.
    """

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._lanes = {path: _Lane(self._run, AT_ONCE_OF_EACH) for path in ALWAYS_ANSWERED}
        self._others = _Lane(self._run, AT_ONCE)
        self.tasks: set[asyncio.Task[None]] = set()

    def __call__(self, exchange: DirectExchange) -> None:
        """Have the application answer, in its turn."""
        self._lanes.get(exchange.path, self._others).take(exchange)

    def _run(self, exchange: DirectExchange) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(_Bridged(exchange, self._max_body_bytes).run(self._app))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task


class _Lane:
    """Exchanges in the order of their coming: *start* begins them, *at_once* at most at a time."""

    def __init__(self, start: Callable[[DirectExchange], asyncio.Task[None]], at_once: int) -> None:
        self._start = start
        self._at_once = at_once
        self._waiting: deque[DirectExchange] = deque()
        self._running = 0

    def take(self, exchange: DirectExchange) -> None:
        if self._running < self._at_once:
            self._run(exchange)
        else:
            self._waiting.append(exchange)

    def _run(self, exchange: DirectExchange) -> None:
        self._running += 1
        self._start(exchange).add_done_callback(self._go_on)

    def _go_on(self, _: asyncio.Task[None]) -> None:
        self._running -= 1
        while self._waiting and self._running < self._at_once:
            exchange = self._waiting.popleft()
            if not exchange.is_begun:  # its client is still there
                self._run(exchange)


class _Bridged:
    """One exchange as an application sees it."""

    def __init__(self, exchange: DirectExchange, max_body_bytes: int) -> None:
        self._exchange = exchange
        self._max_body_bytes = max_body_bytes
        self._loop = asyncio.get_running_loop()
        self._body: asyncio.Future[bytes] = self._loop.create_future()
        self._left: asyncio.Future[None] = self._loop.create_future()
        self._resumed: asyncio.Future[None] | None = None
        self._has_read = False
        self._start: tuple[int, list[Header]] | None = None
        exchange.listener = self

    async def run(self, app: ASGIApp) -> None:
        exchange = self._exchange
        try:
            await app(self._scope(), self._receive, self._send)
            error: Exception | None = None
        except Exception as raised:  # the outermost handler of a request
            log.error("request failed", id=exchange.request_id, path=exchange.path, exc_info=raised)
            error = raised
        if not exchange.is_begun:
            exchange.refuse(errors.describe(error or RuntimeError("no answer")))
        elif not exchange.is_over:
            exchange.abort()  # what was sent cannot be told as whole

    # ---- the exchange's listener ----

    def body(self, data: bytes) -> None:
        if not self._body.done():
            self._body.set_result(data)

    def body_failed(self, error: EnginehouseError) -> None:
        self._exchange.refuse(errors.describe(error))
        self.client_left()

    def client_left(self) -> None:
        if not self._left.done():
            self._left.set_result(None)
        self.resume()

    def pause(self) -> None:
        if self._resumed is None:
            self._resumed = self._loop.create_future()

    def resume(self) -> None:
        resumed, self._resumed = self._resumed, None
        if resumed is not None and not resumed.done():
            resumed.set_result(None)

    # ---- the application's side ----

    def _scope(self) -> HTTPScope:
        exchange = self._exchange
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.0" if exchange.is_old else "1.1",
            "method": exchange.method,
            "scheme": exchange.scheme,
            "path": exchange.path,
            "raw_path": exchange.parsed.target.partition(b"?")[0],
            "query_string": exchange.parsed.target.partition(b"?")[2],
            "root_path": "",
            "headers": list(exchange.head.headers),
            "client": (exchange.client, 0),
            "server": exchange.connection.address,
            "state": {},
            OF_SOCKET: exchange.is_of_socket,
        }
        return scope  # type: ignore[return-value]  # as the ASGI specification has it

    async def _receive(self) -> Any:
        if not self._has_read:
            self._has_read = True
            if not self._exchange.is_begun:
                self._exchange.read_body(self._max_body_bytes)
                waiting: list[asyncio.Future[Any]] = [self._body, self._left]
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if self._body.done():
                    return {"type": "http.request", "body": self._body.result(), "more_body": False}
        await asyncio.wait([self._left])
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        exchange = self._exchange
        if message["type"] == "http.response.start":
            headers = [(name.lower(), value) for name, value in message["headers"]]
            if exchange.method != "HEAD":  # else the length is the exchange's to say
                headers = [header for header in headers if header[0] != b"content-length"]
            self._start = message["status"], headers
            return
        if message["type"] != "http.response.body" or self._start is None:
            return
        body, has_more = message.get("body", b""), message.get("more_body", False)
        if not exchange.is_begun:
            if not has_more:
                exchange.answer(*self._start, body)
                return
            exchange.begin(*self._start)
        if has_more:
            exchange.write(body)
        else:
            exchange.finish(body)
        if has_more and self._resumed is not None:
            await asyncio.wait([self._resumed])


class AsgiExchange(Exchange):
    """A request under an ASGI server; `serve` runs until it is answered."""

    def __init__(self, scope: HTTPScope, receive: Receive, send: Send, limits: Limits) -> None:
        client = scope.get("client")
        head = Head(scope["method"], scope["path"], list(scope["headers"]), scope["query_string"])
        super().__init__(head, client[0] if client else "")
        self._receive = receive
        self._send = send
        self._limits = limits
        self._limit_bytes = 0
        self._wants_body = asyncio.Event()
        self._unsent: deque[Message] = deque()
        self._has_unsent = asyncio.Event()
        self._is_over = False
        self._has_left = False

    async def serve(self, handler: Handler | None) -> None:
        """Have *handler* take the request (None: it has been answered), and carry bytes both ways until its end."""
        if handler is not None:
            handler(self)
        reader = asyncio.get_running_loop().create_task(self._read())
        try:
            await self._carry()
        finally:
            reader.cancel()
            await asyncio.wait([reader])
            self._leave()

    # ---- Exchange ----

    def read_body(self, limit_bytes: int) -> None:
        """See `Exchange.read_body`."""
        self._limit_bytes = limit_bytes
        length = self.header(b"content-length")
        if length is not None and length.strip().isdigit() and int(length) > limit_bytes:
            self._fail_body(BodyTooLarge(limit_bytes))
        else:
            self._wants_body.set()

    def answer(self, status: int, headers: Sequence[Header], body: bytes) -> None:
        """See `Exchange.answer`."""
        if not self.is_begun:
            length = () if status in (204, 304) else ((b"content-length", b"%d" % len(body)),)
            self.begin(status, (*headers, *length))
            self.finish(b"" if self.method == "HEAD" else body)

    def begin(self, status: int, headers: Sequence[Header]) -> None:
        """See `Exchange.begin`."""
        if not self.is_begun:
            self.is_begun = True
            # Not woken for: the head goes out with the first bytes of the body.
            told = [*headers, *self.response_headers, *limit_headers(self.limits)]
            start = {"type": "http.response.start", "status": status, "headers": told}
            self._unsent.append(start)  # type: ignore[arg-type]  # a dictionary of that form

    def write(self, data: bytes) -> None:
        """See `Exchange.write`."""
        self._put(data, is_last=False)

    def finish(self, data: bytes = b"") -> None:
        """See `Exchange.finish`."""
        self._put(data, is_last=True)
        self._is_over = True

    def abort(self) -> None:
        """See `Exchange.abort`."""
        self._leave()

    # ---- inside ----

    def _put(self, data: bytes, *, is_last: bool) -> None:
        if not self._is_over:
            self._unsent.append({"type": "http.response.body", "body": data, "more_body": not is_last})
            self._has_unsent.set()

    async def _carry(self) -> None:
        while True:
            while self._unsent:
                sending = asyncio.ensure_future(self._send(self._unsent.popleft()))
                await asyncio.sleep(0)
                if not sending.done():
                    await self._wait_for_client(sending)
                await sending
            if self._has_left:
                raise ConnectionAbortedError("The client has left, or was cut off.")
            if self._is_over:
                return
            self._has_unsent.clear()
            await self._has_unsent.wait()

    async def _wait_for_client(self, sending: asyncio.Future[None]) -> None:
        self.is_paused = True
        if self.listener is not None and not self._is_over:
            self.listener.pause()
        done, _ = await asyncio.wait([sending], timeout=self._limits.send_timeout_s)
        if not done:
            sending.cancel()
            raise ConnectionAbortedError("The client was cut off: it took nothing.")
        self.is_paused = False
        if self.listener is not None and not self._is_over:
            self.listener.resume()

    async def _read(self) -> None:
        await self._wants_body.wait()
        try:
            async with asyncio.timeout(self._limits.request_timeout_s) as timeout:
                body = await self._read_whole(timeout)
        except TimeoutError:
            self._fail_body(TooSlow("body"))
            return
        if body is not None:
            if self.listener is not None:
                self.listener.body(body)
            while (await self._receive())["type"] != "http.disconnect":
                pass
        self._leave()

    async def _read_whole(self, timeout: asyncio.Timeout) -> bytes | None:
        """Return the body; None where the client has left, or was refused."""
        parts, size, began_at = [], 0, asyncio.get_running_loop().time()
        while True:
            message: Any = await self._receive()
            if message["type"] == "http.disconnect":
                return None
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            timeout.reschedule(self._limits.request_is_due(began_at, size))
            if size > self._limit_bytes:
                self._fail_body(BodyTooLarge(self._limit_bytes))
                return None
            if not message.get("more_body"):
                return b"".join(parts)

    def _fail_body(self, error: EnginehouseError) -> None:
        if self.listener is not None:
            self.listener.body_failed(error)

    def _leave(self) -> None:
        """Hear that the client has left; nothing if it was answered."""
        if self._is_over:
            return
        self.is_begun = self._is_over = self._has_left = True
        self._has_unsent.set()
        if self.listener is not None:
            self.listener.client_left()

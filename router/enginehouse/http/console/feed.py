"""The feed of the console: the house as server-sent events, at most once a second, and nothing while nobody looks.

The snapshot is taken once for all who watch, and encoded once: who comes gets the whole house, and then everybody what
has changed. Who does not read is sent nothing meanwhile, and the whole house afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from enginehouse.dialects import house as bodies
from enginehouse.dialects.openai import errors
from enginehouse.dialects.refusals import MethodNotAllowed, NotFound, TooManyConnections
from enginehouse.http.exchange import Exchange
from enginehouse.http.guard import AdminGuard
from enginehouse.service import Service
from enginehouse_plugin.errors import EnginehouseError

PATH: Final = "/console/events"
INTERVAL_S: Final = 1.0
MOST: Final = 64
"""Who may watch at a time."""
_SILENCE_S: Final = 15.0
"""A comment goes to who has been sent nothing for so long, so that it is noticed when a client is gone."""
_HEADERS: Final = ((b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store"))
_OK: Final = 200


class Feed:
    """Takes requests for the feed of *service*'s house that *guard* admits, while *is_on* says that there is one."""

    def __init__(self, service: Service, guard: AdminGuard, is_on: Callable[[], bool]) -> None:
        self._service = service
        self._guard = guard
        self._is_on = is_on
        self._watchers: set[_Watcher] = set()
        self._house: bodies.House | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self, exchange: Exchange) -> None:
        """Take a request at its head."""
        try:
            self._admit(exchange)
            if exchange.method != "GET":
                raise MethodNotAllowed(exchange.method, ["GET"])
            if len(self._watchers) >= MOST:
                raise TooManyConnections
        except EnginehouseError as error:
            exchange.refuse(errors.describe(error))
            return
        watcher = _Watcher(exchange, self)
        exchange.listener = watcher
        exchange.read_body(0)

    def _admit(self, exchange: Exchange) -> None:
        if not self._is_on():
            raise NotFound(exchange.path)
        self._guard.admit(exchange)

    def watch(self, watcher: _Watcher) -> None:
        """Show the house to *watcher* from now on."""
        self._watchers.add(watcher)
        watcher.exchange.begin(_OK, _HEADERS)
        if self._house is None:  # nobody has looked
            self._house = self._seen()
        watcher.send(bodies.whole(self._house))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(INTERVAL_S, self._look)

    def leave(self, watcher: _Watcher) -> None:
        """Show it no more to *watcher*; after the last, look no more."""
        self._watchers.discard(watcher)
        if not self._watchers:
            self._house = None
            for hosted in self._service.fleet.instances():
                if hosted.fullness is not None:
                    hosted.fullness.forget()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(INTERVAL_S, self._look)
        before, house = self._house, self._seen()
        self._house = house
        self._ask()
        change = None if before is None else bodies.change(before, house)
        for watcher in list(self._watchers):
            try:
                self._admit(watcher.exchange)
            except EnginehouseError:  # its key is revoked, there is one now, or the console is switched off
                self._end(watcher)
                continue
            if watcher.is_behind and not watcher.exchange.is_paused:
                watcher.is_behind = False
                watcher.send(bodies.whole(house))
            elif watcher.exchange.is_paused:
                watcher.is_behind = watcher.is_behind or change is not None
            elif change is not None:
                watcher.send(change)
            elif loop.time() - watcher.sent_at >= _SILENCE_S:
                watcher.send(b":\n\n")
        if self._service.fleet.is_draining:  # streams without an end would hold up that of the server
            for watcher in list(self._watchers):
                self._end(watcher)

    def _end(self, watcher: _Watcher) -> None:
        watcher.exchange.finish(b"event: end\ndata: {}\n\n")
        self.leave(watcher)

    def _ask(self) -> None:
        """Have engines tell how full their caches are: what they say shows at the next look."""
        for hosted in self._service.fleet.instances():
            if hosted.fullness is not None:
                hosted.fullness.ask()

    def _seen(self) -> bodies.House:
        fleet = self._service.fleet
        return bodies.house_of(fleet.snapshot(), fleet.hosts.snapshot(), self._service.recent)


class _Watcher:
    """One client of *feed*; `is_behind`: it has not read, and missed something."""

    is_behind = False
    sent_at = 0.0

    def __init__(self, exchange: Exchange, feed: Feed) -> None:
        self.exchange = exchange
        self._feed = feed

    def send(self, data: bytes) -> None:
        """Send *data*."""
        self.sent_at = asyncio.get_running_loop().time()
        self.exchange.write(data)

    # ---- the exchange's listener ----

    def body(self, data: bytes) -> None:
        """Hear that the request is whole."""
        del data
        self._feed.watch(self)

    def body_failed(self, error: EnginehouseError) -> None:
        """Hear that it has a body, which nothing is to be done with."""
        self.exchange.refuse(errors.describe(error))

    def client_left(self) -> None:
        """Hear that nobody looks any more."""
        self._feed.leave(self)

    def pause(self) -> None:
        """Hear that the client does not read: the next look finds out."""

    def resume(self) -> None:
        """Hear that it reads again: the next look finds out."""

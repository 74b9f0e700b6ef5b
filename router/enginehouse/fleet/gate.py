"""Who may start: a number of slots, and a bounded queue that is fair among clients."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Protocol

from enginehouse_plugin.errors import EnginehouseError

from .errors import QueueFull, QueueTimeout

RETRY_AFTER_S = 5.0
"""When a refused client should come again: about the time of a short answer."""


class Entrant(Protocol):
    """Who waits in a gate's queue. Is admitted or refused, once, unless it is withdrawn before."""

    def admitted(self, weight: int) -> None:
        """Have *weight* slots, to give back to `Gate.leave`."""

    def refused(self, error: EnginehouseError) -> None:
        """Have no slot, because of *error*."""

    def stranded(self) -> None:
        """Hear that the instance has failed: it waits on for a restart, or withdraws and goes elsewhere."""

    def sent_on(self) -> None:
        """Hear that nobody is let in here any more, and seek another instance."""


class Waiter:
    """One place in the queue, since a time of the loop's clock. `timer` ends it: one for a load from the beginning
    (`is_for_load`), one for the queue from the moment that waiting is the queue's fault.
    """

    __slots__ = ("client", "entrant", "is_for_load", "is_queued", "since", "timer", "weight")

    def __init__(self, client: str, weight: int, entrant: Entrant, since: float) -> None:
        self.client = client
        self.weight = weight
        self.entrant = entrant
        self.since = since
        self.is_queued = True
        self.is_for_load = False
        self.timer: asyncio.Handle | None = None


class Gate:
    """Admission to one instance, which runs up to `capacity` sequences at once; a request takes `weight` of them.

    `admitted` counts those that were let in. `on_idle` is called whenever nothing runs any more.

    Clients take turns, and each client's own requests keep their order. A request that does not fit yet holds
    up those behind it, so that a heavy one is not starved by light ones. When the queue is full, the newest
    request of a client that fills it gives way to a client that has fewer.

    A gate starts closed: requests wait while an instance loads, for *load_timeout_s* at most (None: for ever), after
    which they get the error that *why* makes. `open` lets them in; `pause` stops that while deadlines run on. Entrants
    are told by plain calls, in which they may come to this gate again.
    """

    __slots__ = (
        "_deadlines_run", "_idle", "_is_admitting", "_turns", "_why", "admitted", "capacity", "is_open",
        "load_timeout_s", "max_queue", "model", "on_idle", "queue_timeout_s", "running", "waiting",
    )  # fmt: skip

    def __init__(
        self,
        model: str,
        *,
        max_queue: int,
        queue_timeout_s: float,
        load_timeout_s: float | None = None,
        why: Callable[[], EnginehouseError] | None = None,
    ) -> None:
        self.model = model
        self.max_queue = max_queue
        self.queue_timeout_s = queue_timeout_s
        self.load_timeout_s = load_timeout_s
        self._why = why
        self.capacity = 0
        self.running = 0
        self.waiting = 0
        self.admitted = 0
        self.is_open = False
        self.on_idle: Callable[[], None] | None = None
        self._deadlines_run = False
        self._is_admitting = False
        self._turns: OrderedDict[str, deque[Waiter]] = OrderedDict()
        self._idle: asyncio.Event | None = None

    def __repr__(self) -> str:
        state = "open" if self.is_open else "closed"
        return f"<Gate {self.model!r} {state} running={self.running}/{self.capacity} waiting={self.waiting}>"

    @property
    def has_room(self) -> bool:
        """Whether a request would be let in, or could wait for others that are."""
        return self.is_open and (self.waiting < self.max_queue or self.running < self.capacity)

    def enter(self, weight: int) -> int:
        """Take *weight* slots if they are free and nobody waits; returns what to give back to `leave`, 0 for none.

        A weight above the capacity takes all of it: the engine then runs the choices in turn.
        """
        if self.is_open and not self.waiting:
            weight = min(weight, self.capacity)
            if self.running + weight <= self.capacity:
                self.running += weight
                self.admitted += 1
                return weight
        return 0

    def take(self) -> bool:
        """Take one slot if one is free and nobody waits, for the router's own use; also while no request is let in."""
        if self.waiting or self.running >= self.capacity:
            return False
        self.running += 1
        return True

    def queue(self, client: str, weight: int, entrant: Entrant) -> Waiter:
        """Let *entrant* wait for *weight* slots, as one of *client*'s; it is told later, never in this call.

        Raises:
            QueueFull: as many wait as may, and nobody else gives way.
        """
        giving_way = self._giving_way(client) if self.waiting >= self.max_queue else None
        waiter = Waiter(client, weight, entrant, asyncio.get_running_loop().time())
        self._turns.setdefault(client, deque()).append(waiter)
        self.waiting += 1
        self._start_deadline(waiter)
        if giving_way is not None:
            self._drop(giving_way)
            giving_way.timer = asyncio.get_running_loop().call_soon(giving_way.entrant.refused, self._full())
        return waiter

    def withdraw(self, waiter: Waiter) -> None:
        """Give up a place in the queue. The entrant hears nothing more."""
        if waiter.is_queued:
            self._drop(waiter)
            self._admit()  # what it held up may fit
        elif waiter.timer is not None:
            waiter.timer.cancel()

    def leave(self, weight: int) -> None:
        """Give *weight* slots back."""
        self.running -= weight
        if self.waiting:
            self._admit()
        if not self.running:
            if self._idle is not None:
                self._idle.set()
                self._idle = None
            if self.on_idle is not None:
                self.on_idle()

    def open(self, capacity: int) -> None:
        """Let requests in, up to *capacity* sequences at once."""
        self.capacity = max(1, capacity)
        self.is_open = True
        self.start_deadlines()
        self._admit()

    def pause(self) -> None:
        """Let no request in until the next `open`; those that run go on."""
        self.is_open = False

    def hold_deadlines(self, *, for_all: bool = False) -> None:
        """Let requests that come now, or all, wait without the queue's deadline: only with that for a load."""
        self._deadlines_run = False
        if for_all:
            for waiter in self._waiters():
                self._start_deadline(waiter)

    def start_deadlines(self) -> None:
        """Start the queue's deadline of every request that waits without it."""
        self._deadlines_run = True
        for waiter in self._waiters():
            if waiter.timer is None or waiter.is_for_load:
                self._start_deadline(waiter)

    def fail(self, error: EnginehouseError) -> None:
        """Refuse all that wait now."""
        for waiter in self._waiters():
            self._refuse(waiter, error)

    def strand(self) -> None:
        """Tell all that wait that the instance has failed."""
        for waiter in self._waiters():
            if waiter.is_queued:
                waiter.entrant.stranded()

    def send_on(self) -> None:
        """Send all that wait elsewhere."""
        for waiter in [waiter for queue in self._turns.values() for waiter in queue]:
            if waiter.is_queued:  # those that were told before it may have withdrawn it
                self._drop(waiter)
                waiter.entrant.sent_on()

    async def wait_idle(self) -> None:
        """Wait until nothing runs."""
        while self.running:
            if self._idle is None:
                self._idle = asyncio.Event()
            await self._idle.wait()

    def _admit(self) -> None:
        if self._is_admitting:
            return  # an entrant that was just told has left: the loop that told it goes on
        self._is_admitting = True
        try:
            while self.is_open and self._turns:
                client, queue = next(iter(self._turns.items()))
                waiter = queue[0]
                weight = min(waiter.weight, self.capacity)
                if self.running + weight > self.capacity:
                    return
                self._drop(waiter)
                if client in self._turns:
                    self._turns.move_to_end(client)
                self.running += weight
                self.admitted += 1
                waiter.entrant.admitted(weight)
        finally:
            self._is_admitting = False

    def _giving_way(self, client: str) -> Waiter:
        """The newest request of the client that fills the queue, if that is another than *client* by two or more."""
        own = len(self._turns.get(client, ()))
        fullest = max(self._turns.values(), key=len, default=None)
        if fullest is None or len(fullest) < own + 2:
            raise self._full()
        return fullest[-1]

    def _full(self) -> QueueFull:
        return QueueFull(self.model, limit=self.max_queue, retry_after_s=RETRY_AFTER_S)

    def _refuse(self, waiter: Waiter, error: EnginehouseError) -> None:
        if waiter.is_queued:  # those that were told before it may have withdrawn it
            self._drop(waiter)
            waiter.entrant.refused(error)

    def _drop(self, waiter: Waiter) -> None:
        queue = self._turns[waiter.client]
        queue.remove(waiter)
        if not queue:
            del self._turns[waiter.client]
        waiter.is_queued = False
        self.waiting -= 1
        if waiter.timer is not None:
            waiter.timer.cancel()

    def _waiters(self) -> list[Waiter]:
        return [waiter for queue in self._turns.values() for waiter in queue]

    def _start_deadline(self, waiter: Waiter) -> None:
        loop = asyncio.get_running_loop()
        if waiter.timer is not None:
            waiter.timer.cancel()
            waiter.timer = None
        waiter.is_for_load = not self._deadlines_run
        if self._deadlines_run:
            waiter.timer = loop.call_later(self.queue_timeout_s, self._expire, waiter)
        elif self.load_timeout_s is not None:
            waiter.timer = loop.call_at(waiter.since + self.load_timeout_s, self._expire, waiter)

    def _expire(self, waiter: Waiter) -> None:
        error: EnginehouseError
        if waiter.is_for_load and self._why is not None:
            error = self._why()
        else:
            error = QueueTimeout(self.model, waited_s=self.queue_timeout_s, retry_after_s=RETRY_AFTER_S)
        self._refuse(waiter, error)
        self._admit()

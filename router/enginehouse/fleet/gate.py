"""Who may start: a number of slots, and a bounded queue that is fair among clients."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
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


class Waiter:
    """One place in the queue. `timer` runs from the moment that waiting is the queue's fault."""

    __slots__ = ("client", "entrant", "is_queued", "timer", "weight")

    def __init__(self, client: str, weight: int, entrant: Entrant) -> None:
        self.client = client
        self.weight = weight
        self.entrant = entrant
        self.is_queued = True
        self.timer: asyncio.Handle | None = None


class Gate:
    """Admission to one instance, which runs up to `capacity` sequences at once; a request takes `weight` of them.

    Clients take turns, and each client's own requests keep their order. A request that does not fit yet holds
    up those behind it, so that a heavy one is not starved by light ones. When the queue is full, the newest
    request of a client that fills it gives way to a client that has fewer.

    A gate starts closed: requests wait without a deadline while an instance loads. `open` lets them in;
    `pause` stops that while deadlines run on. Entrants are told by plain calls, in which they may come to this
    gate again.
    """

    def __init__(self, model: str, *, max_queue: int, queue_timeout_s: float) -> None:
        self.model = model
        self.max_queue = max_queue
        self.queue_timeout_s = queue_timeout_s
        self.capacity = 0
        self.running = 0
        self.waiting = 0
        self.is_open = False
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
                return weight
        return 0

    def queue(self, client: str, weight: int, entrant: Entrant) -> Waiter:
        """Let *entrant* wait for *weight* slots, as one of *client*'s; it is told later, never in this call.

        Raises:
            QueueFull: as many wait as may, and nobody else gives way.
        """
        giving_way = self._giving_way(client) if self.waiting >= self.max_queue else None
        waiter = Waiter(client, weight, entrant)
        self._turns.setdefault(client, deque()).append(waiter)
        self.waiting += 1
        if self._deadlines_run:
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
        if not self.running and self._idle is not None:
            self._idle.set()

    def open(self, capacity: int) -> None:
        """Let requests in, up to *capacity* sequences at once."""
        self.capacity = max(1, capacity)
        self.is_open = True
        self.start_deadlines()
        self._admit()

    def pause(self) -> None:
        """Let no request in until the next `open`; those that run go on."""
        self.is_open = False

    def hold_deadlines(self) -> None:
        """Let requests that come now wait without a deadline (loading has limits of its own)."""
        self._deadlines_run = False

    def start_deadlines(self) -> None:
        """Start the deadline of every request that waits without one."""
        self._deadlines_run = True
        for queue in self._turns.values():
            for waiter in queue:
                if waiter.timer is None:
                    self._start_deadline(waiter)

    def fail(self, error: EnginehouseError) -> None:
        """Refuse all that wait now."""
        for waiter in [waiter for queue in self._turns.values() for waiter in queue]:
            self._refuse(waiter, error)

    def strand(self) -> None:
        """Tell all that wait that the instance has failed."""
        for waiter in [waiter for queue in self._turns.values() for waiter in queue]:
            if waiter.is_queued:
                waiter.entrant.stranded()

    async def wait_idle(self) -> None:
        """Wait until nothing runs."""
        self._idle = asyncio.Event()
        if self.running:
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

    def _start_deadline(self, waiter: Waiter) -> None:
        loop = asyncio.get_running_loop()
        waiter.timer = loop.call_later(self.queue_timeout_s, self._expire, waiter)

    def _expire(self, waiter: Waiter) -> None:
        self._refuse(waiter, QueueTimeout(self.model, waited_s=self.queue_timeout_s, retry_after_s=RETRY_AFTER_S))
        self._admit()

"""Who may start: a number of slots, and a bounded queue that is fair among clients."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque

from enginehouse_plugin.errors import EnginehouseError

from .errors import QueueFull, QueueTimeout

RETRY_AFTER_S = 5.0
"""When a refused client should come again: about the time of a short answer."""


class _Waiter:
    """One request in the queue. `timer` runs from the moment that waiting is the queue's fault."""

    __slots__ = ("client", "is_queued", "slot", "timer", "weight")

    def __init__(self, client: str, weight: int, slot: asyncio.Future[None]) -> None:
        self.client = client
        self.weight = weight
        self.slot = slot
        self.is_queued = True
        self.timer: asyncio.TimerHandle | None = None


class Gate:
    """Admission to one instance, which runs up to `capacity` sequences at once; a request takes `weight` of them.

    Clients take turns, and each client's own requests keep their order. A request that does not fit yet holds
    up those behind it, so that a heavy one is not starved by light ones. When the queue is full, the newest
    request of a client that fills it gives way to a client that has fewer.

    A gate starts closed: requests wait without a deadline while an instance loads. `open` lets them in;
    `pause` stops that while deadlines run on.
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
        self._turns: OrderedDict[str, deque[_Waiter]] = OrderedDict()
        self._idle: asyncio.Event | None = None

    def __repr__(self) -> str:
        state = "open" if self.is_open else "closed"
        return f"<Gate {self.model!r} {state} running={self.running}/{self.capacity} waiting={self.waiting}>"

    async def enter(self, client: str, weight: int) -> int:
        """Wait for a slot and take it; returns the weight to give back to `leave`.

        A weight above the capacity takes all of it: the engine then runs the choices in turn.

        Raises:
            QueueFull, QueueTimeout: no slot; also what `fail` was given.
        """
        if self.is_open and not self.waiting:
            weight = min(weight, self.capacity)
            if self.running + weight <= self.capacity:
                self.running += weight
                return weight
        return await self._queue(client, weight)

    async def _queue(self, client: str, weight: int) -> int:
        if self.waiting >= self.max_queue:
            self._make_room(client)
        waiter = _Waiter(client, weight, asyncio.get_running_loop().create_future())
        self._turns.setdefault(client, deque()).append(waiter)
        self.waiting += 1
        if self._deadlines_run:
            self._start_deadline(waiter)
        try:
            await waiter.slot
        except asyncio.CancelledError:
            # Two cases: still in the queue, or the slot came in the same turn of the loop.
            if waiter.is_queued:
                self._drop(waiter)
                self._admit()  # what it held up may fit
            elif not waiter.slot.cancelled() and waiter.slot.exception() is None:
                self.leave(waiter.weight)
            raise
        return waiter.weight

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
        """Refuse all that wait."""
        for queue in list(self._turns.values()):
            for waiter in list(queue):
                self._refuse(waiter, error)

    async def wait_idle(self) -> None:
        """Wait until nothing runs."""
        self._idle = asyncio.Event()
        if self.running:
            await self._idle.wait()

    def _admit(self) -> None:
        while self.is_open and self._turns:
            client, queue = next(iter(self._turns.items()))
            waiter = queue[0]
            if waiter.slot.done():  # cancelled, and its task has not run since
                self._drop(waiter)
                continue
            waiter.weight = min(waiter.weight, self.capacity)
            if self.running + waiter.weight > self.capacity:
                return
            self._drop(waiter)
            if client in self._turns:
                self._turns.move_to_end(client)
            self.running += waiter.weight
            waiter.slot.set_result(None)

    def _make_room(self, client: str) -> None:
        """Take the newest request of the client that fills the queue out of it, if that is another by two or more."""
        own = len(self._turns.get(client, ()))
        fullest = max(self._turns.values(), key=len, default=None)
        error = QueueFull(self.model, limit=self.max_queue, retry_after_s=RETRY_AFTER_S)
        if fullest is None or len(fullest) < own + 2:
            raise error
        self._refuse(fullest[-1], error)

    def _refuse(self, waiter: _Waiter, error: EnginehouseError) -> None:
        self._drop(waiter)
        if not waiter.slot.done():
            waiter.slot.set_exception(error)

    def _drop(self, waiter: _Waiter) -> None:
        queue = self._turns[waiter.client]
        queue.remove(waiter)
        if not queue:
            del self._turns[waiter.client]
        waiter.is_queued = False
        self.waiting -= 1
        if waiter.timer is not None:
            waiter.timer.cancel()

    def _start_deadline(self, waiter: _Waiter) -> None:
        loop = asyncio.get_running_loop()
        waiter.timer = loop.call_later(self.queue_timeout_s, self._expire, waiter)

    def _expire(self, waiter: _Waiter) -> None:
        error = QueueTimeout(self.model, waited_s=self.queue_timeout_s, retry_after_s=RETRY_AFTER_S)
        self._refuse(waiter, error)
        self._admit()

"""How long an instance stays loaded: pinned, held back, kept alive after its last use, or about to leave.

Leaving takes two steps: nobody is let in any more, and once nothing runs the memory is given back. Nothing that runs
is ever cut by it, and until then whoever has asked may take it back. An engine that can sleep may leave by that: it
gives back most of its memory, and returns sooner than by loading.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from .gate import Gate

_HALF_LIFE_S: Final = 600.0
"""In this time the use of an instance counts half as much."""


class Residence:
    """The stay of one instance, at whose *gate* its use is seen; unused for *keep_alive_s* it leaves (None: never).

    `leaving` says why it is about to leave, None while it is not. `is_held`: its owner has taken it out, so that no
    request loads it. `is_called`: its owner wants it loaded. `is_wanted_back`: it loads again as soon as it has left.
    `is_sent`: it leaves by its owner's order, which only its owner takes back. `may_sleep`: it need not end to leave.
    `load_s` and `wake_s` are how long it took to load and to wake last, `ready_at` since when it takes requests, None
    while it does not, by the loop's clock. `asleep_bytes` are what it held of each device when it slept last.
    """

    def __init__(self, gate: Gate, *, keep_alive_s: float | None = None, is_pinned: bool = False) -> None:
        self.is_pinned = is_pinned
        self.is_held = False
        self.keep_alive_s = keep_alive_s
        self.leaving: str | None = None
        self.may_sleep = False
        self.is_asleep = False
        self.asleep_bytes: Mapping[str, int] = {}
        self.load_s = 0.0
        self.wake_s = 0.0
        self.ready_at: float | None = None
        self.on_idle: Callable[[], None] | None = None
        self._gate = gate
        self._asked = asyncio.Event()  # something may have changed for who waits to leave
        self._left = asyncio.Event()
        self._is_cut = False
        self._is_gone = False
        self.is_wanted_back = False
        self.is_called = False
        self.is_sent = False
        self._idle_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._uses = 0.0
        self._counted = 0
        self._counted_at = 0.0
        gate.on_idle = self._idle

    @property
    def is_in_use(self) -> bool:
        """Whether a request runs, or waits."""
        return bool(self._gate.running or self._gate.waiting)

    @property
    def is_wanted(self) -> bool:
        """Whether others may have to give way for it: somebody waits, or its owner wants it loaded."""
        return self.is_called or self.is_pinned or bool(self._gate.waiting)

    @property
    def start_s(self) -> float:
        """How long it takes to start from where it is, by the last time; 0: not known."""
        return (self.wake_s or self.load_s) if self.is_asleep else self.load_s

    def idle_s(self, now: float) -> float:
        """How long nothing has run."""
        return 0.0 if self._gate.running or not self._is_here else max(0.0, now - self._idle_at)

    def uses(self, now: float) -> float:
        """How many requests it has had, older ones counting less: half for every ten minutes."""
        self._uses *= 0.5 ** ((now - self._counted_at) / _HALF_LIFE_S)
        self._uses += self._gate.admitted - self._counted
        self._counted, self._counted_at = self._gate.admitted, now
        return self._uses

    # ---- the instance's side ----

    def begin(self, load_s: float) -> None:
        """Note that it has loaded, or woken, in *load_s* seconds, and lets requests in from now on."""
        now = asyncio.get_running_loop().time()
        if self.is_asleep:
            self.wake_s = load_s
        else:
            self.load_s = load_s
        self.ready_at = self._idle_at = now
        self.leaving = None
        self.is_asleep = False
        self._is_cut = self._is_gone = self.is_wanted_back = self.is_called = False
        self._asked.clear()
        self._left.clear()
        self._arm()

    def sleep(self) -> None:
        """Note that it sleeps."""
        self.ready_at = self.leaving = None
        self.is_asleep = True
        self._is_gone = False
        self._left.set()
        self._arm()

    async def wait_roused(self, *, has_asked: bool = False) -> str | None:
        """Wait until it, which sleeps, is to end; returns why. None: it is wanted, unless it *has asked* for room."""
        while self.leaving is None:
            if not has_asked and (self.is_called or self.is_wanted_back or self._gate.waiting):
                return None
            self._asked.clear()
            await self._asked.wait()
        return self.leaving

    def end(self) -> None:
        """Note that it is loaded no more."""
        self.ready_at = None
        self.is_asleep = False
        self.leaving = None
        self.is_sent = False
        self._left.set()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def wait_to_leave(self) -> str:
        """Wait until it is to leave and nothing runs; returns why it leaves."""
        while True:
            if self.leaving is not None and (self._is_cut or not self._gate.running):
                self._is_gone = True
                return self.leaving
            self._asked.clear()
            await self._asked.wait()

    async def wait_left(self) -> None:
        """Wait until it has left, or stays."""
        await self._left.wait()

    # ---- who decides ----

    def leave(self, reason: str, *, may_sleep: bool = False) -> None:
        """Let nobody in any more, and leave because of *reason* once nothing runs; meant for one that is ready, or
        sleeps and is to end.
        """
        self.leaving = reason
        self.may_sleep = may_sleep
        self._is_gone |= self.is_asleep
        self._left.clear()
        self._gate.pause()
        self._gate.hold_deadlines(for_all=True)
        self._asked.set()

    def rouse(self) -> None:
        """Hear that it, which sleeps, is wanted."""
        self.is_wanted_back = True
        self._asked.set()

    def cut(self) -> None:
        """Leave now, whatever runs."""
        self._is_cut = True
        self._asked.set()

    def stay(self) -> bool:
        """Take `leave` back; returns whether that was in time, and then whoever does it opens the gate again.

        Else it is loaded again as soon as it has left.
        """
        if self._is_gone:
            self.is_wanted_back = True
            return False
        self.leaving = None
        self._left.set()
        return True

    def follow(self, keep_alive_s: float | None) -> None:
        """Keep it for *keep_alive_s* after its last use from now on."""
        self.keep_alive_s = keep_alive_s
        self._arm()

    def pin(self, is_pinned: bool) -> None:
        """Keep it loaded whatever else needs its memory, or no more."""
        self.is_pinned = is_pinned
        self._arm()

    def _idle(self) -> None:
        """Hear that nothing runs any more."""
        self._idle_at = asyncio.get_running_loop().time()
        if self.leaving is not None:
            self._asked.set()
        elif self._timer is None:
            self._arm()
        if self.on_idle is not None:
            self.on_idle()

    @property
    def _is_here(self) -> bool:
        return self.ready_at is not None or self.is_asleep

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.keep_alive_s is not None and self._is_here and not self.is_pinned:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(self._idle_at + self.keep_alive_s, self._look)

    def _look(self) -> None:
        """Leave if it has been unused for as long as it may; one timer serves all that has happened since."""
        self._timer = None
        if self.keep_alive_s is None or not self._is_here or self.leaving is not None or self.is_in_use:
            return  # what runs arms it again when it ends
        if asyncio.get_running_loop().time() < self._idle_at + self.keep_alive_s:
            self._arm()
        else:
            self.leave(f"unused for {self.keep_alive_s:g} s")

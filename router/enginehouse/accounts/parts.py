"""How routers that share a database keep to a limit together: each asks there for a part of what is left.

What a router was handed out and has not used is its own, so that most requests ask nobody. A part is used up: what
leaves the window goes back to all. Where one router is short of what others hold unused, these give it back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final, Protocol

import msgspec

PATIENCE_S: Final = 2.0
"""How long a request waits for its part: longer than a router takes to give back what another is short of."""
RETRY_S: Final = 0.2
"""How often it is asked for meanwhile."""
FULL_S: Final = 1.0
"""For how long a limit that is full is refused without asking."""
NOBODY: Final = ""
"""Holds what routers that are gone have used of a day."""
_SHARE: Final = 16
"""A router is handed out what it asks for, and up to this part of the limit ahead: what its death keeps from others."""


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What a router says of one limit: it has `used` so much of it, and for what comes now it lacks `wanted`.

    Nothing is held unused while this is under way. `subject` is whose limit it is, `kind` its name in the
    configuration. What was used begins to be free again in `frees_s`.
    """

    subject: str
    kind: str
    limit: int
    used: int
    unused: int
    wanted: int
    frees_s: float


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What another router holds of that limit, as it said last.

    `is_short`: it was handed out less than it wanted. `is_fresh`: it said so since the one that asks is short.
    """

    used: int
    unused: int
    is_short: bool = False
    is_fresh: bool = False
    frees_s: float = 0.0


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a router may use of a limit from now on, and what is left beside that for all of them.

    `is_short`: it is less than was wanted. `is_full`: as all have just said, nobody has any to give, so that to ask
    again helps only in `wait_s`.
    """

    subject: str
    kind: str
    unused: int
    left: int
    is_short: bool = False
    is_full: bool = False
    wait_s: float = 0.0


def hand_out(ask: Ask, others: Iterable[Held]) -> Told:
    """Say what the router that *ask*s may use, beside what *others* hold: together never more than the limit."""
    held = list(others)
    free = ask.limit - ask.used - sum(each.used + each.unused for each in held)
    is_wanted = any(each.is_short for each in held)
    ahead = 0 if is_wanted else ask.limit // _SHARE
    if not ask.wanted:
        unused = 0 if is_wanted else max(min(ask.unused, free), 0)
        return Told(subject=ask.subject, kind=ask.kind, unused=unused, left=max(free - unused, 0))
    if free < ask.wanted:
        waits = [each.frees_s for each in held if each.used]
        waits += [ask.frees_s] if ask.used else []
        return Told(
            subject=ask.subject, kind=ask.kind, unused=0, left=max(free, 0), is_short=True,
            is_full=all(each.is_fresh and not each.unused for each in held), wait_s=min(waits, default=0.0),
        )  # fmt: skip
    unused = ask.wanted + min(free - ask.wanted, ahead)
    return Told(subject=ask.subject, kind=ask.kind, unused=unused, left=free - unused)


class Part:
    """What this router may still use of one limit, as the event loop knows it.

    `is_asked`: the database is being asked; `told_at`: when it said something last, None: it has nothing of ours.
    Until `again_at` it is not asked again, and until `full_until` a request that lacks something is refused.
    """

    __slots__ = ("again_at", "full_until", "is_asked", "left", "told_at", "unused", "wait_s")

    def __init__(self) -> None:
        self.unused = self.left = 0
        self.is_asked = False
        self.told_at: float | None = None
        self.again_at = self.full_until = self.wait_s = 0.0

    def tell(self, told: Told, now: float) -> None:
        """Take what the database says."""
        self.is_asked = False
        self.told_at = now
        self.unused += told.unused
        self.left = told.left
        if told.is_short:
            self.again_at = now + RETRY_S
        if told.is_full:
            self.refuse(now, told.wait_s)

    def refuse(self, now: float, wait_s: float) -> None:
        """Refuse for a while who lacks something, who is told to come again in *wait_s*."""
        self.wait_s = max(wait_s, FULL_S)
        self.full_until = now + FULL_S

    def give_back(self, amount: int, limit: int) -> None:
        """Have *amount* unused again, so far as a router keeps that much for itself."""
        if amount > 0:
            amount = max(min(amount, max(limit // _SHARE, 1) - self.unused), 0)
        self.unused += amount


class Undecided(Exception):  # it is no error
    """Whether there is room is known to the database, which is being asked: see `Limiter.when_known`."""


class HandsOut(Protocol):
    """Who asks the database."""

    def hand_out(self, asks: list[Ask], tell: Callable[[list[Told] | None], None]) -> None:
        """Ask, and let *tell* hear of it in another thread; of None, if the database cannot be used."""


class Sharing:
    """Asks *desk* for parts, and lets requests wait for them: the event loop's side.

    `is_cut_off`: the database does not answer, so nobody knows what others have.
    """

    def __init__(self, desk: HandsOut, clock: Callable[[], float]) -> None:
        self._desk = desk
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asks: list[tuple[Ask, Part]] = []
        self._waiting: list[Callable[[], None]] = []
        self._is_ticking = False
        self.is_cut_off = False

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """Where requests are served; None before the first of them."""
        return self._loop

    def ask(self, ask: Ask, part: Part) -> None:
        """Ask for *part* with what else is asked for now."""
        part.is_asked = True
        part.unused = 0
        if not self._asks:
            self._loop = asyncio.get_running_loop()
            self._loop.call_soon(self._send)
        self._asks.append((ask, part))

    def wait(self, then: Callable[[], None]) -> None:
        """Call *then* when something is known, or after a while."""
        self._waiting.append(then)
        if not self._is_ticking:
            self._is_ticking = True
            asyncio.get_running_loop().call_later(RETRY_S, self._tick)

    def _send(self) -> None:
        asks, self._asks = self._asks, []
        loop = asyncio.get_running_loop()

        def tell(answers: list[Told] | None) -> None:
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(self._told, asks, answers)

        self._desk.hand_out([ask for ask, _ in asks], tell)

    def _told(self, asks: list[tuple[Ask, Part]], answers: list[Told] | None) -> None:
        self.is_cut_off = answers is None
        if answers is None:
            for ask, part in asks:
                part.is_asked = False
                part.unused += ask.unused
        else:
            now = self._clock()
            for (_, part), answer in zip(asks, answers, strict=True):
                part.tell(answer, now)
        self._wake()

    def _tick(self) -> None:
        self._is_ticking = False
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for then in waiting:
            then()

"""Whether the target is still well: on one that serves nothing any more, or went away meanwhile, nothing is judged.

A request can end a target: its process dies, or the thread that generates. What comes after that would fail, or get
no answer, whatever the rule. So after each check that did not pass the target is asked for the least there is. Where
that fails, the checks that ran meanwhile are suspects. One alone is to blame, if the target still answers something, or
takes connections and the check itself saw what is wrong: a target that is not there at all may be out of reach for
other reasons, and one that is silent may be slow.
"""

from __future__ import annotations

import asyncio

import msgspec

from .targets import Misdirected, Recording, Target
from .targets.base import now_s
from .wire.faults import Silent, TransportFault

_PAUSE_S = 1.0


class Illness(msgspec.Struct, frozen=True, kw_only=True):
    """The target did not serve a plain request: what came instead, and the rules whose checks ran meanwhile.

    `answers`: it is there and answers, wrongly. `is_silent`: it is there, and no answer came.
    """

    sign: str
    answers: bool
    is_silent: bool
    suspects: tuple[str, ...]
    is_over: bool


class Vitals:
    """Watches over one target during a run; *patience_s* is how long it may take to come back."""

    def __init__(self, target: Target, *, timeout_s: float, patience_s: float) -> None:
        self._target = target
        self._timeout_s = timeout_s
        self._patience_s = patience_s
        self.opening: str | None = None
        self._was_well = False
        self._running: dict[str, None] = {}
        self._suspects: dict[str, None] = {}
        self._caught: dict[str, Illness] = {}
        self._lock = asyncio.Lock()

    async def first_look(self) -> str | None:
        """Why the target cannot be asked at all, or None; `opening` is then what it answers wrongly."""
        try:
            async with asyncio.timeout(self._timeout_s):
                self.opening = await self._target.preflight(Recording())
        except (Misdirected, TransportFault) as exc:
            return str(exc)
        except TimeoutError:
            return f"no answer to a first request within {self._timeout_s:g} s"
        self._was_well = self.opening is None
        return None

    def begin(self, rule: str) -> None:
        """The check of *rule* begins."""
        self._running[rule] = self._suspects[rule] = None

    def end(self, rule: str, *, is_harmless: bool, was_served: bool) -> None:
        """It has ended. *is_harmless*: it asked nothing, or the target was well after it; *was_served*: its last
        request got a whole answer, so that no check that is over did harm."""
        self._running.pop(rule, None)
        if is_harmless:
            self._suspects.pop(rule, None)
        if was_served:
            self._suspects = dict(self._running)

    async def settle(self) -> None:
        """Free checks that are over of suspicion, where the target is well: none runs beside those that run alone."""
        if self._suspects and self._was_well and await self._sign() is None:
            self._suspects = dict(self._running)

    async def look(self, rule: str) -> Illness | None:
        """Ask whether the target is well, after the check of *rule* did not pass; waits for it to come back."""
        async with self._lock:
            caught = self._caught.get(rule)
            if caught is not None or not self._was_well:
                return caught
            found = await self._sign()
            if found is None:
                self._suspects = dict(self._running)
                return None
            suspects = {**self._suspects, **self._running}
            illness = msgspec.structs.replace(found, suspects=tuple(suspects), is_over=await self._comes_back())
            self._caught |= dict.fromkeys(suspects, illness)
            self._suspects = dict(self._running)
            return illness

    async def _sign(self) -> Illness | None:
        """What came in place of an answer to a plain request; suspects are not named yet."""
        recording = Recording()
        try:
            async with asyncio.timeout(self._timeout_s):
                wrong = await self._target.preflight(recording)
        except Misdirected as exc:
            return _illness(str(exc), answers=True)
        except Silent as exc:
            return _illness(str(exc), is_silent=_was_taken(recording))
        except TransportFault as exc:
            return _illness(str(exc))
        except TimeoutError:
            return _illness(f"no answer within {self._timeout_s:g} s", is_silent=_was_taken(recording))
        return None if wrong is None else _illness(wrong, answers=True)

    async def _comes_back(self) -> bool:
        until = now_s() + self._patience_s
        while now_s() < until:
            await asyncio.sleep(min(_PAUSE_S, self._patience_s))
            if await self._sign() is None:
                return True
        return False


def _illness(sign: str, *, answers: bool = False, is_silent: bool = False) -> Illness:
    return Illness(sign=sign, answers=answers, is_silent=is_silent, suspects=(), is_over=False)


def _was_taken(recording: Recording) -> bool:
    """Whether the target took the connection; without HTTP there is none to take, and the target is here."""
    return recording.connections == len(recording.exchanges)

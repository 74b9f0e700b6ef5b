"""What keys and models have had of their limits.

All is counted in memory, by a clock that no step of the time of day moves.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from enginehouse.config import Limits

from .parts import Ask, Part
from .refusals import RateLimited

MINUTE_S: Final = 60.0
DAY_S: Final = 86_400.0
_SLOTS: Final = 240  # what comes within a slot is counted as one, as if it had come at the slot's end
RUNNING: Final = "concurrent_requests"
REQUESTS: Final = "requests_per_minute"
TOKENS: Final = "tokens_per_minute"
DAY: Final = "tokens_per_day"
KINDS: Final = {
    RUNNING: "{} requests at a time",
    REQUESTS: "{} requests per minute",
    TOKENS: "{} tokens per minute",
    DAY: "{} tokens per day",
}
_NEVER: Final = float("inf")
Left = tuple[str, int, int, float]
"""`requests` or `tokens`, the limit per minute, what is left of it, and in how many seconds all is."""
SOON_S: Final = 1.0  # when to try again where a request has to end first


class Window:
    """How much there was within the last *span_s*, a little more at most: `total`, as of when `used` was last asked.

    `until` is when some of it will be longer ago, and `clear_at` when all of it, if nothing is added. `last` is the
    last slot: its end, before which more is added to it, and how much.
    """

    __slots__ = ("_slot_s", "_slots", "_span_s", "clear_at", "last", "total", "until")

    def __init__(self, span_s: float) -> None:
        self._span_s = span_s
        self._slot_s = span_s / _SLOTS
        self._slots: deque[list[float]] = deque()
        self.last: list[float] = [-_NEVER, 0]
        self.total = 0
        self.until = _NEVER
        self.clear_at = 0.0

    def add(self, now: float, amount: int) -> None:
        """Count *amount* at *now*."""
        if not amount:
            return
        if now < self.last[0]:
            self.last[1] += amount
        else:
            ends_at = now - now % self._slot_s + self._slot_s
            self.last = [ends_at, amount]
            self._slots.append(self.last)
            self.clear_at = ends_at + self._span_s
            if self.until == _NEVER:
                self.until = self.clear_at
        self.total += amount

    def used(self, now: float) -> int:
        """How much there was."""
        if now >= self.until:
            slots, begins_at = self._slots, now - self._span_s
            while slots and slots[0][0] <= begins_at:
                self.total -= int(slots.popleft()[1])
            self.until = slots[0][0] + self._span_s if slots else _NEVER
        return self.total

    def wait_s(self, now: float, room: int) -> float:
        """How long it takes until there was no more than *room* within the span, if nothing is added."""
        left, wait_s = self.used(now), 0.0
        for ends_at, amount in self._slots:
            if left <= room:
                break
            left -= int(amount)
            wait_s = ends_at + self._span_s - now
        return wait_s


class Meter:
    """What one key, or one model, has had, beside its *limits*; *subject* tells it from all others."""

    __slots__ = ("day", "limits", "parts", "requests", "reserved", "running", "subject", "tokens", "whose")

    def __init__(self, whose: str, limits: Limits, subject: str = "") -> None:
        self.whose = whose
        self.limits = limits
        self.subject = subject
        self.requests = Window(MINUTE_S)
        self.tokens = Window(MINUTE_S)
        self.day = Window(DAY_S)
        self.running = 0
        self.reserved = 0
        self.parts: dict[str, Part] = {}  # of limits that are shared

    def limit(self, limits: Limits) -> None:
        """Keep to *limits* from now on."""
        if limits != self.limits:
            self.limits = limits
            for part in self.parts.values():  # of another limit
                part.unused, part.full_until = 0, 0.0

    def used(self, kind: str, now: float) -> int:
        """How much was used of what the limit called *kind* counts."""
        if kind == RUNNING:
            return self.running
        if kind == REQUESTS:
            return self.requests.used(now)
        return self.reserved + (self.tokens if kind == TOKENS else self.day).used(now)

    def wait_s(self, kind: str, now: float, room: int) -> float:
        """How long it takes until no more than *room* is used, or to when trying again is worth it."""
        if kind == RUNNING:
            return SOON_S
        if kind == REQUESTS:
            return self.requests.wait_s(now, room) or SOON_S
        return (self.tokens if kind == TOKENS else self.day).wait_s(now, room - self.reserved) or SOON_S

    def check(self, now: float, tokens: int, part: Callable[[int], int] | None = None) -> None:
        """Let a request pass that may take *tokens*; *part* says how much of a limit is this router's, None: all.

        On the way of each request: no calls that can be saved.

        Raises:
            RateLimited: it would be too much.
        """
        limits = self.limits
        requests, minute, day = self.requests, self.tokens, self.day
        if now >= requests.until or now >= minute.until or now >= day.until:
            for window in (requests, minute, day):
                window.used(now)
        wanted = max(tokens, 1)  # what is full lets in nobody, also who reserves nothing
        limit = limits.concurrent_requests
        if limit is not None:
            room = (limit if part is None else part(limit)) - 1
            if self.running > room:
                raise self._beyond(RUNNING, now, room)
        limit = limits.requests_per_minute
        if limit is not None:
            room = (limit if part is None else part(limit)) - 1
            if requests.total > room:
                raise self._beyond(REQUESTS, now, room)
        limit = limits.tokens_per_minute
        if limit is not None:
            room = (limit if part is None else part(limit)) - wanted
            if self.reserved + minute.total > room:
                raise self._beyond(TOKENS, now, room)
        limit = limits.tokens_per_day
        if limit is not None:
            room = (limit if part is None else part(limit)) - wanted
            if self.reserved + day.total > room:
                raise self._beyond(DAY, now, room)

    def _beyond(self, kind: str, now: float, room: int) -> RateLimited:
        return self.refusal(kind, self.wait_s(kind, now, room))

    def lacks(self, now: float, tokens: int) -> list[tuple[str, int]]:
        """What a request that may take *tokens* lacks of the parts that were handed out: the kind, and how much.

        Raises:
            RateLimited: nobody has that much.
        """
        self.check(now, tokens)
        found = []
        for kind in KINDS:
            if getattr(self.limits, kind) is None:
                continue
            wanted = max(tokens, 1) if kind in (TOKENS, DAY) else 1
            part = self.parts.get(kind)
            if part is None:
                part = self.parts[kind] = Part()
            if part.unused < wanted:
                if now < part.full_until:
                    raise self.refusal(kind, part.wait_s)
                found.append((kind, wanted))
        return found

    def ask(self, kind: str, now: float, wanted: int) -> Ask | None:
        """What is asked for *wanted* of a part; None where there is no such limit any more."""
        limit = getattr(self.limits, kind)
        if limit is None:
            return None
        used = self.used(kind, now)
        return Ask(
            subject=self.subject, kind=kind, limit=limit, used=used, unused=max(self.parts[kind].unused, 0),
            wanted=wanted, frees_s=self.wait_s(kind, now, used - 1) if used else 0.0,
        )  # fmt: skip

    def told(self, now: float) -> list[Left]:
        """What a client is told of the limits per minute, as of the last `check`."""
        limits = self.limits
        found: list[Left] = []
        limit = limits.requests_per_minute
        if limit is not None:
            window = self.requests
            left = limit - window.total
            if self.parts or left < 0:
                left = self._left(REQUESTS, left)
            found.append(("requests", limit, left, window.clear_at - now if window.total else 0.0))
        limit = limits.tokens_per_minute
        if limit is not None:
            window = self.tokens
            left = limit - self.reserved - window.total
            if self.parts or left < 0:
                left = self._left(TOKENS, left)
            found.append(("tokens", limit, left, window.clear_at - now if window.total else 0.0))
        return found

    def _left(self, kind: str, left: int) -> int:
        """*left*, or where the limit is shared what was known when it was last asked for."""
        if (part := self.parts.get(kind)) is not None:
            left = min(left, part.unused + part.left)
        return max(left, 0)

    def refusal(self, kind: str, wait_s: float) -> RateLimited:
        """What is said to who goes beyond the limit called *kind*."""
        limit = KINDS[kind].format(getattr(self.limits, kind))
        return RateLimited(f"{self.whose} may have {limit}. Try again later.", retry_after_s=wait_s)

    def enter(self, now: float, tokens: int) -> None:
        """Count a request that may take *tokens*."""
        self.running += 1
        self.reserved += tokens
        requests = self.requests
        if now < requests.last[0]:  # most: as `add`, without the call
            requests.last[1] += 1
            requests.total += 1
        else:
            requests.add(now, 1)
        if not self.parts:
            return
        for kind, part in self.parts.items():
            part.unused -= 1 if kind in (RUNNING, REQUESTS) else tokens

    def leave(self, now: float, reserved: int, tokens: int) -> None:
        """Count what a request that may have taken *reserved* has taken: *tokens*."""
        self.running -= 1
        self.reserved -= reserved
        minute, day = self.tokens, self.day
        if now < minute.last[0] and now < day.last[0]:  # as above
            minute.last[1] += tokens
            minute.total += tokens
            day.last[1] += tokens
            day.total += tokens
        else:
            minute.add(now, tokens)
            day.add(now, tokens)
        if not self.parts:
            return
        for kind, part in self.parts.items():
            if kind != REQUESTS and (limit := getattr(self.limits, kind)) is not None:
                part.give_back(1 if kind == RUNNING else reserved - tokens, limit)

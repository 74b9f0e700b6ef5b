"""Who is inside, and who is let in when it gets tight.

Nobody can lock others out by holding connections on which nothing happens. Where a limit is reached, the oldest
connection on which no request has been admitted is given up for the one that comes, then the one that has been without
a request for longest, then the one whose request is longest in coming, then the one whose client has taken nothing of
its answer for longest. What else is under way is never given up for another. Where all is, a few places beyond the
limits remain for those who ask how the server is.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter, deque
from typing import TYPE_CHECKING, Final, Protocol

from enginehouse.dialects.openai import errors
from enginehouse.dialects.refusals import TooManyConnections
from enginehouse.telemetry import DoorGauge, get_logger

from .limits import Limits
from .memory import Memory
from .proxies import TrustedProxies

if TYPE_CHECKING:
    from .direct import DirectExchange
    from .writing import Writing

ALWAYS_ANSWERED: Final = ("/health", "/ready", "/metrics")
"""Routes that are answered beyond all limits, too."""

STALL_GRACE_S: Final = 10.0
"""Who has taken nothing of an answer for so long may have to give way."""

_SWEEP_S = 1.0
_LOOK_EVERY_S = 0.05
_TELL_EVERY_S = 10.0

log = get_logger()


class Holder(Protocol):
    """Who has a place: a handshake, then a connection."""

    @property
    def rank(self) -> int | None:
        """How soon it is given up, 0 first; None: something is under way."""

    @property
    def due_at(self) -> float:
        """When it ends if nothing more happens; of the same rank the earliest is given up first."""
        ...

    def give_up(self) -> None:
        """End, in favour of another."""


class Place:
    """One place inside, from accept to the end; `holder` has it."""

    __slots__ = ("_doors", "address", "holder", "is_reserved")

    def __init__(self, doors: Doors, address: str, *, is_reserved: bool) -> None:
        self._doors = doors
        self.address = address
        self.is_reserved = is_reserved
        self.holder: Holder | None = None

    @property
    def rank(self) -> int | None:
        """See `Holder.rank`."""
        return None if self.holder is None else self.holder.rank

    def become_known(self) -> None:
        """Hear that a request on it was admitted."""
        self._doors.strangers.pop(self, None)

    def leave(self) -> None:
        """Give the place back."""
        self.holder = None
        self._doors.leave(self)


class Doors:
    """Keeps the *limits* of connections; *proxies* may hold as many as they like.

    `stalled` are connections whose clients do not read, `memory` is what bodies and answers take.
    """

    def __init__(self, limits: Limits, proxies: TrustedProxies | None = None) -> None:
        self.limits = limits
        self.memory = Memory(limits.max_in_flight_bytes)
        self.inside: set[Place] = set()
        self.strangers: dict[Place, None] = {}  # in the order of their coming
        self.reserved: dict[Place, None] = {}
        self.stalled: set[Writing] = set()
        self.given_up = self.turned_away = 0
        self._proxies = proxies
        self._by_address: Counter[str] = Counter()
        self._leaving: deque[Place] = deque()  # who is given up next, as it was a short while ago
        self._looked_at = 0.0
        self._told = (0, 0)
        self._tells_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    # ---- coming and going ----

    def admit(self, host: str) -> Place | None:
        """Return a place for who comes from *host*: an ordinary one, a reserved one, or none at all."""
        limits = self.limits
        address = self._counted(host)
        has_room = (
            not (0 < limits.max_per_address <= self._by_address[address] and address)
            and (not 0 < limits.max_strangers <= len(self.strangers) or self._give_up_stranger())
            and (not 0 < limits.max_connections <= len(self.inside) or self.give_up_one())
        )
        if not has_room:
            self.turned_away += 1
            if len(self.reserved) >= limits.max_reserved and not self._give_up_first(self.reserved):
                return None
        place = Place(self, address, is_reserved=not has_room)
        self._by_address[address] += 1
        if has_room:
            self.inside.add(place)
            self.strangers[place] = None
        else:
            self.reserved[place] = None
        return place

    def leave(self, place: Place) -> None:
        """Take *place* back."""
        if place.address in self._by_address:
            self._by_address[place.address] -= 1
            if self._by_address[place.address] <= 0:
                del self._by_address[place.address]
        self._forget(place)

    def give_up_one(self) -> bool:
        """Give up a connection on which nothing is under way; returns whether there was one."""
        if self._give_up_stranger():
            return True
        now = asyncio.get_running_loop().time()
        if now - self._looked_at > _LOOK_EVERY_S:
            self._looked_at = now
            known = [place for place in self.inside if place.rank is not None]
            self._leaving = deque(sorted(known, key=_order))
        while self._leaving:
            place = self._leaving.popleft()
            if place in self.inside and place.rank is not None:
                self._give_up(place)
                return True
        return False

    def _give_up_stranger(self) -> bool:
        return self._give_up_first(self.strangers)

    def _give_up_first(self, places: dict[Place, None]) -> bool:
        for place in places:
            if place.rank is not None:
                self._give_up(place)
                return True
        return False

    def _give_up(self, place: Place) -> None:
        self.given_up += 1
        self._forget(place)  # it ends within a turn of the loop
        assert place.holder is not None  # noqa: S101  # it has a rank
        place.holder.give_up()

    def _forget(self, place: Place) -> None:
        self.inside.discard(place)
        self.strangers.pop(place, None)
        self.reserved.pop(place, None)

    def _counted(self, host: str) -> str:
        """The address that *host* counts for (of IPv6 the network that one client has), empty where none is kept."""
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return ""
        if isinstance(address, ipaddress.IPv6Address):
            if address.ipv4_mapped is None:
                return "" if self._has_no_share(address) else str(ipaddress.ip_network((address, 64), strict=False))
            address = address.ipv4_mapped
        return "" if self._has_no_share(address) else str(address)

    def _has_no_share(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        return address.is_loopback or (self._proxies is not None and self._proxies.trusts(str(address)))

    # ---- now and then ----

    def open(self) -> None:
        """Begin to look at what is inside, now and then."""
        interval_s = min(_SWEEP_S, self.limits.send_timeout_s / 4)
        self._timer = asyncio.get_running_loop().call_later(interval_s, self._sweep)

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _sweep(self) -> None:
        self.open()
        now = asyncio.get_running_loop().time()
        for connection in [each for each in self.stalled if now - each.took_at >= self.limits.send_timeout_s]:
            connection.abort()
        self.memory.answers_bytes = sum(connection.look_at_stall(now) for connection in self.stalled)
        self._give_up_answers()
        if (self.given_up, self.turned_away) != self._told and now >= self._tells_at:
            self._tell(now)

    def _give_up_answers(self) -> None:
        """Cut off clients that have taken nothing for longest, until what is kept for the others fits."""
        missing_bytes = self.memory.missing_bytes
        for connection in sorted(self.stalled, key=lambda each: each.took_at):
            if missing_bytes <= 0:
                return
            missing_bytes -= connection.unsent_bytes
            self.given_up += 1
            connection.abort()

    def _tell(self, now: float) -> None:
        before_up, before_away = self._told
        self._told = self.given_up, self.turned_away
        self._tells_at = now + _TELL_EVERY_S
        log.warning(
            "connections given up",
            given_up=self.given_up - before_up,
            turned_away=self.turned_away - before_away,
            open=len(self.inside),
            limit=self.limits.max_connections,
        )

    def gauge(self) -> DoorGauge:
        """How it is now."""
        return DoorGauge(
            open=len(self.inside),
            strangers=len(self.strangers),
            reserved=len(self.reserved),
            most=self.limits.max_connections,
            given_up=self.given_up,
            turned_away=self.turned_away,
            bodies_bytes=self.memory.bodies_bytes,
            answers_bytes=self.memory.answers_bytes,
        )


def turned_away(exchange: DirectExchange) -> bool:
    """Refuse *exchange*, which came beyond all limits, unless it asks how the server is; either way it is the last."""
    exchange.keep_alive = False
    if exchange.path in ALWAYS_ANSWERED:
        return False
    exchange.refuse(errors.describe(TooManyConnections()))
    return True


def _order(place: Place) -> tuple[int, float]:
    holder = place.holder
    return (0, 0.0) if holder is None else (holder.rank or 0, holder.due_at)

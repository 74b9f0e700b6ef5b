"""Keeps memory within its budget: instances load in turns, and those that are worth least give way for others.

Who wants to load says how much it takes, and waits for room and for its turn (`room`). Claims are served in the order
in which they come, one load at a time on a device. Where there is no room, idle instances leave; where none is idle,
those that have had their turn are let finish what runs, while the others wait.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Final

import msgspec

from enginehouse.config import BudgetConfig
from enginehouse.telemetry import get_logger
from enginehouse_plugin import Device
from enginehouse_plugin.errors import LoadFailed

from .budget import (
    DeviceBudget,
    Guest,
    Holding,
    Limit,
    budgets,
    give_way,
    in_words,
    lacking,
    limits,
    others_on,
    shared_memory,
    worth,
)
from .claims import Claim, Eviction, Foreseen, NoRoom, Tenant, Weight

_LOOK_S: Final = 0.1
"""How often it is looked who may go on, while somebody waits: turns and pauses end by themselves."""

_SURVEY_S: Final = 5.0
"""How often it is asked meanwhile what others use."""

Survey = Callable[[], Sequence[Device]]
"""Asks drivers and system for the devices as they are now. Blocks."""

log = get_logger()


class Keeper:
    """Keeps *devices* as *config* says. *survey* tells what is used of them; without it nothing is used by others."""

    def __init__(self, devices: Sequence[Device], config: BudgetConfig, survey: Survey | None = None) -> None:
        self.devices = tuple(devices)
        self.config = config
        self.swaps = 0
        self._survey = survey
        self._others: dict[str, int] = {}  # bytes that others used at the last look
        self._looked_at = 0.0
        self._looking: set[asyncio.Task[None]] = set()
        self._holdings: dict[str, Holding] = {}
        self._tenants: dict[str, Tenant] = {}
        self._claims: list[Claim] = []
        self._loading: dict[str, frozenset[str]] = {}
        self._swapped_at: dict[str, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def holdings(self) -> tuple[Holding, ...]:
        """What each instance holds."""
        return tuple(self._holdings.values())

    def holding(self, instance: str) -> Holding | None:
        """What *instance* holds, if anything."""
        return self._holdings.get(instance)

    @property
    def waiting(self) -> int:
        """How many instances wait for room, or for their turn to load."""
        return len(self._claims)

    def budgets(self) -> tuple[DeviceBudget, ...]:
        """The memory of each device, with what others used at the last look."""
        return budgets(self.devices, self.config, self._others, self.holdings)

    def reason(self, instance: str) -> str | None:
        """What *instance* waits for, in words; None: it does not wait."""
        return next((claim.reason for claim in self._claims if claim.tenant.id == instance), None)

    def has_room(self, instance: str, needed: Mapping[str, int]) -> bool:
        """Whether *instance* would have *needed* bytes beside what others hold, by the last look."""
        holdings = [held for held in self.holdings if held.instance != instance]
        return not lacking(needed, limits(self.devices, self.config, self._others), holdings)

    def follow_nodes(self, devices: Sequence[Device]) -> None:
        """Keep *devices* from now on, those of a cluster's nodes."""
        self.devices = tuple(devices)
        self.changed()

    def follow(self, config: BudgetConfig) -> None:
        """Keep memory as *config* says from now on; what is loaded stays until somebody needs its room."""
        self.config = config
        self.changed()

    # ---- for who loads ----

    @contextlib.asynccontextmanager
    async def room(self, tenant: Tenant, needed: Mapping[str, int], devices: Sequence[str]) -> AsyncIterator[None]:
        """Hold *needed* bytes for *tenant*, which loads on *devices* in this block; kept until `release` if it does.

        One that sleeps keeps what it holds if it fails.

        Raises:
            LoadFailed: it could never fit.
            NoRoom: nobody waits for it, and there is no room beside the others.
        """
        owners = [owner for one in self.devices if one.id in devices and (owner := shared_memory(one))]
        claim = Claim(tenant, needed, [*devices, *owners])
        if claim.devices:  # what runs elsewhere takes nothing, and may be tried each second
            await self.look()
        self._claims.append(claim)
        try:
            self._settle()
            await claim.granted
        except BaseException:
            self._withdraw(claim)
            raise
        try:
            yield
        except BaseException:
            self._loading.pop(tenant.id, None)
            self._give_back(claim)
            raise
        # Nothing may be awaited from here on: what was made would be lost.
        self._loading.pop(tenant.id, None)
        self._settle()

    async def slept(self, tenant: Tenant) -> None:
        """Have *tenant*, which sleeps, hold no more than it is found to take; where nobody can tell, nothing."""
        found = await tenant.weigh() or Weight({}, {})
        if tenant.id in self._holdings:
            held = Holding(instance=tenant.id, measured=found.n_bytes, private=found.private)
            self._holdings[tenant.id] = held
            tenant.residence.asleep_bytes = found.n_bytes
        for claim in self._claims:
            claim.leaving.discard(tenant.id)
        self._settle()

    def look_soon(self) -> None:
        """Look beside everything else: something has loaded, or is waited for."""
        task = asyncio.create_task(self.look())
        self._looking.add(task)
        task.add_done_callback(self._looking.discard)

    def close(self) -> None:
        """Look no more."""
        for task in self._looking:
            task.cancel()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def release(self, tenant: Tenant) -> None:
        """Give back what *tenant* holds; idempotent."""
        self._holdings.pop(tenant.id, None)
        self._tenants.pop(tenant.id, None)
        for claim in self._claims:
            claim.leaving.discard(tenant.id)
        self._settle()

    def changed(self) -> None:
        """Hear that an instance is idle, is not wanted any more, or the like."""
        if self._claims:
            self._settle()

    async def look(self) -> None:
        """Ask what is used of the devices, and measure what instances take."""
        self._looked_at = asyncio.get_running_loop().time()
        await asyncio.gather(*(self._weigh(tenant) for tenant in self._tenants.values()))
        if self._survey is None:
            return
        # What loads meanwhile may have taken anything of what it holds: it counts as others' until it has loaded.
        ours = [held for held in self.holdings if held.instance not in self._loading]
        try:
            found = await asyncio.to_thread(self._survey)
        except Exception:  # a driver's fault must not end the task that watches over an instance
            log.exception("devices cannot be asked what is free")
            return
        used = {one.id: one.memory_bytes - one.free_bytes for one in found if one.free_bytes is not None}
        self._others = others_on(self.devices, used, ours)

    async def _weigh(self, tenant: Tenant) -> None:
        before = self._holdings.get(tenant.id)
        found = await tenant.weigh()
        held = self._holdings.get(tenant.id)
        if found is not None and held is not None and held is before:  # else it has woken meanwhile, or the like
            held = msgspec.structs.replace(held, measured=found.n_bytes, private=found.private)
            self._holdings[tenant.id] = held

    # ---- decisions ----

    def _settle(self) -> None:
        """Grant, refuse, or make room for each claim, in their order."""
        blocked: set[str] = set()  # devices for which somebody waits who came before
        for claim in list(self._claims):
            if claim.granted.done():
                self._claims.remove(claim)
                continue
            if before := blocked & claim.devices:
                claim.reason = f"waits for its turn on {' and '.join(sorted(before))}"
                continue
            self._consider(claim)
            if claim.granted.done():
                self._claims.remove(claim)
            else:
                blocked |= claim.devices
        if self._claims and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_LOOK_S, self._look_again)

    def _look_again(self) -> None:
        self._timer = None
        if self._survey is not None and asyncio.get_running_loop().time() - self._looked_at > _SURVEY_S:
            self.look_soon()
        self._settle()

    def _consider(self, claim: Claim) -> None:
        if loading := sorted(name for name, devices in self._loading.items() if devices & claim.devices):
            claim.reason = f"waits until {' and '.join(loading)} has loaded"
            return
        bounds = limits(self.devices, self.config, self._others)
        missing = lacking(claim.needed, bounds, self._beside(claim))
        if not missing:
            self._grant(claim)
            return
        if never := lacking(claim.needed, limits(self.devices, self.config, {}, is_static=True), ()):
            told = f"it takes more memory than it may have: {in_words(never)} are missing in an empty budget"
            claim.granted.set_exception(LoadFailed(told, retryable=False, code="does_not_fit"))
            return
        what = f"waits for room: {in_words(missing)} more"
        if not claim.tenant.residence.is_wanted:
            told = f"there is no room for it beside the others: {in_words(missing)} are missing"
            claim.granted.set_exception(NoRoom(told))
            return
        # Who was told to stay after all, by its owner, gives nothing back.
        claim.leaving &= {name for name, one in self._tenants.items() if one.residence.leaving is not None}
        if claim.leaving:
            claim.reason = f"{what}, which {' and '.join(sorted(claim.leaving))} gives back"
            return
        claim.reason = f"{what}; {self._make_room(claim, bounds)}"

    def _grant(self, claim: Claim) -> None:
        tenant = claim.tenant
        claim.before = self._holdings.get(tenant.id)
        self._holdings[tenant.id] = Holding(instance=tenant.id, estimated=claim.needed)
        self._tenants[tenant.id] = tenant
        self._loading[tenant.id] = claim.devices
        claim.granted.set_result(None)

    def _make_room(self, claim: Claim, bounds: Sequence[Limit]) -> str:
        """Have others leave for *claim*, if they may; returns what is done about it, in words."""
        now = asyncio.get_running_loop().time()
        pause_s = max((self._pause_s(device, now) for device in claim.devices), default=0.0)
        if pause_s > 0 and not claim.has_swapped:  # those whose sleep was not enough end in the same swap
            return f"the next swap is due in {pause_s:.0f} s"
        eviction = self._choose(claim, bounds, now)
        if eviction.gives_way:
            self._evict(claim, eviction, now)
            return f"{' and '.join(eviction.gives_way)} gives way"
        return eviction.reason

    def foresee(self, tenant: Tenant, needed: Mapping[str, int], devices: Sequence[str]) -> Foreseen:
        """Who would give way if *tenant* were told to load now, with *needed* bytes on *devices*; changes nothing."""
        if tenant.residence.ready_at is not None:
            return Foreseen(fits=True, reason="it is loaded")
        claim = Claim(tenant, needed, devices)
        bounds = limits(self.devices, self.config, self._others)
        missing = lacking(claim.needed, bounds, self._beside(claim))
        if not missing:
            return Foreseen(fits=True, reason="it fits beside what is loaded")
        if never := lacking(claim.needed, limits(self.devices, self.config, {}, is_static=True), ()):
            return Foreseen(fits=False, reason=f"{in_words(never)} are missing in an empty budget")
        if loading := sorted(name for name, on in self._loading.items() if on & claim.devices):
            return Foreseen(fits=True, reason=f"it waits until {' and '.join(loading)} has loaded, and then for room")
        eviction = self._choose(claim, bounds, asyncio.get_running_loop().time())
        told = f"{in_words(missing)} more are needed"
        reason = f"{told}; {eviction.reason}" if eviction.reason else told
        return Foreseen(fits=bool(eviction.gives_way), gives_way=eviction.gives_way, reason=reason)

    def _choose(self, claim: Claim, bounds: Sequence[Limit], now: float) -> Eviction:
        """Who gives way for *claim*; nobody, and why, where nobody may."""
        movable = [
            tenant
            for name, tenant in self._tenants.items()
            if name not in self._loading and not tenant.residence.is_pinned and tenant.residence.leaving is None
            if tenant is not claim.tenant
        ]
        idle = [tenant for tenant in movable if tenant.residence.is_asleep or not tenant.residence.is_in_use]
        had_turn = [tenant for tenant in movable if self._turn_left_s(tenant, now) <= 0]
        for guests in (idle, [*idle, *(tenant for tenant in had_turn if tenant not in idle)]):
            for may_sleep in (True, False):
                weighed = [self._guest(one, now, may_sleep=may_sleep) for one in guests]
                chosen = give_way(claim.needed, bounds, self._beside(claim), weighed)
                if chosen is not None:
                    return Eviction(gives_way=chosen, may_sleep=may_sleep)
        busy = [tenant for tenant in movable if tenant not in idle]
        left = min((self._turn_left_s(tenant, now) for tenant in busy), default=None)
        if left is None:
            return Eviction(reason="all that is loaded there is pinned, or belongs to others")
        in_use = ", ".join(tenant.id for tenant in busy)
        return Eviction(reason=f"{in_use} is in use, and keeps its place for {max(0.0, left):.0f} s more")

    def _evict(self, claim: Claim, eviction: Eviction, now: float) -> None:
        if not claim.has_swapped:
            self.swaps += 1
            for device in claim.devices:
                self._swapped_at[device] = now
        claim.has_swapped = True
        claim.leaving = set(eviction.gives_way)
        for name in sorted(claim.leaving):
            log.info("instance gives way", instance=name, to=claim.tenant.id)
            self._tenants[name].vacate(f"gives way to {claim.tenant.id}", may_sleep=eviction.may_sleep)

    def _pause_s(self, device: str, now: float) -> float:
        swapped_at = self._swapped_at.get(device)
        return 0.0 if swapped_at is None else swapped_at + 60.0 / self.config.swaps_per_minute - now

    def _turn_left_s(self, tenant: Tenant, now: float) -> float:
        ready_at = tenant.residence.ready_at
        return self.config.turn_s if ready_at is None else ready_at + self.config.turn_s - now

    def _beside(self, claim: Claim) -> list[Holding]:
        """What others hold: one that wakes takes the place that it has."""
        return [held for held in self.holdings if held.instance != claim.tenant.id]

    def _guest(self, tenant: Tenant, now: float, *, may_sleep: bool) -> Guest:
        stay = tenant.residence
        asleep = tenant.asleep() if may_sleep else None
        load_s = stay.load_s if asleep is None else stay.wake_s
        return Guest(tenant.id, worth(idle_s=stay.idle_s(now), load_s=load_s, uses=stay.uses(now)), asleep)

    def _withdraw(self, claim: Claim) -> None:
        """Forget *claim*, and let those stay that were to leave for it."""
        if claim in self._claims:
            self._claims.remove(claim)
        for name in claim.leaving:
            if (tenant := self._tenants.get(name)) is not None:
                tenant.stay()
        if claim.granted.done() and not claim.granted.cancelled() and claim.granted.exception() is None:
            self._loading.pop(claim.tenant.id, None)
            self._give_back(claim)
        self._settle()

    def _give_back(self, claim: Claim) -> None:
        """Have the tenant of *claim*, which was granted, hold what it held before."""
        if claim.before is None:
            self.release(claim.tenant)
        else:
            self._holdings[claim.tenant.id] = claim.before
            self._settle()

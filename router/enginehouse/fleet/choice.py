"""Which of a model's instances serves a request."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from math import inf
from typing import Final

from enginehouse.config import Prefer
from enginehouse_plugin import Candidate, Capabilities, GenerationRequest, Need, missing, needs
from enginehouse_plugin.backend import unsupported
from enginehouse_plugin.errors import EnginehouseError, UnsupportedFeature

from .affinity import Block
from .instance import HostedInstance
from .pace import FRESH_S, best_of, cost_s

Select = Callable[[GenerationRequest, Sequence[Candidate]], str | None]
"""Chooses the id of an instance among candidates; None leaves it to the router."""

CONSIDERED: Final = 3
"""Of more instances so many are looked at, other ones each time, and those that have the prompt in their cache: the
time that it takes does not grow with a model's instances, and the load is spread almost as well."""
_ALIKE: Final = 1.25
"""Costs within this factor of the least are taken as the same."""

_FEWEST_KNOWN: Final = 64
"""Fewer characters that are cached are no reason to go anywhere."""

Cached = Mapping[HostedInstance, int]
"""Characters of a prompt that an instance is thought to have in its cache."""
NOTHING_CACHED: Cached = {}


class Habits:
    """What is known of a model's requests when an instance is chosen: `prefer` is its owner's order.

    `has_order`: its placements are several. `tokens` is what a request typically gets, and `turn` counts requests.
    """

    __slots__ = ("has_order", "prefer", "tokens", "turn")

    def __init__(self, prefer: Prefer = "order", *, has_order: bool = True) -> None:
        self.prefer: Prefer = prefer
        self.has_order = has_order
        self.tokens = 64.0
        self.turn = 0


_NO_HABITS: Final = Habits()


def choose(
    request: GenerationRequest,
    instances: Sequence[HostedInstance],
    avoid: Collection[HostedInstance] = (),
    select: Select | None = None,
    habits: Habits = _NO_HABITS,
    blocks: Sequence[Block] = (),
    cached: Cached = NOTHING_CACHED,
    now: float = 0.0,
) -> HostedInstance | None:
    """The one of *instances*, those to *avoid* apart, that serves *request*: it may take it and has the features.

    Those that are ready go before those that have to start first, unless their queues take longer than that, and those
    whose breaker is closed before others; among these *select* goes before the router's own choice by `habits.prefer`.
    Changes nothing; *now* is the loop's time.
    None: there is no instance to ask.

    Raises:
        UnsupportedFeature: none has what the request needs.
        FleetError: none takes requests now.
    """
    if len(instances) == 1:
        return _the_only(request, instances[0], avoid)
    wanted = tuple(needs(request))
    if select is None:
        free = _free(instances, avoid, wanted, habits, cached, now)
        if free:
            return free[0] if len(free) == 1 else _best(request, free, habits, blocks, cached, now)
    fit = _fit(instances, avoid, wanted)
    if len(fit) < 2:
        return fit[0] if fit else None
    ready = [hosted for hosted in fit if hosted.gate.is_open]
    starting = fit if len(ready) < len(fit) else ()
    fit = ready or fit
    fit = [hosted for hosted in fit if hosted.breaker.lets(now)] or fit
    if select is not None:
        chosen = select(request, [hosted.candidate() for hosted in fit])
        if chosen is not None:
            return next(hosted for hosted in fit if hosted.id == chosen)
    if ready and starting and (sooner := _overflow(request, fit, starting, habits, now)) is not None:
        return sooner
    return _best(request, fit, habits, blocks, cached, now)


def first_unmet(request: GenerationRequest, capabilities: Capabilities | None) -> UnsupportedFeature | None:
    """The refusal of the first need of *request* that *capabilities* do not meet; unknown ones are met."""
    if capabilities is None:
        return None
    for need in missing(request, capabilities):
        return unsupported(need, capabilities)
    return None


def _the_only(
    request: GenerationRequest, hosted: HostedInstance, avoid: Collection[HostedInstance]
) -> HostedInstance | None:
    if hosted in avoid:
        return None
    problem = hosted.refusal()
    # One that has the features and takes nothing now may take the request later; one that has them not never does.
    if (lack := first_unmet(request, hosted.capabilities)) is not None:
        raise hosted.explained(lack)
    if problem is not None:
        raise problem
    return hosted


def _fit(
    instances: Sequence[HostedInstance], avoid: Collection[HostedInstance], wanted: Sequence[Need]
) -> list[HostedInstance]:
    """All that may take a request that needs what is *wanted*. Raises as `choose`."""
    fit: list[HostedInstance] = []
    refusal: EnginehouseError | None = None
    unmet: UnsupportedFeature | None = None
    for hosted in instances:
        if hosted in avoid:
            continue
        capabilities = hosted.capabilities
        lack = _lack(wanted, capabilities)
        if lack is not None and capabilities is not None:
            unmet = unmet or hosted.explained(unsupported(lack, capabilities))
        elif (problem := hosted.refusal()) is not None:
            refusal = problem
        else:
            fit.append(hosted)
    # One that has the features and takes nothing now may take the request later: that goes before.
    if not fit and (reason := refusal or unmet) is not None:
        raise reason
    return fit


def _lack(wanted: Sequence[Need], capabilities: Capabilities | None) -> Need | None:
    if capabilities is None:
        return None
    for need in wanted:
        if need.feature not in capabilities.features:
            return need
        if need.size is not None and need.size > capabilities.limits.get(need.param, need.size):
            return need
    return None


def _overflow(
    request: GenerationRequest,
    ready: Sequence[HostedInstance],
    fit: Sequence[HostedInstance],
    habits: Habits,
    now: float,
) -> HostedInstance | None:
    """One of *fit* that has to start first, and would begin before all that are *ready*: None: there is none.

    A start was measured, on this host or where it is; one that never was counts like the longest of the others.
    """
    tokens = habits.tokens if request.max_tokens is None else min(habits.tokens, request.max_tokens)
    best = best_of(ready, now)
    soonest_s = min(_queue_s(hosted, tokens, best, now) for hosted in ready)
    if not soonest_s:
        return None
    unknown_s = max((hosted.residence.start_s for hosted in fit if hosted.planned.devices), default=0.0)
    chosen: HostedInstance | None = None
    for hosted in fit:
        if hosted.gate.is_open or not hosted.could_start or not hosted.breaker.lets(now):
            continue
        start_s = hosted.start_s or unknown_s
        begins_s = start_s + _queue_s(hosted, tokens, best, now)
        if start_s and begins_s < soonest_s:
            chosen, soonest_s = hosted, begins_s
    return chosen


def _queue_s(hosted: HostedInstance, tokens: float, best: tuple[float, float], now: float) -> float:
    """Seconds until a slot of *hosted* is free for one more, once it is ready: those that wait go first."""
    gate = hosted.gate
    busy = gate.running + hosted.others.count
    if gate.is_open and not gate.waiting and busy < gate.capacity:
        return 0.0
    ahead = gate.waiting + 1 if gate.is_open else gate.waiting
    return ahead * cost_s(hosted.pace, 0.0, tokens, 0, best, now) / (gate.capacity or 1)


def _free(
    instances: Sequence[HostedInstance],
    avoid: Collection[HostedInstance],
    wanted: Sequence[Need],
    habits: Habits,
    cached: Cached,
    now: float,
) -> list[HostedInstance]:
    """Some of *instances* where a request begins at once, those that `prefer` is about; none where all are busy.

    A gate is open only where requests are taken. On the way of each request: no calls in the loop that can be saved.
    """
    some = instances
    in_order = habits.has_order and habits.prefer == "order"
    if len(instances) > CONSIDERED and not in_order:
        start = habits.turn * CONSIDERED % len(instances)
        some = instances[start : start + CONSIDERED]
        if cached:  # those that leave, or are at other hosts, may not be among the instances
            some = [*some, *(hosted for hosted in cached if hosted not in some and hosted in instances)]
    free: list[HostedInstance] = []
    for hosted in some:
        gate = hosted.gate
        if gate.is_open and gate.running + hosted.others.count < gate.capacity:
            breaker = hosted.breaker
            if (
                (breaker.is_closed or breaker.lets(now))
                and (not avoid or hosted not in avoid)
                and (not wanted or _lack(wanted, hosted.capabilities) is None)
            ):
                if in_order and free and hosted.planned.index != free[0].planned.index:
                    break
                free.append(hosted)
    return free


def _best(
    request: GenerationRequest,
    fit: Sequence[HostedInstance],
    habits: Habits,
    blocks: Sequence[Block],
    cached: Cached,
    now: float,
) -> HostedInstance:
    """The one of *fit* that is thought to answer first; among those alike one that knows the prompt, then in turn.

    With `least_loaded` the load alone counts.
    """
    chars = blocks[-1][1] if blocks else 0
    tokens = habits.tokens if request.max_tokens is None else min(habits.tokens, request.max_tokens)
    by_load = habits.prefer == "least_loaded"
    best: tuple[float, float] | None = None  # looked for where something was not measured
    least = inf
    known = 0
    rated: list[tuple[float, int, HostedInstance]] = []
    for hosted in fit:
        gate = hosted.gate
        cost = 1.0 + (gate.running + gate.waiting + hosted.others.count) / (gate.capacity or 1)
        if cached:
            known = cached.get(hosted, 0)
        if not by_load:  # as `cost_s`, whose call costs as much as the rest of this
            pace = hosted.pace
            tokens_s, char_s = pace.tokens_s, pace.char_s
            if not tokens_s or now - pace.measured_at >= FRESH_S or (chars and not char_s):
                best = best or best_of(fit, now)
                tokens_s = pace.tokens_now(now) or best[0]
                char_s = char_s or best[1]
            cost *= (tokens / tokens_s + (chars - known) * char_s) / (1.0 - pace.failing)
        if cost < least:
            least = cost
        rated.append((cost, known if known >= _FEWEST_KNOWN else 0, hosted))
    limit = _ALIKE * least
    chosen, most_known, turn = rated[0][2], -1, 0
    for cost, known, hosted in rated:
        if cost <= limit and (known > most_known or (known == most_known and hosted.pace.turn < turn)):
            chosen, most_known, turn = hosted, known, hosted.pace.turn
    return chosen

"""Which of a model's instances serves a request."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from enginehouse_plugin import Candidate, Capabilities, GenerationRequest, missing
from enginehouse_plugin.backend import unsupported
from enginehouse_plugin.errors import EnginehouseError, UnsupportedFeature

from .instance import HostedInstance

Select = Callable[[GenerationRequest, Sequence[Candidate]], str | None]
"""Chooses the id of an instance among candidates; None leaves it to the router."""


def choose(
    request: GenerationRequest,
    instances: Sequence[HostedInstance],
    avoid: HostedInstance | None = None,
    select: Select | None = None,
) -> HostedInstance | None:
    """The one of *instances*, *avoid* apart, that serves *request*: it may take it, has the features, is least loaded.

    Those that are ready go before those that have to load first; among those *select* goes before the load. Changes
    nothing. None: there is no instance to ask.

    Raises:
        UnsupportedFeature: none has what the request needs.
        FleetError: none takes requests now.
    """
    fit: list[HostedInstance] = []
    refusal: EnginehouseError | None = None
    unmet: UnsupportedFeature | None = None
    for hosted in instances:
        if hosted is avoid:
            continue
        problem = hosted.refusal()
        if (lack := first_unmet(request, hosted.capabilities)) is not None:
            unmet = unmet or hosted.explained(lack)
        elif problem is not None:
            refusal = problem
        else:
            fit.append(hosted)
    if not fit:
        # One that has the features and takes nothing now may take the request later: that goes before.
        if (reason := refusal or unmet) is not None:
            raise reason
        return None
    if len(fit) == 1:
        return fit[0]
    fit = [hosted for hosted in fit if hosted.gate.is_open] or fit
    if select is not None:
        chosen = select(request, [hosted.candidate() for hosted in fit])
        if chosen is not None:
            return next(hosted for hosted in fit if hosted.id == chosen)
    return min(fit, key=_load)


def first_unmet(request: GenerationRequest, capabilities: Capabilities | None) -> UnsupportedFeature | None:
    """The refusal of the first need of *request* that *capabilities* do not meet; unknown ones are met."""
    if capabilities is None:
        return None
    for need in missing(request, capabilities):
        return unsupported(need, capabilities)
    return None


def _load(hosted: HostedInstance) -> float:
    gate = hosted.gate
    return (gate.running + gate.waiting) / max(1, gate.capacity)

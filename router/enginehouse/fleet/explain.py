"""Why a request would go where it would: what each instance of its model is to it. Pure; nothing is sent or counted."""

from __future__ import annotations

import asyncio

import msgspec

from enginehouse_plugin import GenerationRequest
from enginehouse_plugin.errors import EnginehouseError

from .choice import choose, first_unmet
from .instance import HostedInstance
from .model import Model


class Considered(msgspec.Struct, frozen=True, kw_only=True):
    """An instance, as a request sees it: whether it could go there, and why or why not."""

    instance: str
    host: str | None
    could: bool
    reason: str


class RequestExplained(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request would go now (None: nowhere, `refusal` says why), and what each instance is to it."""

    model: str
    instance: str | None
    refusal: str | None
    considered: tuple[Considered, ...]


def explain_request(request: GenerationRequest, model: Model) -> RequestExplained:
    """Say where *request* to *model* would go now; what is cached of its prompt, and plugins, are not asked."""
    refusal: str | None = None
    chosen: HostedInstance | None = None
    try:
        chosen = choose(
            request,
            model.instances,
            habits=model.traffic.habits,
            now=asyncio.get_running_loop().time(),
        )
        if chosen is None:
            raise model.nowhere()
    except EnginehouseError as error:
        refusal = error.message
    return RequestExplained(
        model=model.name,
        instance=chosen.id if chosen is not None else None,
        refusal=refusal,
        considered=tuple(_considered(request, hosted, hosted is chosen) for hosted in model.instances),
    )


def _considered(request: GenerationRequest, hosted: HostedInstance, is_chosen: bool) -> Considered:
    could = True
    gate = hosted.gate
    if (lack := first_unmet(request, hosted.capabilities)) is not None:
        could, reason = False, hosted.explained(lack).message
    elif (problem := hosted.refusal()) is not None:
        could, reason = False, problem.message
    elif not gate.is_open:
        reason = f"it would wait there: {hosted.doing}"
    else:
        others = f", {hosted.others.count} more by others" if hosted.others.count else ""
        reason = f"{gate.running} of {gate.capacity} slots taken{others}, {gate.waiting} wait"
    return Considered(
        instance=hosted.id,
        host=hosted.planned.host,
        could=could,
        reason=("chosen: " if is_chosen else "") + reason + f"; {hosted.planned.reason}" + _answers(hosted),
    )


def _answers(hosted: HostedInstance) -> str:
    """How far its answers are from the reference, where they were compared; one that is set aside has said so."""
    identity = hosted.identity
    return f"; {identity.words}" if identity.difference is not None and identity.aside is None else ""

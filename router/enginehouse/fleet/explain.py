"""Why a request would go where it would: what each instance of its model is to it. Pure; nothing is sent or counted."""

from __future__ import annotations

import asyncio

import msgspec

from enginehouse_plugin import GenerationRequest, missing, needs
from enginehouse_plugin.errors import EnginehouseError

from .choice import choose, first_unmet
from .instance import HostedInstance
from .left_out import without
from .model import Model


class Considered(msgspec.Struct, frozen=True, kw_only=True):
    """An instance, as a request sees it: whether it could go there, and why or why not."""

    instance: str
    host: str | None
    could: bool
    reason: str


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a request asks for: the feature behind the field `param`, and the instances that have it."""

    param: str
    feature: str
    had_by: tuple[str, ...]


class RequestExplained(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request would go now (None: nowhere, `refusal` says why), and what each instance is to it.

    `asked` is what it asks for, and `left_out` names what no instance has and a lenient request goes without.
    """

    model: str
    instance: str | None
    refusal: str | None
    considered: tuple[Considered, ...]
    asked: tuple[Asked, ...] = ()
    left_out: tuple[str, ...] = ()


def explain_request(request: GenerationRequest, model: Model, *, is_lenient: bool = False) -> RequestExplained:
    """Say where *request* to *model* would go now; what is cached of its prompt, and plugins, are not asked.

    With *is_lenient* what no instance has is left out, where that is possible.
    """
    refusal: str | None = None
    chosen: HostedInstance | None = None
    asked = _asked(request, model)
    left_out: tuple[str, ...] = ()
    if is_lenient:
        request, left_out = _reduced(request, model)
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
        asked=asked,
        left_out=left_out,
    )


def _asked(request: GenerationRequest, model: Model) -> tuple[Asked, ...]:
    known = [(hosted.id, hosted.capabilities) for hosted in model.instances if hosted.capabilities is not None]
    lacking = {name: {(need.feature, need.param) for need in missing(request, can)} for name, can in known}
    wanted = dict.fromkeys((need.feature, need.param) for need in needs(request))
    return tuple(
        Asked(
            param=param,
            feature=feature,
            had_by=tuple(name for name, lacks in lacking.items() if (feature, param) not in lacks),
        )
        for feature, param in wanted
    )


def _reduced(request: GenerationRequest, model: Model) -> tuple[GenerationRequest, tuple[str, ...]]:
    """*request* without what none of the instances has that are known, and what that is."""
    left_out: list[str] = []
    known = [hosted.capabilities for hosted in model.instances if hosted.capabilities is not None]
    while known:
        lacks = [first_unmet(request, can) for can in known]
        lack = next((one for one in lacks if one is not None), None)
        reduced = without(request, lack) if lack is not None and None not in lacks else None
        if lack is None or reduced is None:
            break
        request = reduced
        left_out.append(str(lack.param))
    return request, tuple(left_out)


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

"""Requests that need a feature, to see how a target that declares it absent refuses.

A feature that is declared absent is `unsupported` only if the target refuses with 400 naming the field.
Accepted and ignored is a failure.
"""

from __future__ import annotations

from typing import Any

import msgspec

from .answer import Answer, Refusal
from .context import Context
from .rules import SECTIONS
from .rules.model import FeatureEntry
from .targets import Refused


class Probe(msgspec.Struct, frozen=True):
    """Fields that need a feature, and the names of which the refusal must give one."""

    fields: dict[str, Any]
    names: tuple[str, ...]


_ENTRIES = {entry.name: entry for section in SECTIONS.values() for entry in section.feature}


def _probe(entry: FeatureEntry) -> Probe:
    fields = {**(_ENTRIES[entry.beside].asks if entry.beside else {}), **entry.asks}
    return Probe(fields, entry.names or tuple(fields))


PROBES: dict[str, Probe] = {name: _probe(entry) for name, entry in _ENTRIES.items() if entry.asks}
"""By feature, for those that something in a request asks for."""


async def probe_absent(ctx: Context, feature: str) -> str | None:
    """None if the target refuses what needs *feature* rightly; else what is wrong. Asked once per run.

    Raises:
        NotInScope: nothing in a request asks for the feature, so that nothing can be refused.
    """
    probe = PROBES.get(feature)
    if probe is None:
        ctx.not_in_scope(f"the target declares no {feature}, and nothing in a request asks for it")
    wrong: str | None = await ctx.shared.once(("absent", feature), lambda: _ask(ctx, probe))
    return wrong


async def _ask(ctx: Context, probe: Probe) -> str | None:
    body = ctx.body(**probe.fields)
    outcome: Answer | Refusal
    if probe.fields.get("stream"):
        try:
            outcome = await ctx.stream(body)
        except Refused as exc:
            outcome = exc.refusal
    else:
        outcome = await ctx.attempt(body)
    if isinstance(outcome, Answer):
        return "the request was answered as if the field were not there"
    if outcome.status not in (400, None):
        return f"it was refused with {outcome.status}, not 400"
    return None if outcome.names(*probe.names) else f"the refusal does not name the field: {outcome}"

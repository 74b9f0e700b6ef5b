"""Requests that need a feature, to see how a target that declares it absent refuses.

A feature that is declared absent is `unsupported` only if the target refuses with 400 naming the field.
Accepted and ignored is a failure.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import msgspec

from .answer import Answer, Refusal
from .context import Context
from .declared import NAMED, Declared
from .rules import RULES, SECTIONS
from .rules.model import FeatureEntry
from .targets import Body, Refused


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


def rules_about(feature: str) -> tuple[str, ...]:
    """The rules of which a lie about *feature* must fail one: of its section, with the fewest others of it."""
    section = next(section for section in SECTIONS.values() if feature in {entry.name for entry in section.feature})
    siblings = {entry.name for entry in section.feature}
    rules = [rule for rule in section.rules() if feature in rule.features and not rule.when_absent]
    least = min((len(siblings & set(rule.features)) for rule in rules), default=0)
    return tuple(rule.id for rule in rules if len(siblings & set(rule.features)) == least)


def absence_of(feature: str) -> str:
    """How it shows that a target has no *feature*: the field that is refused, the rule that sees it, or nothing."""
    if feature in PROBES:
        return f"{PROBES[feature].names[-1]} is refused"
    seen = [rule.id for rule in RULES.values() if rule.when_absent and feature in rule.features]
    return f"{seen[0]} sees it" if seen else "nothing asks for it"


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


_FIELDS = {
    name: feature for feature, probe in PROBES.items() for name in probe.fields if name not in ("messages", "stream")
}
"""By field, a feature that it asks for."""


def refused_means(ctx: Context, refusal: Refusal) -> str | None:
    """The field that *refusal* names, where the rule merely makes use of it; None where the rule is about it.

    Each field that is refused is also noted, for `unclaimed`.
    """
    param = refusal.param if isinstance(refusal.param, str) else ""
    is_in_history = param.endswith(".tool_calls")
    field = "tools" if is_in_history else re.split(r"[.\[]", param)[0]
    if field not in _FIELDS:
        return None
    ctx.shared.refused.add(field)
    about = {name.split(".")[0] for name in ctx.rule.parameters}
    about |= {name for feature in ctx.rule.features if feature in PROBES for name in PROBES[feature].fields}
    exchanges = ctx.recording.exchanges
    # Null asks for nothing; what another rule has asked for both is not here to be looked at.
    is_null = bool(exchanges) and msgspec.json.decode(exchanges[-1].request_body, type=Body).get(field) is None
    is_asked = is_in_history or not is_null
    return field if field not in about and is_asked else None


def advice(declared: Declared, refused: set[str], served: set[str]) -> list[str]:
    """What to do about the fields *refused*, where nothing says what the target has: a note for the report.

    A field that was also *served* is there, if it asks for one feature alone: what of it is refused, the rules say.
    """
    asking = Counter(name for probe in PROBES.values() for name in probe.fields)
    refused = {name for name in refused if name not in served or asking[name] > 1}
    if not refused or declared.features is not None or declared.absent:
        return []
    absent = sorted(name for name, probe in PROBES.items() if refused & probe.fields.keys() and name not in NAMED)
    named, line = ", ".join(sorted(refused)), f"absent = {msgspec.json.encode(absent).decode()}"
    told = f"the target refuses {named}, and nothing says that it lacks them, so that rules about them fail; "
    return [f"{told}if it is not meant to have them, write `{line}` into a file and run again with `--features FILE`"]


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

"""Two reports side by side: two targets, or one at two dates."""

from __future__ import annotations

from typing import Literal

import msgspec

from .results import Report, Result
from .rules import RULES
from .verdicts import Verdict

Trend = Literal["better", "worse", "other"]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A rule that came out differently; a verdict is None where the report does not have the rule.

    `message` is the later report's, or where that has none to give, the earlier one's.
    """

    rule: str
    level: str
    before: Verdict | None
    after: Verdict | None
    trend: Trend
    message: str


def changes(before: Report, after: Report) -> list[Change]:
    """The rules on which the reports differ, in the rules' order."""
    old = {result.rule: result for result in before.results}
    new = {result.rule: result for result in after.results}
    order = {rule: at for at, rule in enumerate(RULES)}
    rules = sorted(old.keys() | new.keys(), key=lambda rule: (order.get(rule, len(order)), rule))
    return [_change(rule, old.get(rule), new.get(rule)) for rule in rules if _differ(old.get(rule), new.get(rule))]


def conditions(before: Report, after: Report) -> list[str]:
    """How the runs themselves differ, so far as it bears on verdicts: what each ran on, declared and selected."""
    pairs = [
        ("specification", before.suite.specification, after.suite.specification),
        ("profile", before.profile, after.profile),
        ("rules", before.selection, after.selection),
        ("seed", before.seed, after.seed),
        ("unknown fields", before.declared.unknown_fields, after.declared.unknown_fields),
        ("context tokens", before.declared.context_tokens, after.declared.context_tokens),
    ]
    found = [f"{name} {old} and {new}" for name, old, new in pairs if old != new]
    for one, other, letter in ((before, after, "A"), (after, before, "B")):
        alone = sorted(set(one.features) - set(other.features))
        if alone:
            found.append(f"only {letter} declares {', '.join(alone)}")
    return found


def _differ(old: Result | None, new: Result | None) -> bool:
    return (old and old.verdict) != (new and new.verdict)


def _change(rule: str, old: Result | None, new: Result | None) -> Change:
    known = new or old
    return Change(
        rule=rule,
        level=known.level if known else "",
        before=old.verdict if old else None,
        after=new.verdict if new else None,
        trend=_trend(old, new),
        message=(new.message if new else "") or (old.message if old else ""),
    )


def _trend(old: Result | None, new: Result | None) -> Trend:
    if old is None or new is None:
        return "other"
    if new.verdict is Verdict.PASS or old.verdict is Verdict.FAIL:
        return "better"
    if old.verdict is Verdict.PASS or new.verdict is Verdict.FAIL:
        return "worse"
    return "other"

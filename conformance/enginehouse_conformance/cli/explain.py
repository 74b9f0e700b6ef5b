"""`explain`: one rule, and the check that stands for it."""

from __future__ import annotations

import inspect

import click
import msgspec

from enginehouse_conformance.registry import all_checks
from enginehouse_conformance.rules import PROFILES, RULES, Rule
from enginehouse_conformance.selection import SelectionError, select

from .options import CannotTell, columns

_TECHNIQUES = {
    "C": "a schema whose only values are fresh nonces",
    "T": "one token forced by logit_bias",
    "A": "a closed alphabet of tokens",
    "B": "the greedy baseline, asked three times",
    "X": "an adversarial prompt, and a control without the parameter",
    "H": "hooks of the target",
}


@click.command()
@click.argument("name", metavar="RULE")
def explain(name: str) -> None:
    """Say what RULE requires, where that is written, whom it applies to, and how it is checked."""
    try:
        ids = select([name])
    except SelectionError as exc:
        raise CannotTell(str(exc)) from exc
    for rule in RULES.values():
        if rule.id in ids:
            click.echo(_explained(rule))


def _explained(rule: Rule) -> str:
    levels = {name: rule.level_in(profile) or "no such rule" for name, profile in PROFILES.items()}
    rows = [
        ("source", rule.source),
        ("endpoint", rule.endpoint),
        ("scope", rule.scope),
        ("level", ", ".join(f"{profile} {level}" for profile, level in levels.items())),
        ("about", ", ".join(rule.parameters)),
        ("features", ", ".join(rule.features) + (" (for targets that declare it absent)" if rule.when_absent else "")),
        ("hooks", ", ".join(rule.hooks)),
        ("technique", "; ".join(_TECHNIQUES[technique] for technique in rule.techniques)),
        ("chance of a false alarm", f"{rule.false_alarm:g}" if rule.false_alarm else ""),
        ("audit", rule.audit or ""),
        ("case", "" if rule.case is None else msgspec.json.encode(rule.case).decode()),
        ("since", rule.since + (", provisional" if rule.provisional else "")),
        ("quick core", "yes" if rule.quick else "no"),
    ]
    check = all_checks().get(rule.id)
    source = inspect.getsource(check.function) if check else "The suite has no check for this rule."
    facts = columns((f"  {name}", value) for name, value in rows if value)
    return f"{rule.id} ({rule.title}): {rule.requirement}\n\n{facts}\n\n{source}"

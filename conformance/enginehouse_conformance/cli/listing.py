"""`list`: the rules; `features`: what a target can declare, and which rules a lie about it fails."""

from __future__ import annotations

import click
import msgspec

from enginehouse_conformance.probes import absence_of, rules_about
from enginehouse_conformance.rules import PROFILES, RULES
from enginehouse_plugin import FEATURES

from .options import columns, profile_option, rules_option


@click.command("list")
@profile_option
@rules_option("Only these rules: ids, sections or patterns, with commas.")
@click.option("--level", type=click.Choice(["MUST", "SHOULD", "MAY"], case_sensitive=False), help="Only this level.")
@click.option("--quick", is_flag=True, help="Only the quick core.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_rules(profile: str, rules: frozenset[str] | None, level: str | None, quick: bool, as_json: bool) -> None:
    """List the rules of a profile, each with its level there and what it requires."""
    levels = {rule.id: rule.level_in(PROFILES[profile]) for rule in RULES.values()}
    chosen = [
        rule
        for rule in RULES.values()
        if levels[rule.id] is not None
        and (rules is None or rule.id in rules)
        and (level is None or levels[rule.id] == level)
        and (not quick or rule.quick)
    ]
    if as_json:
        entries = [{**msgspec.to_builtins(rule), "level": levels[rule.id]} for rule in chosen]
        click.echo(msgspec.json.format(msgspec.json.encode(entries), indent=2))
        return
    click.echo(columns((rule.id, levels[rule.id] or "", rule.scope, rule.requirement) for rule in chosen))
    click.echo(f"{len(chosen)} rules", err=True)


@click.command("features")
def list_features() -> None:
    """List the features of the contract: how the absence of each shows, and the rules that a lie about it fails."""
    click.echo(columns((name, absence_of(name), ", ".join(rules_about(name))) for name in FEATURES))

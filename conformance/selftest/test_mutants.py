"""Each mutant is caught by the rules that were named beforehand, and by no others.

By default a mutant meets the rules that must see it, and a few, always the same ones, of those near it: of the sections
it is about and of the quick core. With ENGINEHOUSE_CONFORMANCE_EXHAUSTIVE=1 it meets all the others too, in a run of
their own.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from conformance_stub.mutants import load_mutants
from conformance_stub.trial import by_verdict, run_on_stub, run_on_stub_backend
from enginehouse_conformance.registry import all_checks
from enginehouse_conformance.rules import RULES
from enginehouse_conformance.verdicts import Verdict

FOLDER = Path(__file__).parent
MUTANTS = load_mutants(FOLDER / "mutants")
CHECKS = all_checks()
IS_EXHAUSTIVE = os.environ.get("ENGINEHOUSE_CONFORMANCE_EXHAUSTIVE") == "1"
NEIGHBOURS = 6
"""Rules near a mutant that it meets beside its own: all of them took thirteen times as long as its own alone."""
CHECK_TIMEOUT_S = 60.0  # generous: a check that a busy machine cuts short catches nothing


def rules_for(mutant) -> frozenset[str]:
    near = sorted(rules_near(mutant), key=lambda rule: hashlib.sha256(f"{mutant.name} {rule}".encode()).digest())
    return mutant.kills.union(near[:NEIGHBOURS])


def rules_near(mutant) -> frozenset[str]:
    is_of_chat = any(RULES[rule].endpoint == "chat" for rule in mutant.kills)
    sections = {RULES[rule].section for rule in mutant.kills}
    return frozenset(
        rule
        for rule, check in CHECKS.items()
        if not check.exclusive
        and RULES[rule].audit is None
        and rule not in mutant.kills
        and (RULES[rule].endpoint == "chat" if is_of_chat else RULES[rule].section in sections)
        and (RULES[rule].quick or (is_of_chat and RULES[rule].section in sections))
    )


def over_http(mutant) -> frozenset[str]:
    """The rules that catch the mutant over HTTP; none for a fault that only the contract forbids."""
    return frozenset(rule for rule in mutant.kills if RULES[rule].scope != "contract")


@pytest.mark.parametrize("mutant", [m for m in MUTANTS.values() if over_http(m)], ids=lambda m: m.name)
async def test_a_mutant_is_caught_by_the_right_rules(mutant) -> None:
    async def run(rules):
        return await run_on_stub(
            mutant.behaviour(),
            rules=rules,
            profile=mutant.profile,
            absent=mutant.absent,
            engine_features=mutant.engine_features,
            check_timeout_s=CHECK_TIMEOUT_S,
            time_scale=mutant.time_scale,
        )

    await judge(mutant, run, over_http(mutant))


@pytest.mark.parametrize("mutant", [m for m in MUTANTS.values() if m.in_process], ids=lambda m: m.name)
async def test_a_mutant_of_the_engine_is_caught_without_http(mutant) -> None:
    async def run(rules):
        return await run_on_stub_backend(
            mutant.behaviour(),
            rules=rules,
            engine_features=mutant.engine_features,
            check_timeout_s=CHECK_TIMEOUT_S,
            time_scale=mutant.time_scale,
        )

    await judge(mutant, run, frozenset(rule for rule in mutant.kills if RULES[rule].scope != "wire"))


async def judge(mutant, run, kills: frozenset[str]) -> None:
    rules = rules_for(mutant)
    report = await run(rules)
    failed = by_verdict(report, Verdict.FAIL)
    missed = kills - failed.keys()
    assert not missed, f"{mutant.fault} Not caught by {sorted(missed)}; verdicts: " + str(
        {result.rule: (result.verdict.value, result.message) for result in report.results if result.rule in missed}
    )
    require_no_surprise(mutant, report, kills)
    if IS_EXHAUSTIVE:
        others = frozenset(rule for rule in CHECKS if RULES[rule].audit is None) - rules
        require_no_surprise(mutant, await run(others), kills)


def require_no_surprise(mutant, report, kills: frozenset[str]) -> None:
    # The contract's own rules see many faults from within; that is no false alarm.
    expected = kills | mutant.may_kill | {rule.id for rule in RULES.values() if rule.scope == "contract"}
    failed = by_verdict(report, Verdict.FAIL)
    surprised = {rule: message for rule, message in failed.items() if rule not in expected}
    assert not surprised, f"{mutant.fault} Caught by rules that were not named: {surprised}"
    # Where a mutant serves nothing for a while, other rules get no verdict; that is as it should be.
    broken = {rule: text for rule, text in by_verdict(report, Verdict.ERROR).items() if "itself broke" in text}
    assert not broken


def test_mutants_say_what_is_wrong_with_them() -> None:
    for mutant in MUTANTS.values():
        assert mutant.fault.endswith("."), mutant.name
        assert mutant.kills, mutant.name
        assert mutant.kills | mutant.may_kill <= RULES.keys(), mutant.name


def test_every_must_rule_catches_a_mutant() -> None:
    caught = frozenset().union(*(mutant.kills for mutant in MUTANTS.values()))
    assert not {rule.id for rule in RULES.values() if rule.level == "MUST"} - caught

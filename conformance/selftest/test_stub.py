"""The correct stub passes every check, whatever the seed: a failure here is a false alarm of the suite."""

from __future__ import annotations

import pytest

from conformance_stub.trial import by_verdict, run_on_stub, run_on_stub_backend
from enginehouse_conformance.registry import all_checks
from enginehouse_conformance.rules import PROFILES, RULES
from enginehouse_conformance.verdicts import Verdict

BAD = (Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.UNSUPPORTED)
WRITTEN = frozenset(all_checks())
ALONE = frozenset(rule for rule, check in all_checks().items() if check.exclusive)


@pytest.mark.parametrize("profile", PROFILES)
async def test_the_stub_passes_every_rule_of_every_profile(profile) -> None:
    report = await run_on_stub(profile=profile, rules=WRITTEN if profile == "openai" else WRITTEN - ALONE)
    assert by_verdict(report, *BAD) == {}
    assert report.summary.conforms == "yes"


@pytest.mark.parametrize("seed", [1, 2])
async def test_the_stub_passes_with_every_seed(seed) -> None:
    """Checks that take seconds of real time run with one seed only; `python -m conformance_stub.seeds` runs all."""
    report = await run_on_stub(seed=seed, rules=WRITTEN - ALONE)
    assert by_verdict(report, *BAD) == {}


async def test_the_stub_passes_without_http() -> None:
    report = await run_on_stub_backend(rules=WRITTEN)
    assert by_verdict(report, *BAD) == {}
    not_asked = by_verdict(report, Verdict.NOT_APPLICABLE)
    asked_of_urls = {rule.id for rule in RULES.values() if rule.scope == "wire" and rule.level_in(PROFILES["openai"])}
    assert asked_of_urls <= not_asked.keys()

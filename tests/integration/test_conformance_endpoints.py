"""Every rule about the endpoints beside chat, through the server on a real engine with random weights."""

from __future__ import annotations

import asyncio

import pytest
from tests.conformance.engines import target_of

from enginehouse_conformance import ENDPOINTS, Options, Verdict, run_suite


@pytest.mark.engine
def test_the_server_keeps_the_rules_of_all_its_endpoints() -> None:
    options = Options(endpoints=frozenset(ENDPOINTS), check_timeout_s=300.0, time_scale=5.0)
    with target_of("llamacpp", "tiny", "endpoints") as target:
        report = asyncio.run(run_suite(target, options))
    assert report.endpoints == dict.fromkeys(ENDPOINTS, "served")
    verdicts = {result.rule: (result.verdict.value, result.message) for result in report.results}
    good = (Verdict.PASS.value, Verdict.NOT_APPLICABLE.value)
    assert {rule: found for rule, found in verdicts.items() if found[0] not in good} == {}
    assert report.summary.verdicts[Verdict.PASS.value] > len(verdicts) * 0.9

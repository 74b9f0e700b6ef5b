"""The endpoints beside chat keep their rules through the server, on a real engine with random weights.

These are the refusals, the quick core and the relations across endpoints, which take little time; all rules are
`python -m tests.conformance llamacpp --over endpoints`.
"""

from __future__ import annotations

import asyncio

import pytest
from tests.conformance.engines import target_of

from enginehouse_conformance import ENDPOINTS, RULES, Options, Verdict, run_suite
from enginehouse_conformance.rules.cases import Refused

CHEAP = frozenset(
    rule.id
    for rule in RULES.values()
    if rule.endpoint in ENDPOINTS and (rule.quick or rule.section == "REL" or isinstance(rule.case, Refused))
)


@pytest.mark.engine
def test_the_server_keeps_the_rules_of_all_its_endpoints() -> None:
    options = Options(only=CHEAP, endpoints=frozenset(ENDPOINTS), check_timeout_s=300.0, time_scale=5.0)
    with target_of("llamacpp", "tiny", "endpoints") as target:
        report = asyncio.run(run_suite(target, options))
    assert report.endpoints == dict.fromkeys(report.endpoints, "served")
    assert report.endpoints.keys() == ENDPOINTS.keys()
    verdicts = {result.rule: (result.verdict, result.message) for result in report.results}
    assert verdicts.keys() == CHEAP
    assert {rule: found for rule, found in verdicts.items() if found[0] is not Verdict.PASS} == {}

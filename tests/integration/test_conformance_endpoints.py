"""The endpoints beside chat keep their rules through the server, on a real engine with random weights.

These are the refusals, the quick core and the relations across endpoints, which take little time; all rules are
`python -m tests.conformance llamacpp --over endpoints`.
"""

from __future__ import annotations

import asyncio

import pytest
from tests.conformance.engines import Way, target_of

from enginehouse_conformance import ENDPOINTS, RULES, Options, Verdict, run_suite
from enginehouse_conformance.rules.cases import Refused

GENERATING = frozenset(name for name, endpoint in ENDPOINTS.items() if not endpoint.has_task)
CHEAP = frozenset(
    rule.id
    for rule in RULES.values()
    if rule.endpoint in GENERATING and (rule.quick or rule.section == "REL" or isinstance(rule.case, Refused))
)


@pytest.mark.engine
def test_the_server_keeps_the_rules_of_all_its_endpoints() -> None:
    options = Options(only=CHEAP, endpoints=GENERATING, check_timeout_s=300.0, time_scale=5.0)
    with target_of("llamacpp", "tiny", "endpoints") as target:
        report = asyncio.run(run_suite(target, options))
    assert report.endpoints == dict.fromkeys(report.endpoints, "served")
    assert report.endpoints.keys() == GENERATING
    verdicts = {result.rule: (result.verdict, result.message) for result in report.results}
    assert verdicts.keys() == CHEAP
    assert {rule: found for rule, found in verdicts.items() if found[0] is not Verdict.PASS} == {}


@pytest.mark.engine
@pytest.mark.parametrize("name", ["embeddings", "rerank"])
def test_the_server_keeps_the_rules_of_what_generates_nothing(name: Way) -> None:
    options = Options(endpoints=frozenset({name}), check_timeout_s=300.0, time_scale=5.0)
    with target_of("llamacpp", "tiny", name) as target:
        report = asyncio.run(run_suite(target, options))
    assert report.endpoints == {name: "served"}
    verdicts = {result.rule: (result.verdict, result.message) for result in report.results}
    assert verdicts.keys() == {rule.id for rule in RULES.values() if rule.endpoint == name}
    assert {rule: found for rule, found in verdicts.items() if found[0] is not Verdict.PASS} == {}


@pytest.mark.engine
def test_what_a_model_is_not_for_is_not_there_and_never_passes() -> None:
    with target_of("llamacpp", "tiny", "endpoints") as target:
        report = asyncio.run(run_suite(target, Options(only=frozenset({"EMB1", "RRK1", "TOK1"}))))
    verdicts = {result.rule: result.verdict for result in report.results}
    not_there = Verdict.NOT_APPLICABLE
    assert verdicts == {"EMB1": not_there, "RRK1": not_there, "TOK1": Verdict.PASS}

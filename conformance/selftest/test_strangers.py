"""A first run, of which nobody said what the target has: no verdict is wrong, and what to do is told."""

from __future__ import annotations

import pytest

from conformance_stub import StubServer
from conformance_stub.small import SmallInstance
from conformance_stub.trial import by_verdict
from enginehouse_conformance import Declared, Options, UrlTarget, Verdict, run_suite, summary_text
from enginehouse_conformance.registry import all_checks
from enginehouse_conformance.rules import RULES

WITHOUT_CLOCKS = frozenset(
    rule for rule, check in all_checks().items() if not check.exclusive and RULES[rule].endpoint == "chat"
)


async def first_run(server, declared=None, rules=WITHOUT_CLOCKS):
    target = UrlTarget(server.url, model="stub-1", declared=declared or Declared(), timeout_s=60.0)
    return await run_suite(target, Options(only=frozenset(rules), check_timeout_s=60.0, patience_s=1.0))


async def test_a_right_server_conforms_without_a_word_about_it() -> None:
    async with StubServer() as server:
        report = await first_run(server)
    assert by_verdict(report, Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE) == {}
    assert report.notes == []


async def test_a_small_model_is_blamed_for_what_it_refuses_and_told_how_to_say_so() -> None:
    """What only uses a refused field has no verdict, and nothing else fails."""
    async with StubServer() as server:
        server.instance = SmallInstance()
        report = await first_run(server)
    about = {"response_format", "tools", "tool_choice"}
    failed = by_verdict(report, Verdict.FAIL)
    assert "RF2" in failed
    assert {rule for rule in failed if not any(word.split(".")[0] in about for word in RULES[rule].parameters)} == set()
    text = summary_text(report)
    assert 'write `absent = ["json_object","json_schema","parallel_tool_calls","reasoning_effort"' in text
    assert "run again with `--features FILE`" in text


@pytest.mark.parametrize("rule", ["LEN1", "SSE6", "LP2"])
async def test_what_a_rule_only_uses_is_not_its_failure(rule) -> None:
    async with StubServer() as server:
        server.instance = SmallInstance()
        report = await first_run(server, rules={rule})
    assert (
        "response_format is refused, which it uses and is not about" in by_verdict(report, Verdict.INCONCLUSIVE)[rule]
    )


async def test_the_outcome_names_what_failed_at_each_level() -> None:
    async with StubServer() as server:
        server.instance = SmallInstance()
        report = await first_run(server, rules={"RF2", "RF21", "LEN1", "SMP1"})
    line = summary_text(report).splitlines()[-1]
    assert "must 0/2 (fail: RF2; open: LEN1), should 1/2 (fail: RF21), may 0/0." in line

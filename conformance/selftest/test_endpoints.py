"""Endpoints beside chat: which are asked, what is said where one is missing, and what reads their answers."""

from __future__ import annotations

import msgspec
import pytest

from conformance_stub import Behaviour, Rejected, StubServer
from enginehouse_conformance import ENDPOINTS, Options, UrlTarget, Verdict, run_suite, summary_text
from enginehouse_conformance.cli import cli
from enginehouse_conformance.report.words import facts
from enginehouse_conformance.rules import RULES

FIRST = frozenset({"ENV2", "RESP2"})


class HasChatOnly(Behaviour):
    """Knows no endpoint but chat."""

    def check_body(self, dialect, body):
        raise Rejected("There is nothing here.", code="not_found", status=404)


async def report_on(behaviour: Behaviour | None, **options):
    async with StubServer(behaviour) as server:
        target = UrlTarget(server.url, model="stub-1", timeout_s=60.0)
        return await run_suite(target, Options(check_timeout_s=60.0, patience_s=1.0, **options))


async def test_an_endpoint_that_is_not_there_is_skipped_with_the_reason_and_never_passes() -> None:
    report = await report_on(HasChatOnly(), only=FIRST)
    verdicts = {result.rule: result.verdict for result in report.results}
    assert verdicts == {"ENV2": Verdict.PASS, "RESP2": Verdict.NOT_APPLICABLE}
    assert report.endpoints["chat"] == "served"
    assert report.endpoints["responses"].endswith("/v1/responses answered 404")
    assert "No endpoint responses" in summary_text(report)
    assert "responses: POST" in dict(facts(report))["endpoints"]


async def test_an_endpoint_that_is_asked_for_by_name_and_is_not_there_leaves_no_verdict() -> None:
    report = await report_on(HasChatOnly(), only=FIRST, endpoints=frozenset({"responses"}))
    assert {result.rule: result.verdict for result in report.results} == {"RESP2": Verdict.ERROR}
    assert report.summary.conforms == "unknown"


async def test_only_the_endpoints_asked_for_are_judged() -> None:
    report = await report_on(None, only=FIRST, endpoints=frozenset({"responses"}))
    assert {result.rule: result.verdict for result in report.results} == {"RESP2": Verdict.PASS}
    assert report.summary.partial
    assert report.endpoints == {"responses": "served"}


async def test_what_cannot_be_read_fails_and_does_not_break_a_check() -> None:
    class Strange(Behaviour):
        def dialect_answer(self, dialect, answer, body):
            return {**answer, "output": [{"type": "message", "content": [7]}]}

    report = await report_on(Strange(), only=frozenset({"RESP7", "RESP8", "RESP109"}))
    assert {result.verdict for result in report.results} == {Verdict.FAIL}


@pytest.mark.parametrize("name", ENDPOINTS)
def test_each_endpoint_has_rules_of_the_quick_core_and_is_on_the_command_line(name) -> None:
    assert [rule for rule in RULES.values() if rule.endpoint == name and rule.quick]
    (option,) = (option for option in cli.commands["run"].params if option.name == "endpoints")
    assert name in option.type.choices


@pytest.mark.parametrize("rule", [rule for rule in RULES.values() if rule.case is not None], ids=lambda rule: rule.id)
def test_a_rule_that_is_data_says_something(rule) -> None:
    given = msgspec.to_builtins(rule.case)
    is_plain = given.get("shows") is False  # the request that every endpoint answers alike
    assert given.get("bodies") or given.get("lacks") or given.get("fields") or given.get("shown") or is_plain

"""A target that one request ends, or that hangs up on one: who is to blame, and what is not judged any more."""

from __future__ import annotations

from conformance_stub import Behaviour, StubServer
from conformance_stub.fields import Body
from conformance_stub.wire_parts import Rejected
from enginehouse_conformance.declared import Declared
from enginehouse_conformance.report.text import summary_text
from enginehouse_conformance.report.words import headline
from enginehouse_conformance.results import Report
from enginehouse_conformance.runner import Options, run_suite
from enginehouse_conformance.targets import UrlTarget
from enginehouse_conformance.verdicts import Verdict


class HangsUp(Behaviour):
    """A top_p over 1 is no reason for an answer: the connection is closed. Only *times* times, where given."""

    def __init__(self, times: int = 10**9) -> None:
        self.left = times

    def check_fields(self, body, profile):
        if body.get("top_p") == 1.1 and self.left:
            self.left -= 1
            raise ConnectionError
        super().check_fields(body, profile)


class Dies(Behaviour):
    """After a top_p over 1 it answers 404 to everything, for as many requests as *absent*."""

    def __init__(self, absent: int = 10**9) -> None:
        self.absent = absent
        self.left = 0
        self.has_died = False

    def check_fields(self, body: Body, profile) -> None:
        if body.get("top_p") == 1.1 and not self.has_died:
            self.has_died = True
            self.left = self.absent
        if self.left:
            self.left -= 1
            raise Rejected("generation thread died", status=404)
        super().check_fields(body, profile)


class Unauthorised(Behaviour):
    """Every key is wrong."""

    def check_fields(self, body, profile):
        raise Rejected("who are you", status=401)


async def run(behaviour: Behaviour, *rules: str, concurrency: int = 1, patience_s: float = 0.1) -> Report:
    async with StubServer(behaviour) as server:
        target = UrlTarget(server.url, model=behaviour.model, declared=Declared(), timeout_s=30)
        options = Options(only=frozenset(rules), concurrency=concurrency, patience_s=patience_s)
        return await run_suite(target, options)


def verdicts(report: Report) -> dict[str, Verdict]:
    return {result.rule: result.verdict for result in report.results}


async def test_a_connection_closed_on_one_request_is_a_failure_of_a_target_that_serves_others() -> None:
    report = await run(HangsUp(), "ENV1", "SMP6", "STOP7")
    assert verdicts(report) == {"ENV1": Verdict.PASS, "SMP6": Verdict.FAIL, "STOP7": Verdict.PASS}
    assert report.fault is None
    closed = next(result for result in report.results if result.rule == "SMP6")
    assert "closed the connection without an answer, twice" in closed.seen
    assert closed.retries == ["the target closed the connection without an answer"]


async def test_a_connection_closed_once_is_asked_again_on_record() -> None:
    report = await run(HangsUp(times=1), "SMP6")
    assert verdicts(report) == {"SMP6": Verdict.PASS}
    assert len(report.results[0].retries) == 1


async def test_the_check_that_ends_the_target_fails_and_the_rest_is_not_judged() -> None:
    """SMP6 asks for a top_p of 1.1; without a look at the target every later rule would fail for it."""
    report = await run(Dies(), "ENV1", "SMP6", "STOP7", "SSE1")
    assert verdicts(report) == {
        "ENV1": Verdict.PASS,
        "SMP6": Verdict.FAIL,
        "STOP7": Verdict.ERROR,
        "SSE1": Verdict.ERROR,
    }
    assert report.fault is not None
    assert "gone since SMP6 ran" in report.fault
    assert "generation thread died" in report.fault
    assert report.summary.conforms == "no"


async def test_of_several_suspects_none_is_blamed() -> None:
    report = await run(Dies(), "SMP6", "STOP7", "SSE13", "N6", concurrency=4)
    assert Verdict.FAIL not in verdicts(report).values()
    assert report.fault is not None
    assert "SMP6" in report.fault
    assert report.summary.conforms == "unknown"


async def test_a_target_that_comes_back_is_judged_again() -> None:
    report = await run(Dies(absent=2), "SMP6", "STOP7", patience_s=30.0)
    assert verdicts(report) == {"SMP6": Verdict.FAIL, "STOP7": Verdict.PASS}
    assert report.fault is None
    assert "go on serving" in report.results[0].expected


async def test_a_target_that_never_served_is_judged_as_it_is() -> None:
    """Where not even the first request was served, every rule says what came instead."""

    class Broken(Behaviour):
        def check_fields(self, body, profile):
            raise Rejected("out of order", status=500)

    report = await run(Broken(), "ENV1", "SMP6")
    assert set(verdicts(report).values()) == {Verdict.FAIL}
    assert report.fault is None
    assert report.opening is not None
    assert "out of order" in report.opening
    assert "A plain chat request was not served: status 500" in summary_text(report)


async def test_where_nothing_was_asked_no_count_looks_like_a_failure() -> None:
    report = await run(Unauthorised(), "ENV1", "SMP6")
    assert "nothing was asked" in headline(report)
    assert "0/" not in headline(report)


async def test_a_look_at_the_target_disturbs_no_other_check() -> None:
    """Rules that fail beside others that pass, four at a time: each keeps its own verdict."""
    behaviour = HangsUp()
    rules = ("SMP6", "ENV1", "ENV2", "ENV3", "LEN1", "STOP7", "N6", "SSE1")
    report = await run(behaviour, *rules, concurrency=4)
    assert {rule for rule, verdict in verdicts(report).items() if verdict is not Verdict.PASS} == {"SMP6"}

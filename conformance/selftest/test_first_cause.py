"""One fault that many rules see: what is said of it, once and first, and what is not blamed for it."""

from __future__ import annotations

import msgspec
import pytest

from conformance_stub import Behaviour, StubServer
from conformance_stub.trial import by_verdict
from enginehouse_conformance import Options, UrlTarget, Verdict, run_suite
from enginehouse_conformance.cli.progress import Lines
from enginehouse_conformance.report.text import summary_text
from enginehouse_conformance.results import REPEATS, Result
from enginehouse_conformance.rules import RULES
from enginehouse_conformance.runner import Run


async def report_on(behaviour: Behaviour | None, *rules: str, seed: int = 0):
    """The report of a run that nothing is declared for."""
    async with StubServer(behaviour) as server:
        target = UrlTarget(server.url, model=server.behaviour.model, timeout_s=60.0)
        return await run_suite(target, Options(only=frozenset(rules), seed=seed, check_timeout_s=60.0))


class LosesRaises(Behaviour):
    """A bias counts where it is negative."""

    def prepare(self, body):
        prepared = super().prepare(body)
        bias = {token: value for token, value in (prepared.get("logit_bias") or {}).items() if value <= 0}
        return {**prepared, "logit_bias": bias} if "logit_bias" in prepared else prepared


class LosesRaisesEarly(Behaviour):
    """The same before anything looks at them."""

    def decode(self, data):
        body = super().decode(data)
        if isinstance(body.get("logit_bias"), dict):
            body["logit_bias"] = {token: value for token, value in body["logit_bias"].items() if not 0 < value <= 100}
        return body


async def test_a_bias_that_is_ignored_is_blamed_for_itself_alone() -> None:
    report = await report_on(LosesRaisesEarly(), "BIAS1", "BIAS3", "LEN14")
    failed = by_verdict(report, Verdict.FAIL)
    assert failed.keys() == {"BIAS1"}
    assert "the bias shows nowhere: of 52 tokens" in failed["BIAS1"]
    assert "cannot be tried" not in failed["BIAS1"]
    assert "ends after" in by_verdict(report, Verdict.INCONCLUSIVE)["LEN14"]


async def test_a_field_that_is_served_is_not_to_be_declared_absent() -> None:
    assert (await report_on(LosesRaises(), "BIAS2", "BIAS3", "BIAS5", "BIAS6")).notes == []


class Remembers(Behaviour):
    """The first answer to the same messages is the answer to all."""

    def __init__(self):
        self._kept = {}

    def answer(self, answer, body):
        return self._kept.setdefault(msgspec.json.encode(body["messages"]), answer)


async def test_answers_that_repeat_are_the_opening() -> None:
    report = await report_on(Remembers(), "ENV3", "SMP2", "LEN1")
    assert report.notes[0] == REPEATS
    assert summary_text(report).startswith(f"First of all: {REPEATS}.")
    assert summary_text(report).count(f"Note: {REPEATS}") == 0


class OneId(Behaviour):
    """Every answer has the same id."""

    def answer(self, answer, body):
        return {**answer, "id": "chatcmpl-1"}


async def test_one_id_for_answers_that_differ_is_no_cache() -> None:
    report = await report_on(OneId(), "ENV3", "ISO11")
    assert by_verdict(report, Verdict.FAIL).keys() == {"ENV3", "ISO11"}
    assert REPEATS not in report.notes


async def test_why_nothing_is_asked_is_said_once(capsys) -> None:
    rules = [RULES[name] for name in ("ENV1", "ENV2", "ENV3", "ENV4")]
    with Lines(rules) as lines:
        target = UrlTarget("http://127.0.0.1:9/v1", model="m")
        only = frozenset(rule.id for rule in rules)
        await Run(target, Options(only=only, check_timeout_s=5.0), on_result=lines.result).whole()
    told = capsys.readouterr().err.splitlines()
    assert [line for line in told if "not asked:" in line] == told[:1]
    assert told[1] == "-- 3 more rules not asked either"


async def test_a_provisional_failure_is_called_provisional(capsys) -> None:
    rule = msgspec.structs.replace(RULES["ENV1"], provisional=True)
    result = Result(rule=rule.id, level="MUST", verdict=Verdict.FAIL, message="expected a", provisional=True)
    with Lines([rule]) as lines:
        lines.result(result)
    assert "provisional, counts in no outcome; expected a" in capsys.readouterr().err


class StopsAtOnce(Behaviour):
    """Every answer has one token."""

    def prepare(self, body):
        return {**super().prepare(body), "max_tokens": 1}


async def test_a_long_request_is_cut_on_the_console_and_whole_in_the_report() -> None:
    report = await report_on(StopsAtOnce(), "LEN18")
    (result,) = report.results
    assert result.verdict is Verdict.FAIL
    assert len(result.transcripts[-1].curl or "") > 700
    text = summary_text(report)
    assert "characters more; the reports of --report have it whole" in text
    assert all(len(line) < 600 for line in text.splitlines())


@pytest.mark.parametrize("seed", [1634857915, 1867143846])
async def test_a_prompt_that_fits_is_not_taken_for_one_that_was_cut(seed) -> None:
    """With these two prompts of other beginnings gave the measure of a word."""
    assert by_verdict(await report_on(None, "LEN9", seed=seed), Verdict.PASS).keys() == {"LEN9"}

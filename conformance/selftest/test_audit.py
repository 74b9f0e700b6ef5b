"""The sampling audit: its mathematics on closed cases, the right stub, and what it says of others."""

from __future__ import annotations

import json
import math
import random

import msgspec
import pytest
from click.testing import CliRunner

from conformance_stub import Behaviour
from conformance_stub.trial import by_verdict, run_on_stub
from enginehouse_conformance.audit.chances import Position, Settings, estimate, limits
from enginehouse_conformance.audit.evidence import FALSE_ALARM, Trial
from enginehouse_conformance.cli import cli
from enginehouse_conformance.rules import RULES
from enginehouse_conformance.runner import Options, selected_rules
from enginehouse_conformance.verdicts import Verdict
from enginehouse_plugin import TopLogprob
from enginehouse_plugin.errors import InvalidRequest

AUDIT = [rule.id for rule in RULES.values() if rule.audit == "sampling"]


def position(*likeliest: float, rest: float = 0.0, drawn: int = 0) -> Position:
    return Position(likeliest, max(rest, 1e-6), drawn)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Settings(), [0.4, 0.3, 0.2, 0.1]),
        (Settings(top_k=2), [4 / 7, 3 / 7, 0, 0]),
        (Settings(top_p=0.6), [4 / 7, 3 / 7, 0, 0]),
        (Settings(min_p=0.6), [4 / 7, 3 / 7, 0, 0]),
        (Settings(temperature=0), [1, 0, 0, 0]),
        (Settings(temperature=0.5), [0.16 / 0.29, 0.09 / 0.29, 0.04 / 0.29, None]),
        (Settings(top_p=0.95), [0.4 / 0.95, 0.3 / 0.95, 0.2 / 0.95, None]),
    ],
)
def test_chances_are_those_of_the_setting(settings, expected) -> None:
    told = position(0.4, 0.3, 0.2, rest=0.1)
    for place, chance in enumerate(expected):
        if chance is not None:
            assert estimate(told, settings)[place] == pytest.approx(chance, rel=0.15, abs=1e-3)
            assert limits(told, settings)[place] >= chance - 1e-9
            assert limits(told, settings)[place] == pytest.approx(chance, rel=0.15, abs=1e-3)


def model(dice: random.Random, tokens: int = 400) -> list[float]:
    """A distribution over a vocabulary."""
    weights = sorted((math.exp(dice.gauss(0, 2.2)) for _ in range(tokens)), reverse=True)
    return [weight / sum(weights) for weight in weights]


def right(chances: list[float], settings: Settings) -> list[float]:
    """What a right engine draws by, from the whole vocabulary."""
    if settings.temperature == 0:
        return [1.0, *[0.0] * (len(chances) - 1)]
    weights = [chance ** (1 / settings.temperature) for chance in chances]
    if settings.top_k:
        weights = [weight if at < settings.top_k else 0.0 for at, weight in enumerate(weights)]
    weights = [weight if weight >= settings.min_p * weights[0] else 0.0 for weight in weights]
    left = settings.top_p * sum(weights)
    for at, weight in enumerate(weights):
        weights[at] = weight if left > 0 else 0.0
        left -= weight
    return [weight / sum(weights) for weight in weights]


SETTINGS = [
    *(Settings(), Settings(temperature=0.3), Settings(temperature=0.7), Settings(temperature=0)),
    *(Settings(top_p=0.5), Settings(top_p=0.99), Settings(top_k=3), Settings(top_k=40), Settings(min_p=0.3)),
    *(Settings(min_p=1e-3), Settings(top_k=20)),
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_no_bucket_of_a_right_engine_has_more_than_its_limit(settings) -> None:
    dice = random.Random(5)
    for _ in range(100):
        chances = model(dice)
        drawn_by = right(chances, settings)
        told = Position(tuple(chances[:20]), sum(chances[20:]), 0)
        buckets = [*drawn_by[:20], sum(drawn_by[20:])]
        for chance, limit in zip(buckets, limits(told, settings), strict=True):
            assert chance <= limit * (1 + 1e-9)
        assert sum(estimate(told, settings)) == pytest.approx(1)


def test_above_a_temperature_of_1_nothing_is_said() -> None:
    with pytest.raises(ValueError, match="nothing limits"):
        limits(position(0.5, 0.3, rest=0.2), Settings(temperature=1.5))


OTHERS = {"nothing": Settings(), "temperature 0.7": Settings(temperature=0.7), "top_k 10": Settings(top_k=10)}


def run(asked: Settings, served: Settings, others: dict[str, Settings], seed: int, most: int = 1024) -> Trial:
    dice, trial = random.Random(seed), Trial(asked, others)
    while not trial.is_settled and trial.tokens < most:
        chances = model(dice)
        (drawn,) = dice.choices(range(len(chances)), right(chances, served))
        trial.add(Position(tuple(chances[:20]), sum(chances[20:]), min(drawn, 20)))
    return trial


@pytest.mark.parametrize(
    "asked",
    [Settings(temperature=0.3), Settings(temperature=0), Settings(top_p=0.5), Settings(top_k=3), Settings(min_p=0.3)],
)
def test_what_is_ignored_is_found_and_named(asked) -> None:
    trial = run(asked, Settings(), {**OTHERS}, seed=1)
    assert trial.is_refuted
    assert trial.likeliest == "nothing"


def test_a_right_engine_is_never_refuted_and_what_it_is_not_is_ruled_out() -> None:
    """The mean of the products is at most 1, so that of 60 trials none comes near a million."""
    for asked in (Settings(), Settings(temperature=0.3), Settings(top_p=0.5), Settings(top_k=3), Settings(min_p=0.3)):
        others = {name: each for name, each in OTHERS.items() if each != asked}
        trials = [run(asked, asked, others, seed) for seed in range(12)]
        assert not any(trial.is_refuted for trial in trials)
        assert max(trial.evidence for trial in trials) < -math.log(FALSE_ALARM) / 2
        assert all(len(trial.ruled_out) == len(others) for trial in trials)


def test_an_answer_that_ends_is_no_evidence_against() -> None:
    trial = Trial(Settings(), {"temperature 0": Settings(temperature=0)})
    for _ in range(20):
        trial.add(position(0.5, 0.4, rest=0.1))
    before = trial.evidence
    trial.end_early()
    assert trial.evidence < before


# ---- on the stub ----


@pytest.mark.parametrize("seed", range(2))
async def test_nothing_is_found_on_the_right_stub(seed) -> None:
    report = await run_on_stub(rules=AUDIT, seed=seed, check_timeout_s=60)
    assert by_verdict(report, Verdict.PASS).keys() == set(AUDIT), by_verdict(report, *Verdict)
    assert all(result.notes for result in report.results)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 120))
async def test_nothing_is_found_with_many_seeds(seed) -> None:
    report = await run_on_stub(rules=AUDIT, seed=seed, check_timeout_s=60)
    assert by_verdict(report, Verdict.PASS).keys() == set(AUDIT), by_verdict(report, *Verdict)


class AfterTemperature(Behaviour):
    """Log probabilities are those after temperature."""

    def entry(self, logits, token, request):
        return super().entry([value / (request.temperature or 1.0) for value in logits], token, request)


class DropsLogprobs(Behaviour):
    """Log probabilities are left out."""

    def entry(self, logits, token, request):
        raise AssertionError("nobody asks")

    def prepare(self, body):
        return super().prepare({name: value for name, value in body.items() if "logprobs" not in name})


async def test_what_is_not_raw_cannot_be_audited_and_is_told_with_its_slope() -> None:
    report = await run_on_stub(AfterTemperature(), rules=["AUD2"])
    assert "slope 3.3" in by_verdict(report, Verdict.INCONCLUSIVE)["AUD2"]


async def test_without_log_probabilities_nothing_is_said() -> None:
    report = await run_on_stub(DropsLogprobs(), rules=AUDIT)
    assert by_verdict(report, Verdict.INCONCLUSIVE).keys() == set(AUDIT)


async def test_a_field_that_is_refused_is_not_audited() -> None:
    report = await run_on_stub(rules=["AUD4", "AUD7"], absent=frozenset({"top_k", "seed"}))
    assert by_verdict(report, Verdict.NOT_APPLICABLE).keys() == {"AUD4", "AUD7"}


class Few(Behaviour):
    """Of the likeliest tokens 11 are given at most, as by mlx_lm's server."""

    def accept(self, request):
        if (request.top_logprobs or 0) > 11:
            raise InvalidRequest("top_logprobs must be at most 11", param=None)
        return request


async def test_a_target_that_gives_fewer_of_the_likeliest_tokens_is_audited_by_those() -> None:
    report = await run_on_stub(Few(), rules=AUDIT, check_timeout_s=60)
    assert by_verdict(report, Verdict.PASS).keys() == set(AUDIT), by_verdict(report, *Verdict)
    assert "top_k 2" in " ".join(note for result in report.results for note in result.notes)


class DrawnFirst(Behaviour):
    """The drawn token is told before the likeliest, in place of the last of them, as by vLLM's own server."""

    def entry(self, logits, token, request):
        told = super().entry(logits, token, request)
        drawn = TopLogprob(told.token, told.token_id, told.token_bytes, told.logprob)
        others = [other for other in told.top if other.token_id != token]
        return msgspec.structs.replace(told, top=tuple([drawn, *others][: len(told.top)]))


class ToldWrong(Behaviour):
    """The tokens that are told are not those that were drawn, as by mlx_lm's server."""

    def entry(self, logits, token, request):
        told = super().entry(logits, token, request)
        other = told.top[token % len(told.top)] if told.top else told
        return msgspec.structs.replace(
            told, token=other.token, token_id=other.token_id, token_bytes=other.token_bytes, logprob=other.logprob
        )


@pytest.mark.parametrize("seed", range(3))
async def test_a_target_that_tells_the_drawn_token_first_is_right(seed) -> None:
    report = await run_on_stub(DrawnFirst(), rules=AUDIT, seed=seed, check_timeout_s=60)
    assert by_verdict(report, Verdict.PASS).keys() == set(AUDIT), by_verdict(report, *Verdict)


async def test_tokens_that_do_not_spell_the_answer_are_no_evidence() -> None:
    report = await run_on_stub(ToldWrong(), rules=AUDIT, check_timeout_s=60)
    found = by_verdict(report, Verdict.INCONCLUSIVE)
    assert found.keys() == set(AUDIT), by_verdict(report, *Verdict)
    assert all("do not spell the answer" in reason for reason in found.values())


def test_an_audit_is_run_only_where_it_is_asked_for() -> None:
    assert not {rule.id for rule in selected_rules(Options())} & set(AUDIT)
    assert [rule.id for rule in selected_rules(Options(audit="sampling"))] == AUDIT
    named = frozenset({"ENV1", "AUD2"})
    assert [rule.id for rule in selected_rules(Options(audit="sampling", only=named))] == ["ENV1", "AUD2"]
    assert [rule.id for rule in selected_rules(Options(only=named))] == ["ENV1"]


def test_the_command_says_that_a_rule_needs_its_audit() -> None:
    done = CliRunner().invoke(cli, ["run", "http://127.0.0.1:9/v1", "--model", "m", "--rules", "AUD1"])
    assert done.exit_code == 2
    assert "Without --audit sampling" in done.stderr


class Added(Behaviour):
    """top_k is 5 unless given."""

    def accept(self, request):
        return msgspec.structs.replace(request, top_k=5) if request.top_k <= 0 else request


def test_the_command_says_what_was_found_in_words_and_as_json(stub) -> None:
    words = ["run", stub(Added()).url, "--model", "stub-1", "--audit", "sampling", "--seed", "3"]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 1, done.output
    assert "FAIL AUD1 (MUST)" in done.stdout
    assert "it is altered: after" in done.stdout
    assert "AUD4 pass: top_k 3: honoured, by" in done.stdout
    assert "partial" in done.stdout.lower()
    report = json.loads(CliRunner().invoke(cli, [*words, "--json"]).stdout)
    assert report["selection"] == "audit sampling"
    assert "--audit sampling" in report["reproduce"]
    assert {result["rule"] for result in report["results"]} == set(AUDIT)


class Wandering(Behaviour):
    """Greedy answers never come back to a token, as those of a random model: there is nothing to penalise."""

    def adjusted(self, logits, request, output):
        return [value - 50 if token in output else value for token, value in enumerate(logits)]

    def entry(self, logits, token, request):
        return super().entry([value + 50 * (place == token) for place, value in enumerate(logits)], token, request)


async def test_where_nothing_comes_again_no_penalty_can_be_seen() -> None:
    report = await run_on_stub(Wandering(), rules=["AUD6"])
    assert "nothing to penalise" in by_verdict(report, Verdict.INCONCLUSIVE)["AUD6"]

"""The comparison itself: it sees each difference, and excuses near ties alone."""

from __future__ import annotations

import pytest
from tests.asking import Answer
from tests.parity.compare import compare

from enginehouse_plugin import (
    Finished,
    GenerationRequest,
    Started,
    TextDelta,
    TokenLogprob,
    Tokens,
    TopLogprob,
    UsageReport,
)
from enginehouse_plugin.events import FinishReason

REQUEST = GenerationRequest(id="r", prompt=Tokens((7,)), logprobs=True, top_logprobs=3)
LIKELY = {10: -0.5, 11: -1.5, 12: -3.0}


def answer(
    *tokens: tuple[int, dict[int, float]],
    reason: FinishReason = "length",
    text: str | None = None,
    prompt_tokens: int = 1,
    completion_tokens: int | None = None,
) -> Answer:
    """An answer of *tokens*: each the chosen id and what there was to choose from."""
    logprobs = tuple(
        TokenLogprob(
            f"<{chosen}>",
            chosen,
            f"<{chosen}>".encode(),
            top.get(chosen, -9.0),
            tuple(TopLogprob(f"<{other}>", other, f"<{other}>".encode(), logprob) for other, logprob in top.items()),
        )
        for chosen, top in tokens
    )
    whole = "".join(token.token for token in logprobs) if text is None else text
    count = len(tokens) if completion_tokens is None else completion_tokens
    made = Answer(1)
    for event in (
        Started(prompt_tokens),
        TextDelta(0, whole, count, logprobs),
        Finished(0, reason),
        UsageReport(prompt_tokens, count),
    ):
        made.take(event)
    return made


def test_equal_answers_have_no_faults() -> None:
    compared = compare(REQUEST, answer((10, LIKELY), (10, LIKELY)), answer((10, LIKELY), (10, LIKELY)))
    assert (compared.faults, compared.divergences) == ((), ())
    assert (compared.tokens, compared.largest_difference) == (2, 0.0)


@pytest.mark.parametrize(
    ("other", "fault"),
    [
        (answer((10, LIKELY), prompt_tokens=2), "prompt tokens"),
        (answer((10, LIKELY), completion_tokens=2), "completion tokens"),
        (answer((10, LIKELY), reason="stop"), "finish reason"),
        (answer((10, LIKELY), text="else"), "text"),
        (answer((10, {**LIKELY, 10: -0.56})), "logprobs of a chosen token"),
        (answer((10, {**LIKELY, 11: -1.61})), "alternative '<11>'"),
        (answer((10, {10: -0.5, 11: -1.5, 13: -2.0})), "alternative '<13>'"),
        (answer((10, {10: -0.5, 11: -1.5})), "alternatives of"),
    ],
)
def test_each_difference_is_a_fault(other: Answer, fault: str) -> None:
    for pair in ((answer((10, LIKELY)), other), (other, answer((10, LIKELY)))):
        assert any(fault in found for found in compare(REQUEST, *pair).faults)


@pytest.mark.parametrize(("gap", "is_excused"), [(0.01, True), (0.14, True), (0.16, False), (2.0, False)])
def test_answers_may_part_at_a_near_tie_and_there_alone(gap: float, is_excused: bool) -> None:
    one = answer((10, LIKELY), (10, {10: -0.5, 11: -0.5 - gap}), (12, LIKELY))
    other = answer((10, LIKELY), (11, {11: -0.5, 10: -0.5 - gap}))
    compared = compare(REQUEST, one, other)
    assert [parted.position for parted in compared.divergences] == [1]
    assert compared.tokens == 1
    assert (not compared.faults) == is_excused


def test_a_tie_must_be_one_in_both_engines() -> None:
    one = answer((10, {10: -0.5, 11: -0.51}))
    other = answer((11, {11: -0.5, 10: -0.9}))
    assert compare(REQUEST, one, other).faults


def test_a_token_that_the_other_engine_does_not_name_is_no_tie() -> None:
    assert compare(REQUEST, answer((10, LIKELY)), answer((13, {13: -0.5, 14: -0.6}))).faults


@pytest.mark.parametrize(("end", "is_excused"), [(-0.55, True), (-2.0, False)])
def test_an_end_against_a_token_is_judged_by_the_gap_to_the_end(end: float, is_excused: bool) -> None:
    ended = answer((10, LIKELY), reason="stop")
    went_on = answer((10, LIKELY), (10, {10: -0.5, 2: end}))
    assert (not compare(REQUEST, ended, went_on).faults) == is_excused


def test_a_tie_is_one_of_the_scores_that_bias_and_penalties_make() -> None:
    """Raw, the second token is far behind; the penalty on the first makes them equal."""
    request = GenerationRequest(
        id="r", prompt=Tokens((7,)), logprobs=True, top_logprobs=3, frequency_penalty=1.0, logit_bias={11: 0.5}
    )
    top = {10: -0.5, 11: -2.0}
    one, other = answer((10, LIKELY), (10, top)), answer((10, LIKELY), (11, top))
    assert compare(request, one, other).faults == ()
    assert compare(REQUEST, one, other).faults

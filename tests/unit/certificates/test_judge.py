"""From verdicts on rules to proofs of features."""

from __future__ import annotations

import pytest

from enginehouse.certificates import Outcome, judge

SIMPLEST = {"stop": 1, "streaming": 1, "logit_bias": 1, "tools": 1, "frequency_penalty": 2, "tool_choice_named": 2}
EVERYTHING = frozenset({*SIMPLEST, "top_k"})


def outcome(rule: str, finding: str, *features: str, topic: tuple[str, ...] = ()) -> Outcome:
    return Outcome(rule=rule, finding=finding, features=features, topic=topic)


def judged(*outcomes: Outcome) -> dict[str, tuple[str, ...]]:
    """State and rules of each feature that is not untested."""
    _, proofs = judge(outcomes, EVERYTHING, SIMPLEST)
    return {
        name: (proof.state, *(proof.failed or proof.inconclusive))
        for name, proof in proofs.items()
        if proof.state != "untested"
    }


def test_a_feature_is_proven_when_every_judged_rule_passed() -> None:
    assert judged(outcome("STOP1", "pass", "stop"), outcome("STOP2", "pass", "stop")) == {"stop": ("proven",)}


def test_one_failure_is_enough_and_outweighs_what_is_inconclusive() -> None:
    found = judged(
        outcome("STOP1", "pass", "stop"),
        outcome("STOP2", "fail", "stop"),
        outcome("STOP3", "inconclusive", "stop"),
    )
    assert found == {"stop": ("failed", "STOP2")}


def test_a_rule_without_a_verdict_leaves_its_feature_unproven() -> None:
    found = judged(outcome("STOP1", "pass", "stop"), outcome("STOP3", "inconclusive", "stop"))
    assert found == {"stop": ("inconclusive", "STOP3")}


def test_a_feature_that_no_rule_tests_is_not_proven() -> None:
    _, proofs = judge([outcome("STOP1", "pass", "stop")], EVERYTHING, SIMPLEST)
    assert proofs["top_k"].state == "untested"
    assert proofs["streaming"].state == "untested"


def test_rules_that_need_no_feature_are_counted_apart() -> None:
    general, proofs = judge([outcome("LEN1", "fail"), outcome("MSG1", "pass")], EVERYTHING, SIMPLEST)
    assert (general.state, general.failed, general.passed) == ("failed", ("LEN1",), 1)
    assert {proof.state for proof in proofs.values()} == {"untested"}


@pytest.mark.parametrize(
    ("case", "blamed"),
    [
        pytest.param(("SMP11", "frequency_penalty", "logit_bias"), {"frequency_penalty"}, id="means-of-a-test"),
        pytest.param(("TOOL3", "tools", "tool_choice_named"), {"tool_choice_named"}, id="part-of-another"),
        pytest.param(("X1", "stop", "logit_bias"), {"stop", "logit_bias"}, id="a-pair-that-breaks-together"),
        pytest.param(
            ("X10", "frequency_penalty", "logit_bias", "streaming"), {"frequency_penalty"}, id="hardest-to-test-alone"
        ),
    ],
)
def test_a_failure_speaks_against_what_its_rule_is_about(case: tuple[str, ...], blamed: set[str]) -> None:
    rule, *features = case
    own = [outcome(f"{name}1", "pass", name) for name in features if SIMPLEST[name] == 1]
    found = judged(*own, outcome(rule, "fail", *features))
    assert {name for name, (state, *_) in found.items() if state == "failed"} == blamed
    assert all(found[name] == ("proven",) for name in features if name not in blamed)


def test_a_section_is_about_its_own_feature() -> None:
    found = judged(
        outcome("SSE6", "pass", "streaming"),
        outcome("STOP1", "pass", "stop"),
        outcome("STOP5", "fail", "stop", "streaming", topic=("stop",)),
    )
    assert found == {"streaming": ("proven",), "stop": ("failed", "STOP5")}


def test_pairs_that_fail_because_one_of_the_two_does_not_speak_against_the_other() -> None:
    found = judged(
        outcome("STOP1", "fail", "stop"),
        outcome("BIAS1", "pass", "logit_bias"),
        outcome("BIAS9", "fail", "logit_bias", "stop", topic=("logit_bias",)),
        outcome("SSE6", "pass", "streaming"),
        outcome("X6", "inconclusive", "stop", "streaming"),
    )
    assert found == {"stop": ("failed", "STOP1", "BIAS9"), "logit_bias": ("proven",), "streaming": ("proven",)}

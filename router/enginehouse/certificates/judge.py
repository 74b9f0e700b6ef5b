"""From verdicts on rules to proofs of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from .certificate import Proof, ProofState

Finding = Literal["pass", "fail", "inconclusive"]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How one rule came out. `features` are those that it needs, `topic` those that its section is about."""

    rule: str
    finding: Finding
    features: tuple[str, ...] = ()
    topic: tuple[str, ...] = ()


def judge(
    outcomes: Sequence[Outcome], declared: frozenset[str], simplest: Mapping[str, int]
) -> tuple[Proof, dict[str, Proof]]:
    """The proof of what needs no feature, and of each feature in *declared*.

    *simplest* gives for each feature the number of features that its simplest rules need.
    """
    general = _proof([outcome for outcome in outcomes if not outcome.features])
    troubled = frozenset[str]().union(
        *(_own(outcome, simplest) for outcome in outcomes if outcome.features and outcome.finding != "pass")
    )
    concerned = [(outcome, _about(outcome, simplest, troubled)) for outcome in outcomes if outcome.features]
    proofs = {
        feature: _proof([outcome for outcome, features in concerned if feature in features])
        for feature in sorted(declared)
    }
    return general, proofs


def _about(outcome: Outcome, simplest: Mapping[str, int], troubled: frozenset[str]) -> frozenset[str]:
    """The features that *outcome* is evidence for or against: of those that the rule needs, some are only its means.

    Penalties, for example, are tested with the help of `logit_bias`, a named tool needs `tools`, and where stop strings
    are ignored every pair of them with something else fails. Four cases: features that have no simpler rules than this
    one; else, if it did not pass, those that are in trouble by such rules of their own; else what the section is
    about; else those of which the simplest rules need the most others, which are often all.
    """
    needed = frozenset(outcome.features)
    guilty = needed & troubled if outcome.finding != "pass" else frozenset[str]()
    if found := _own(outcome, simplest) or guilty or needed & frozenset(outcome.topic):
        return found
    most = max(simplest[feature] for feature in needed)
    return frozenset(feature for feature in needed if simplest[feature] == most)


def _own(outcome: Outcome, simplest: Mapping[str, int]) -> frozenset[str]:
    """The features of *outcome* that no rule asks for with fewer others."""
    size = len(outcome.features)
    return frozenset(feature for feature in outcome.features if simplest.get(feature, size) == size)


def _proof(outcomes: Sequence[Outcome]) -> Proof:
    failed = tuple(outcome.rule for outcome in outcomes if outcome.finding == "fail")
    unclear = tuple(outcome.rule for outcome in outcomes if outcome.finding == "inconclusive")
    passed = len(outcomes) - len(failed) - len(unclear)
    state: ProofState = "failed" if failed else "inconclusive" if unclear else "proven" if passed else "untested"
    return Proof(state=state, passed=passed, failed=failed, inconclusive=unclear)

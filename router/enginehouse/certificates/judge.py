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

    *simplest* gives for each feature the number of features that its simplest rules need, see `about`.
    """
    general = _proof([outcome for outcome in outcomes if not outcome.features])
    proofs = {
        feature: _proof([outcome for outcome in outcomes if feature in about(outcome, simplest)])
        for feature in sorted(declared)
    }
    return general, proofs


def about(outcome: Outcome, simplest: Mapping[str, int]) -> frozenset[str]:
    """The features that *outcome* is evidence for or against: of those that the rule needs, some are only its means.

    Penalties, for example, are tested with the help of `logit_bias`, and a named tool needs `tools`. Three cases:
    features that have no simpler rules than this one; else what the section is about; else all of them.
    """
    size = len(outcome.features)
    own = frozenset(feature for feature in outcome.features if simplest.get(feature, size) == size)
    return own or frozenset(outcome.features) & frozenset(outcome.topic) or frozenset(outcome.features)


def _proof(outcomes: Sequence[Outcome]) -> Proof:
    failed = tuple(outcome.rule for outcome in outcomes if outcome.finding == "fail")
    unclear = tuple(outcome.rule for outcome in outcomes if outcome.finding == "inconclusive")
    passed = len(outcomes) - len(failed) - len(unclear)
    state: ProofState = "failed" if failed else "inconclusive" if unclear else "proven" if passed else "untested"
    return Proof(state=state, passed=passed, failed=failed, inconclusive=unclear)

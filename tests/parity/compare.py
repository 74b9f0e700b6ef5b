"""Whether two answers to the same request have the same meaning: a pure judgement, with its reasons.

Greedy answers agree token by token, or part where both engines hold the two tokens for nearly equal: rounding decides
there, and what follows cannot be compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import zip_longest

import msgspec
from tests.asking import Answer, Choice

from enginehouse_plugin import GenerationRequest, TokenLogprob

NEAR_TIE = 0.15
"""Two tokens are nearly equal below this difference of their logprobs."""
CLOSE = 0.05
"""Logprobs of a chosen token agree within this."""
CLOSE_BY = 0.1
"""Those of an alternative, which may be far down the list: rounding weighs more there."""
ENDS = (0, 2)
"""Ids of the tokens that end an answer."""


class Divergence(msgspec.Struct, frozen=True, kw_only=True):
    """Where two answers part: position, the two tokens (None: the answer ended), and the gap in each engine.

    A gap is the score of the engine's own token less that of the other's; None where its answer had ended or its
    alternatives do not hold the other's token.
    """

    position: int
    tokens: tuple[str | None, str | None]
    gaps: tuple[float | None, float | None]

    @property
    def is_near_tie(self) -> bool:
        """Rounding alone explains it."""
        ended = [token is None for token in self.tokens]
        told = [gap for gap, has_ended in zip(self.gaps, ended, strict=True) if not has_ended]
        return all(gap is not None and gap < NEAR_TIE for gap in told)


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What two answers have in common. `faults` is empty if they mean the same."""

    faults: tuple[str, ...]
    divergences: tuple[Divergence, ...]
    tokens: int
    """Positions compared: those where the chosen tokens are the same."""
    largest_difference: float
    """Of the logprobs of the chosen tokens, at these positions."""


def compare(request: GenerationRequest, one: Answer, other: Answer) -> Comparison:
    """Judge two answers to *request*, greedy and with alternatives (`top_logprobs`)."""
    faults: list[str] = []
    divergences: list[Divergence] = []
    tokens, largest = 0, 0.0
    for index, (first, second) in enumerate(zip(one.choices, other.choices, strict=True)):
        same = _same_tokens(first, second)
        tokens += same
        for left, right in zip(first.logprobs[:same], second.logprobs[:same], strict=True):
            largest = max(largest, abs(left.logprob - right.logprob))
            faults += _alternatives(left, right)
        divergence = _divergence(request, first, second, same)
        if divergence is None:
            faults += [f"choice {index}: {fault}" for fault in _whole(first, second)]
        else:
            divergences.append(divergence)
            if not divergence.is_near_tie:
                faults.append(f"choice {index}: they part without a near tie: {divergence}")
    if largest > CLOSE:
        faults.append(f"logprobs of a chosen token differ by {largest:.4f}")
    faults += _counts(one, other, is_whole=not divergences)
    return Comparison(faults=tuple(faults), divergences=tuple(divergences), tokens=tokens, largest_difference=largest)


def _same_tokens(one: Choice, other: Choice) -> int:
    """Length of the common beginning in tokens."""
    pairs = zip_longest(one.logprobs, other.logprobs)
    for position, (left, right) in enumerate(pairs):
        if left is None or right is None or left.token_id != right.token_id:
            return position
    return len(one.logprobs)


def _divergence(request: GenerationRequest, one: Choice, other: Choice, same: int) -> Divergence | None:
    left, right = (choice.logprobs[same] if same < len(choice.logprobs) else None for choice in (one, other))
    if left is None and right is None:
        return None
    said = Counter(token.token_id for token in one.logprobs[:same])
    return Divergence(
        position=same,
        tokens=(left.token if left else None, right.token if right else None),
        gaps=(_gap(request, left, right, said), _gap(request, right, left, said)),
    )


def _gap(
    request: GenerationRequest, own: TokenLogprob | None, other: TokenLogprob | None, said: Counter[int]
) -> float | None:
    """Score of *own* less that of *other* (None: the best of `ENDS`), as the engine of *own* has them."""
    if own is None:
        return None
    rivals = ENDS if other is None else (other.token_id,)
    scores = [
        top.logprob + _added(request, top.token_id, said[top.token_id]) for top in own.top if top.token_id in rivals
    ]
    return own.logprob + _added(request, own.token_id, said[own.token_id]) - max(scores) if scores else None


def _added(request: GenerationRequest, token_id: int, times: int) -> float:
    """What bias and penalties over the output add to a token that was said *times* times."""
    penalties = request.frequency_penalty * times + request.presence_penalty * (times > 0)
    return request.logit_bias.get(token_id, 0.0) - penalties


def _alternatives(one: TokenLogprob, other: TokenLogprob) -> list[str]:
    """Faults of the alternatives at a position where both engines chose the same token."""
    faults = []
    if (one.token, one.token_bytes) != (other.token, other.token_bytes):
        faults.append(f"token {one.token_id} is {one.token_bytes!r} here and {other.token_bytes!r} there")
    if len(one.top) != len(other.top):
        faults.append(f"{len(one.top)} alternatives of {one.token!r} here and {len(other.top)} there")
    for mine, theirs in ((one, other), (other, one)):
        known = {top.token_id: top.logprob for top in theirs.top}
        for top in mine.top:
            # Where one engine leaves a token out, it holds it for less likely than all that it names.
            there = known.get(top.token_id, min(known.values(), default=top.logprob))
            is_absent = top.token_id not in known
            if (top.logprob - there if is_absent else abs(top.logprob - there)) > CLOSE_BY:
                faults.append(f"alternative {top.token!r} of {one.token!r}: {top.logprob:.4f} and {there:.4f}")
    return faults


def _whole(one: Choice, other: Choice) -> list[str]:
    """Faults of two choices of the same tokens."""
    return [
        f"{name}: {left!r} and {right!r}"
        for name, left, right in (
            ("text", one.text, other.text),
            ("reasoning", one.reasoning, other.reasoning),
            ("tool calls", one.calls, other.calls),
            ("finish reason", one.reason, other.reason),
            ("matched stop", one.matched_stop, other.matched_stop),
        )
        if left != right
    ]


def _counts(one: Answer, other: Answer, *, is_whole: bool) -> list[str]:
    """Faults of the counts of tokens: of the prompt always, of the completion where the answers are the same."""
    counted: list[tuple[str, Sequence[int]]] = []
    for answer in (one, other):
        assert answer.started is not None
        assert answer.usage is not None
    assert one.usage is not None
    assert other.usage is not None
    assert one.started is not None
    assert other.started is not None
    counted = [
        ("prompt tokens", (one.usage.prompt_tokens, other.usage.prompt_tokens)),
        ("prompt tokens at the start", (one.started.prompt_tokens, other.started.prompt_tokens)),
    ]
    if is_whole:
        counted += [
            ("completion tokens", (one.usage.completion_tokens, other.usage.completion_tokens)),
            ("reasoning tokens", (one.usage.reasoning_tokens, other.usage.reasoning_tokens)),
        ]
    return [f"{name}: {left} and {right}" for name, (left, right) in counted if left != right]

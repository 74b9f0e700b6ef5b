"""[B] The greedy baseline: what the target says at temperature 0, asked three times.

A baseline that is not the same three times supports no verdict (`inconclusive`). Where two greedy answers differ,
the gap between the two likeliest tokens at the first difference tells whether that is a tie (engines break ties
differently from batch to batch) or a difference.
"""

from __future__ import annotations

import msgspec

from enginehouse_conformance.answer import Answer, TokenEntry
from enginehouse_conformance.context import Context
from enginehouse_conformance.targets import Body

STORY = "Tell me a long story about a lighthouse."

TIE_GAP = 0.15
"""Below this gap in logprob between the two likeliest tokens, greedy decoding is a matter of rounding."""


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """A stable greedy answer and the request that gave it."""

    body: Body
    answer: Answer

    @property
    def text(self) -> str:
        """Its content."""
        return self.answer.text


def greedy(ctx: Context, prompt: str | None = None, **fields: object) -> Body:
    """A request at temperature 0."""
    return ctx.body(prompt, temperature=0, **fields)


async def baseline(ctx: Context, prompt: str = STORY, **fields: object) -> Baseline:
    """The stable greedy answer to *prompt* with *fields* (32 tokens unless they say otherwise), shared by the run.

    Ends the check with `inconclusive` where three answers are not the same.
    """
    body = greedy(ctx, prompt, **{"max_tokens": 32, **fields})

    async def make() -> Baseline:
        answers = [await ctx.ask(body) for _ in range(3)]
        texts = {answer.text for answer in answers}
        if len(texts) > 1:
            ctx.unclear(f"the greedy baseline is unstable: {sorted(texts)!r}")
        return Baseline(body=body, answer=answers[0])

    found: Baseline = await ctx.shared.once(("baseline", msgspec.json.encode(body)), make)
    return found


async def require_same_greedy(
    ctx: Context, base: Baseline, other: str, what: str, *, told: Answer | None = None
) -> None:
    """Require that *other* is the baseline's content; *what* names where it came from.

    A difference that begins where the two likeliest tokens are within `TIE_GAP` is `inconclusive`. *told* is the
    baseline with its log probabilities, where asking for it now may say something else.
    """
    if other == base.text:
        return
    gap = await _gap_at_difference(ctx, base, other, told)
    if gap is not None and gap < TIE_GAP:
        ctx.unclear(f"{what} differs from the baseline where the two likeliest tokens are {gap:.3f} apart: a tie")
    ctx.fail(f"{what} to be the greedy answer {base.text!r}", other)


async def with_gaps(ctx: Context, base: Baseline) -> Answer | None:
    """The baseline with the two likeliest tokens at each position; None where they cannot be known."""
    if not ctx.has("logprobs") or not ctx.speaks("logprobs", "top_logprobs"):
        return None
    return await ctx.ask({**base.body, "logprobs": True, "top_logprobs": 2})


async def _gap_at_difference(ctx: Context, base: Baseline, other: str, told: Answer | None) -> float | None:
    """Gap of the two likeliest tokens where *other* leaves the baseline; None where it cannot be known."""
    answer = told or await with_gaps(ctx, base)
    if answer is None:
        return None
    if answer.text != base.text:
        return 0.0  # the baseline itself moved
    entry = _entry_at(answer.logprobs, _common_prefix(base.text, other))
    if entry is None or len(entry.top) < 2:
        return None
    return entry.top[0].logprob - entry.top[1].logprob


def _common_prefix(left: str, right: str) -> int:
    """Length in characters of what *left* and *right* begin with alike."""
    length = 0
    for a, b in zip(left, right, strict=False):
        if a != b:
            break
        length += 1
    return length


def _entry_at(entries: tuple[TokenEntry, ...], position: int) -> TokenEntry | None:
    """The entry whose text covers character *position*."""
    end = 0
    for entry in entries:
        end += len(entry.token)
        if position < end:
            return entry
    return None

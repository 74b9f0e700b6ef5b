"""[B] The greedy baseline: what the target says at temperature 0, asked three times.

A baseline that is not the same three times supports no verdict (`inconclusive`). Where two greedy answers differ,
how likely the token of each is at the first difference tells whether that is a tie (engines break ties differently from
batch to batch) or a difference. Near ties are everywhere in a flat model, and excuse only the tokens that have part.
"""

from __future__ import annotations

import msgspec

from enginehouse_conformance.answer import Alternative, Answer, TokenEntry
from enginehouse_conformance.context import Context
from enginehouse_conformance.targets import Body, Refused

STORY = "Tell me a long story about a lighthouse."

TIE_GAP = 0.15
"""Below this gap in logprob to the likeliest token, greedy decoding is a matter of rounding."""

_TOP = 20  # a flat model may have that many near ties


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

    A difference that begins with a token within `TIE_GAP` of the likeliest is `inconclusive`. *told* is the baseline
    with its log probabilities, where asking for it now may say something else.
    """
    if other == base.text:
        return
    gap = await _gap_at_difference(ctx, base, other, told)
    if gap is not None and gap < TIE_GAP:
        ctx.unclear(f"{what} differs from the baseline where the likeliest tokens are {gap:.3f} apart: a tie")
    ctx.fail(f"{what} to be the greedy answer {base.text!r}", other)


async def with_gaps(ctx: Context, base: Baseline) -> Answer | None:
    """The baseline with the likeliest tokens at each position; None where they cannot be known."""
    if not ctx.has("logprobs") or not ctx.speaks("logprobs", "top_logprobs"):
        return None
    body = {**base.body, "logprobs": True}
    try:
        return await ctx.ask({**body, "top_logprobs": min(_TOP, ctx.declared.limits.get("top_logprobs", _TOP))})
    except Refused:  # how many there may be is a matter of other rules
        return await ctx.ask({**body, "top_logprobs": 2})


async def _gap_at_difference(ctx: Context, base: Baseline, other: str, told: Answer | None) -> float | None:
    """How much less likely the token is with which *other* leaves the baseline; None where it cannot be known."""
    answer = told or await with_gaps(ctx, base)
    if answer is None:
        return None
    if answer.text != base.text:
        return 0.0  # the baseline itself moved
    begin, entry = entry_at_difference(base, answer, other)
    if entry is None or len(entry.top) < 2:
        return None
    likeliest, *others = entry.likeliest
    gaps = {each: likeliest.logprob - each.logprob for each in others}
    near = [each for each in others if gaps[each] < TIE_GAP]
    # Beside a schema or a bias raw values do not say what was likeliest, and a part of a character is no text.
    is_known = entry.token == likeliest.token and len(near) < len(others) and not any(map(_is_part, near))
    if not near or not is_known:
        return gaps[others[0]]
    return next((gaps[each] for each in near if _may_begin(other[begin:], each.token)), None)


def _is_part(token: Alternative) -> bool:
    return "\ufffd" in token.token


def _may_begin(rest: str, token: str) -> bool:
    """Whether *rest* of an answer may begin with *token*, or was cut within it; nothing with the end of a turn."""
    return not rest or (token != "" and (rest.startswith(token) or token.startswith(rest)))


def _common_prefix(left: str, right: str) -> int:
    """Length in characters of what *left* and *right* begin with alike."""
    length = 0
    for a, b in zip(left, right, strict=False):
        if a != b:
            break
        length += 1
    return length


def entry_at_difference(base: Baseline, told: Answer, other: str) -> tuple[int, TokenEntry | None]:
    """The entry of *told*, the baseline, where *other* leaves it, and the character where that entry begins."""
    position, end = _common_prefix(base.text, other), 0
    for entry in told.logprobs:
        begin, end = end, end + len(entry.token)
        if position < end:
            return begin, entry
    return end, None

"""What reaches the model: whether two requests are the same prompt to it, and whether a text is read to its ends.

Two prompts are told apart by their tokens, or by what is likely to come first.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

from enginehouse_conformance.answer import Answer
from enginehouse_conformance.context import Context
from enginehouse_conformance.targets import Body, NoRoom, Refused

_TOP = 5
_TOKENS = 8
_SAME = 1e-3
_NOISE = 0.05

PAD = " \n" * 6
"""Blanks that no vocabulary holds as one token, also where a template has a line end beside them."""


async def ask_with_room(ctx: Context, body: Body, context_tokens: int | None, what: str) -> Answer:
    """The answer to *body*, which holds *what*.

    Ends the check with `inconclusive` where the context has no room for that and nothing tells its *context_tokens*.
    """
    try:
        return await ctx.ask(body)
    except NoRoom:
        raise
    except Refused as exc:
        if context_tokens is not None or not exc.refusal.is_of_context:
            raise
        ctx.unclear(f"the context has no room for {what}, and nothing declares how many tokens it has")


async def are_apart(ctx: Context, left: Body, right: Body, *, by_values: bool = False) -> bool:
    """Whether *left* and *right* are two prompts to the model: they differ in tokens, or in the first token's values.

    *by_values* leaves out how many tokens they have: for a server that counts what it does not read.
    Ends the check with `inconclusive` where nothing tells them apart that is sure to: without log probabilities the
    answers may be the same all the same, and with them the same prompt may give values that differ.
    """
    has_values = ctx.has("logprobs") and ctx.speaks("logprobs", "top_logprobs")
    fields: Body = {"temperature": 0, "max_tokens": 1 if has_values else _TOKENS}
    if has_values:
        top = min(_TOP, ctx.declared.limits.get("top_logprobs", _TOP))
        fields |= {"logprobs": True, "top_logprobs": top}
    first = await ctx.ask({**left, **fields})
    can_ban = "eos_ids" in ctx.hooks.names and ctx.has("logit_bias") and ctx.speaks("logit_bias")
    if has_values and not first.first.logprobs and can_ban:  # the answer ended at once, and no value is told of that
        fields["logit_bias"] = {str(token): -100 for token in await ctx.hooks.eos_ids()}
        first = await ctx.ask({**left, **fields})
    again, other = [await ctx.ask({**body, **fields}) for body in (left, right)]
    if first.prompt_tokens != other.prompt_tokens and not by_values:
        return True
    if not has_values:
        if first.text == other.text or first.text != again.text:
            ctx.unclear("the two prompts have as many tokens, and without log probabilities nothing tells them apart")
        return True
    noise, distance = _distance(ctx, first, again), _distance(ctx, first, other)
    if distance > max(_SAME, (2 if noise <= _NOISE else 3) * noise):
        return True
    if noise > _NOISE:
        ctx.unclear(f"the same prompt gives values {noise:.3f} apart")
    return False


def _distance(ctx: Context, left: Answer, right: Answer) -> float:
    """How far apart the likeliest first tokens of two answers are: the largest difference of a logprob.

    Infinite where only one of them has a token: the other answer ended at once.
    """
    entries = [answer.first.logprobs for answer in (left, right)]
    if not (entries[0] or entries[1]):
        ctx.unclear("the first token has no log probability: nothing tells the prompts apart")
    values = [{other.token: other.logprob for other in told[0].top} for told in entries if told]
    shared = values[0].keys() & values[-1].keys() if len(values) == 2 else ()
    return max((abs(values[0][token] - values[1][token]) for token in shared), default=math.inf)


async def lost_ends(ctx: Context, count: Callable[[str], Awaitable[int]]) -> tuple[str, ...]:
    """At which ends of a text blanks do not reach the model, by what *count* says are the prompt's tokens with a text.

    Ends the check with `inconclusive` where they count in the middle of a text no more than at its ends.
    """
    plain = await count("one two")
    within = await count(f"one{PAD}two") - plain
    if within <= 1:
        ctx.unclear("the vocabulary has too few of the characters: blanks within a text are no tokens of their own")
    ends = {"beginning": f"{PAD}one two", "end": f"one two{PAD}"}
    return tuple([end for end, text in ends.items() if await count(text) - plain < within / 2])

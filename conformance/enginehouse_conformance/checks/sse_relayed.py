"""SSE, continued: what a relay does to a stream that reads it line by line, or block by block."""

from __future__ import annotations

from typing import Any

import msgspec

from enginehouse_conformance.answer import Answer, Refusal
from enginehouse_conformance.context import Context
from enginehouse_conformance.primitives import (
    TRIES,
    Baseline,
    comes_in_blocks,
    endless,
    greedy,
    named,
    never_complete,
    object_of,
    require_same_greedy,
    saying,
    tool,
)
from enginehouse_conformance.registry import check
from enginehouse_conformance.targets import Body

_BREAKS = ("\u2028", "\u2029", "\x85")
"""What ends a line for Python and others, and not in an event stream. The rest of it, JSON has to escape."""
_TOKENS = 160
_BLOCK_TOKENS = 600


def _said(answer: Answer) -> Any:
    """What a whole answer says: its call's arguments, or its content; None where that is no JSON."""
    choice = answer.first
    try:
        return msgspec.json.decode(choice.calls[0].arguments if choice.calls else choice.text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


async def _streams_what_it_says(ctx: Context, body: Body, value: str, what: str) -> bool:
    """Require that *what* is in a stream as it is in a JSON answer; False where that does not have it either."""
    for _ in range(TRIES):
        whole = await ctx.attempt(body)
        if isinstance(whole, Answer) and _said(whole) == {"v": value}:
            break
    else:
        return False
    for _ in range(TRIES):
        streamed = await ctx.stream(body)
        if _said(streamed) == {"v": value}:
            return True
        if streamed.finish != "length":
            said = streamed.first.calls[0].arguments if streamed.first.calls else streamed.text
            ctx.fail(f"{what} in a stream as in a JSON answer, {value!a}", ascii(said))
    raise never_complete(_TOKENS)


@check("SSE28")
async def a_line_of_text_is_no_line_of_the_stream(ctx: Context) -> None:
    value = "".join(f"{ctx.nonce(3)}{char}" for char in _BREAKS) + ctx.nonce(3)
    were_tried: list[bool] = []
    if ctx.has("json_schema") and ctx.speaks("response_format.json_schema"):
        body = ctx.body(response_format=saying(value), max_tokens=_TOKENS)
        were_tried.append(await _streams_what_it_says(ctx, body, value, "a text"))
    if ctx.has("tools", "tool_choice_named") and ctx.speaks("tools", "tool_choice.named"):
        name = f"t_{ctx.nonce()}"
        given = tool(name, object_of(v={"type": "string", "enum": [value]}))
        body = ctx.body(tools=[given], tool_choice=named(name), max_tokens=_TOKENS)
        were_tried.append(await _streams_what_it_says(ctx, body, value, "arguments of a call"))
    if any(were_tried):
        return
    body = greedy(ctx, f"Repeat this and say nothing else: {value}", max_tokens=_TOKENS)
    whole = await ctx.attempt(body)
    if isinstance(whole, Refusal) or not any(char in whole.text for char in _BREAKS):
        ctx.unclear("what the rule needs cannot be tried: nothing makes the model say such a character")
    streamed = await ctx.stream(body)
    await require_same_greedy(ctx, Baseline(body=body, answer=whole), streamed.text, "the streamed answer")


@check("SSE29", exclusive=True, time_limit_s=120)
async def no_event_waits_for_a_full_block(ctx: Context) -> None:
    tokens = min(_BLOCK_TOKENS, (ctx.declared.context_tokens or 2 * _BLOCK_TOKENS) // 2)
    body = ctx.body(max_tokens=tokens, **await endless(ctx))
    seen = ""
    for _ in range(TRIES):  # a busy machine makes pauses, too, and not each time
        came = [delta.at_s for delta in (await ctx.stream(body)).deltas if delta.text]
        blocks = comes_in_blocks(came)
        if blocks is None:
            return
        seen = f"{TRIES} times most of the time in such pauses, at last {blocks}"
    ctx.fail("events as they are made, and no long pauses with a dozen events at once after each", seen)

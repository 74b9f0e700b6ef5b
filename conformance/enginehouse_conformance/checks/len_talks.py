"""LEN, continued: talks of many messages."""

from __future__ import annotations

import math

from enginehouse_conformance.answer import Refusal
from enginehouse_conformance.context import Context
from enginehouse_conformance.primitives import ask_with_room, tool
from enginehouse_conformance.registry import check
from enginehouse_conformance.targets import Body

from .len import MAX_GUESSED_CONTEXT, context_tokens

_UNIT = " stone"
_TURN_UNITS = 60


def _talk(ctx: Context, kind: str, turns: int) -> Body:
    """A talk of so many *turns*, each of which ends with an answer, or a tool's result, of some sixty tokens."""
    text = _UNIT * _TURN_UNITS
    messages: list[Body] = [{"role": "system", "content": "You are a mason."}] if kind == "a system message" else []
    for turn in range(turns):
        messages.append({"role": "user", "content": f"Stones of wall {turn}?"})
        if kind != "results of tools":
            messages.append({"role": "assistant", "content": text})
            continue
        call = {"id": f"call_{turn}", "type": "function", "function": {"name": "look", "arguments": "{}"}}
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": f"call_{turn}", "content": text})
    fields: Body = {"tools": [tool("look")], "tool_choice": "none"} if kind == "results of tools" else {}
    return ctx.body(messages=[*messages, {"role": "user", "content": "And in all?"}], max_tokens=1, **fields)


@check("LEN21")
async def a_talk_over_the_context_is_refused(ctx: Context) -> None:
    context = await context_tokens(ctx)
    sizes = [1024 * 2**power for power in range(6)] if context is None else [context + context // 16 + 64]
    has_tools = ctx.has("tools") and ctx.speaks("tools", "role.tool")
    for kind in ("turns", "a system message", *(["results of tools"] if has_tools else [])):
        talks = [_talk(ctx, kind, turns) for turns in (1, 2)]
        few, more = [(await ask_with_room(ctx, talk, context, "two turns")).prompt_tokens for talk in talks]
        ctx.require(more > few, "more prompt_tokens for a longer talk", (few, more))
        for tokens in sizes:
            what = f"a talk of about {tokens} tokens in many messages, with {kind},"
            answer = await ctx.attempt(_talk(ctx, kind, 1 + math.ceil((tokens - few) / (more - few))))
            if isinstance(answer, Refusal):
                ctx.equal(answer.status, 400, f"status for {what}")
                sizes = [tokens]
                break
            read = f"{what} refused with 400, or read whole"
            ctx.require(answer.prompt_tokens > 0.95 * tokens, read, f"200 with {answer.prompt_tokens} prompt_tokens")
        else:
            ctx.require(context is None, f"400 for a talk over the context of {context}, with {kind}", "200")
            ctx.unclear(f"the context is not declared, and over {MAX_GUESSED_CONTEXT} tokens")

"""MSG, CMP: blanks at the ends of a text, and arguments of the history, which a server between may tidy up.

A chat template may trim what it shows, as those of Llama 3 and Gemma do: a text that loses its ends says nothing of the
server by itself. What tells are forms of one text that the same template shows.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from enginehouse_conformance.context import Context
from enginehouse_conformance.endpoints.caller import Caller
from enginehouse_conformance.primitives import are_apart, lost_ends, tool
from enginehouse_conformance.registry import check
from enginehouse_conformance.targets import Body

_NO_DOUBLE = 2**59  # doubles are 128 apart from here on
_INTEGERS = 12
_TOOLS: Body = {"tools": [tool("look")], "tool_choice": "none"}  # not all take calls of the history without tools


def _user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def _after_a_call(arguments: str, result: Any) -> list[dict[str, Any]]:
    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": arguments}}
    return [
        _user("Look at the sea."),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": result},
    ]


def _talk(role: str, content: Any) -> list[dict[str, Any]]:
    """A talk in which the message of *role* is *content*."""
    if role == "tool":
        return _after_a_call("{}", content)
    return [{"role": "system", "content": content}, _user("Go on.")] if role == "system" else [_user(content)]


async def _lost(ctx: Context, role: str, *, as_part: bool) -> tuple[str, ...]:
    """The ends of a message of *role* that do not reach the model, found once a run."""

    async def count(text: str) -> int:
        content = [{"type": "text", "text": text}] if as_part else text
        fields = _TOOLS if role == "tool" else {}
        return (await ctx.ask(ctx.body(messages=_talk(role, content), max_tokens=1, **fields))).prompt_tokens

    found: tuple[str, ...] = await ctx.shared.once(("lost ends", role, as_part), partial(lost_ends, ctx, count))
    return found


@check("MSG37")
async def a_string_is_read_to_its_ends_where_a_part_is(ctx: Context) -> None:
    for role in ("system", "user"):
        lost = await _lost(ctx, role, as_part=False)
        if not lost:
            continue
        of_string = set(lost) - set(await _lost(ctx, role, as_part=True))
        ends = " and ".join(sorted(of_string))
        wanted = f"blanks at the {ends} of a message of role {role} in the prompt, as where it is one text part"
        ctx.require(not of_string, wanted, "none of them, so that it is not the model's template that trims")
        ctx.note(f"blanks at the {' and '.join(lost)} of a message of role {role} reach the model in no form (MSG38)")


@check("MSG38")
async def messages_are_read_to_their_ends(ctx: Context) -> None:
    if ctx.declared.template_trims is True:
        ctx.not_in_scope("the model's template trims messages, as is declared")
    has_results = ctx.has("tools") and ctx.speaks("tools", "role.tool")
    roles = ("system", "user", "tool") if has_results else ("system", "user")
    lost = [
        f"the {' and '.join(ends)} of a message of role {role}, {'as a text part' if as_part else 'as a string'}"
        for as_part in ((False, True) if ctx.speaks("content.parts") else (False,))
        for role in roles
        if (ends := await _lost(ctx, role, as_part=as_part))
    ]
    trims = "the server trims, or the model's own template does (then declare `template_trims = true`)"
    ctx.require(not lost, "blanks at both ends of each message in the prompt", f"none at {'; '.join(lost)}: {trims}")


@check("MSG39")
async def arguments_of_the_history_stay_as_they_are(ctx: Context) -> None:
    def with_call(arguments: str) -> Body:
        return ctx.body(messages=_after_a_call(arguments, "It is calm."), **_TOOLS)

    async def is_told(one: str, other: str) -> bool:
        return await are_apart(ctx, with_call(one), with_call(other))

    # Integers of which a double holds both as one.
    digits = [json.dumps({"v": [_NO_DOUBLE + 7 * step + at for at in range(_INTEGERS)]}) for step in range(2)]
    orders = ['{"zeta": "sea", "alpha": "sky"}', '{"alpha": "sky", "zeta": "sea"}']
    pairs = {"keys in another order": orders, "other last digits of large integers": digits}
    untold = {what: pair for what, pair in pairs.items() if not await is_told(*pair)}
    # The same characters within a string are nobody's to write anew: what a model does not tell apart there, it cannot.
    lost = [what for what, pair in untold.items() if await is_told(*(json.dumps({"v": one}) for one in pair))]
    ctx.require(not lost, f"another prompt with {' and with '.join(pairs)}", f"the same with {lost}")
    if untold:
        ctx.unclear(f"what the rule needs cannot be tried: the first token depends on {' and '.join(untold)} nowhere")


@check("CMP47")
async def a_prompt_is_read_to_its_ends(ctx: Context) -> None:
    caller = Caller(ctx)

    async def count(text: str) -> int:
        return (await caller.ask(caller.body(text, max_tokens=1))).prompt_tokens

    lost = await lost_ends(ctx, count)
    wanted = "more prompt_tokens with blanks at the ends of a prompt, which no template shows"
    ctx.require(not lost, wanted, f"no more with those at its {' and '.join(lost)}")

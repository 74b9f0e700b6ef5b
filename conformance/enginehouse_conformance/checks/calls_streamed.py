"""TOOL: the arguments of streamed calls, whose pieces make up what the whole answer has."""

from __future__ import annotations

from typing import Any

import msgspec

from enginehouse_conformance.answer import Answer, Call
from enginehouse_conformance.context import Context
from enginehouse_conformance.primitives import TRIES, decoded, named, object_of, tool
from enginehouse_conformance.registry import check
from enginehouse_conformance.targets import Body

_LONG_CHARACTERS = 120
_TOKENS = 256


def _given(ctx: Context) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """A tool whose arguments are long, of several types and end with two braces: its name, their value, the tool."""
    value, word, number = ctx.nonce(_LONG_CHARACTERS), ctx.nonce(), ctx.random.randrange(1000, 9999)
    kinds = {"word": {"type": "string", "enum": [word]}, "number": {"type": "integer", "enum": [number]}}
    parameters = object_of(v={"type": "string", "enum": [value]}, inner=object_of(**kinds))
    name = f"t_{ctx.nonce()}"
    return name, {"v": value, "inner": {"word": word, "number": number}}, tool(name, parameters)


def _forced(ctx: Context, name: str) -> dict[str, Body]:
    """The choices that make a call of *name* certain, as far as the target has them."""
    can_be_told = ctx.has("parallel_tool_calls") and ctx.speaks("parallel_tool_calls")
    choices: dict[str, Body] = {
        "named": {"tool_choice": named(name)},
        "required": {"tool_choice": "required", **({"parallel_tool_calls": False} if can_be_told else {})},
    }
    return {
        what: fields
        for what, fields in choices.items()
        if ctx.has(f"tool_choice_{what}") and ctx.speaks(f"tool_choice.{what}")
    }


def _require_end(ctx: Context, streamed: Answer) -> None:
    """Require that no arguments come after the finish_reason of their choice."""
    ended: set[int] = set()
    for delta in streamed.deltas:
        late = [piece.arguments for piece in delta.calls if piece.arguments]
        ctx.require(not (late and delta.choice in ended), "no arguments after the finish_reason", late)
        if delta.finish is not None:
            ended.add(delta.choice)


@check("TOOL29")
async def streamed_arguments_are_whole(ctx: Context) -> None:
    name, expected, given = _given(ctx)
    usage = {"stream_options": {"include_usage": True}} if ctx.speaks("stream_options") else {}
    judged, forced = 0, _forced(ctx, name)
    for (what, choice), options in zip(forced.items(), ({}, usage), strict=False):
        body = ctx.body(tools=[given], max_tokens=_TOKENS, **choice)
        for answer in (await ctx.stream({**body, **options}), await ctx.ask(body)):
            _require_end(ctx, answer)
            is_cut = answer.finish == "length"
            kind = f"{'streamed ' if answer.deltas else ''}{what} call"
            ctx.require(answer.calls or is_cut, f"a {kind}", f"none, but the content {answer.text!r}")
            complete = answer.calls[:-1] if is_cut else answer.calls
            for call in complete:
                ctx.equal(decoded(ctx, call.arguments), expected, f"the arguments of a {kind}")
            judged += bool(answer.deltas and complete)
    judged += await _judge_a_call_of_its_own(ctx, name, given)
    if not judged and not forced:
        ctx.not_in_scope("no tool_choice forces a call, and the model makes none by itself")
    if not judged:
        ctx.unclear(f"no call was complete within {_TOKENS} tokens")


async def _judge_a_call_of_its_own(ctx: Context, name: str, given: dict[str, Any]) -> bool:
    """Whether the model calls where it is only begged to; its streamed arguments are then judged by the whole ones.

    Nothing holds such arguments to the tool's schema, so that the two are compared in kind, and a difference counts
    where it comes each time: what is greedy may still be a tie.
    """
    begging = f"You must call the tool {name} now. Call {name}. Do not answer in words."
    body = ctx.body(begging, tools=[given], tool_choice="auto", temperature=0, max_tokens=_TOKENS)
    unlike = 0
    while True:
        whole = await ctx.ask(body)
        if whole.finish == "length" or not whole.calls or _kind_of(whole.calls[0]) is None:
            return False
        streamed = await ctx.stream(body)
        _require_end(ctx, streamed)
        if streamed.finish == "length":
            return False
        if [_kind_of(call) for call in streamed.calls] == [_kind_of(call) for call in whole.calls]:
            return True
        unlike += 1
        wanted = f"streamed calls whose arguments are like {whole.calls[0].arguments!r}, those of the answer"
        ctx.require(unlike < TRIES, wanted, [call.arguments for call in streamed.calls])


def _kind_of(call: Call) -> Any:
    """The keys of the arguments with their values' types, as deep as objects go; None where they are no JSON."""
    try:
        return _kind(msgspec.json.decode(call.arguments))
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def _kind(value: Any) -> Any:
    return {key: _kind(inner) for key, inner in value.items()} if isinstance(value, dict) else type(value).__name__

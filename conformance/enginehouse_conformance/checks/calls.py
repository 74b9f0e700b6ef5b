"""TOOL: what a call keeps of the tool that was given, and what the model is told of tools and calls."""

from __future__ import annotations

from typing import Any

from enginehouse_conformance.answer import Answer
from enginehouse_conformance.context import Context
from enginehouse_conformance.primitives import arrives_as_made, decoded, named, object_of, tool
from enginehouse_conformance.registry import check
from enginehouse_conformance.targets import Body

from .texts import TEXT

_TOKENS = 200
_LONGEST_NAME = 64
_LONG_CHARACTERS = 400
_SENTENCE = "It looks up how many ships pass the lighthouse at night. "


async def _both(ctx: Context, body: Body) -> list[Answer]:
    """The JSON answer to *body*, and the streamed one where there are streams."""
    can_stream = ctx.has("streaming") and ctx.speaks("stream")
    return [await ctx.ask(body), *([await ctx.stream(body)] if can_stream else [])]


def _require_calls(ctx: Context, answer: Answer, name: str) -> None:
    if not answer.calls and answer.finish == "length" and not answer.text.strip():
        ctx.unclear("the answer was cut short before the call began")
    kind = "streamed " if answer.deltas else ""
    ctx.equal([call.name for call in answer.calls], [name], f"the names of the {kind}calls")


@check("TOOL24")
async def a_name_comes_back_as_it_was_given(ctx: Context) -> None:
    nonce = ctx.nonce()
    for name in (f"2-Get_{nonce}-Now", f"{nonce}-{ctx.nonce(_LONGEST_NAME)}"[:_LONGEST_NAME]):
        body = ctx.body(tools=[tool(name, object_of())], tool_choice=named(name), max_tokens=_TOKENS)
        for answer in await _both(ctx, body):
            _require_calls(ctx, answer, name)


@check("TOOL25")
async def arguments_keep_their_text(ctx: Context) -> None:
    name, value = f"t_{ctx.nonce()}", TEXT + ctx.nonce(4)
    given = tool(name, object_of(v={"type": "string", "enum": [value]}))
    for answer in await _both(ctx, ctx.body(tools=[given], tool_choice=named(name), max_tokens=_TOKENS)):
        _require_calls(ctx, answer, name)
        if answer.finish == "length":
            ctx.unclear("the call was cut short before it was complete")
        kind = "streamed " if answer.deltas else ""
        ctx.equal(decoded(ctx, answer.calls[0].arguments), {"v": value}, f"the {kind}arguments")


@check("TOOL26")
async def the_model_is_told_of_each_tool(ctx: Context) -> None:
    first, second = f"t_{ctx.nonce()}", f"t_{ctx.nonce()}"

    def parameters(description: str) -> dict[str, Any]:
        return object_of(v={"type": "string", "description": description})

    grown = {
        "one tool": [tool(first, parameters("A word."))],
        "a longer description of it": [tool(first, parameters("A word."), _SENTENCE * 2)],
        "a longer description of its parameter": [tool(first, parameters(_SENTENCE * 2), _SENTENCE * 2)],
        "a second tool": [
            tool(first, parameters(_SENTENCE * 2), _SENTENCE * 2), tool(second, parameters("A word."), _SENTENCE),
        ],
    }  # fmt: skip
    topic, before = ctx.topic(), 0
    for what, tools in grown.items():
        count = (await ctx.ask(ctx.body(topic, tools=tools, tool_choice="auto", max_tokens=1))).prompt_tokens
        ctx.require(count > before, f"more than {before} prompt_tokens with {what}", count)
        before = count


@check("TOOL27")
async def a_history_of_calls_needs_no_tools(ctx: Context) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "Look at the sea."},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "It is calm."},
        {"role": "user", "content": ctx.topic()},
    ]
    await ctx.ask(ctx.body(messages=messages, max_tokens=4))


@check("TOOL28")
async def each_call_has_arguments_of_its_own_tool(ctx: Context) -> None:
    values = {f"t_{ctx.nonce()}": ctx.nonce() for _ in range(2)}
    tools = [tool(name, object_of(v={"type": "string", "enum": [value]})) for name, value in values.items()]
    prompt = f"{ctx.topic()} Call both {' and '.join(values)}."
    body = ctx.body(prompt, tools=tools, tool_choice="required", max_tokens=_TOKENS)
    for answer in await _both(ctx, body):
        # A model that finds no end calls until it is cut short: the last call is then not judged.
        complete = answer.calls[:-1] if answer.finish == "length" else answer.calls
        if not complete:
            ctx.unclear("the first call was cut short before it was complete")
        for call in complete:
            ctx.require(call.name in values, f"calls of {list(values)}", call.name)
            ctx.equal(decoded(ctx, call.arguments), {"v": values[call.name or ""]}, f"the arguments of {call.name}")


@check("SSE24", exclusive=True)
async def arguments_arrive_while_they_are_made(ctx: Context) -> None:
    name = f"t_{ctx.nonce()}"
    given = tool(name, object_of(v={"type": "string", "enum": [ctx.nonce(_LONG_CHARACTERS)]}))
    options = {"stream_options": {"include_usage": True}} if ctx.speaks("stream_options") else {}
    body = ctx.body(tools=[given], tool_choice=named(name), max_tokens=2 * _LONG_CHARACTERS, **options)
    for fields in ({}, {"stream_options": None}) if options else ({},):
        await arrives_as_made(ctx, {**body, **fields}, "arguments", lambda delta: any(p.arguments for p in delta.calls))

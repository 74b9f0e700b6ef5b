"""TOOL: tools and tool calls. Names and arguments are nonces, so that a right call is none by luck."""

from __future__ import annotations

import re
from typing import Any

from enginehouse_conformance.answer import Answer, Call, Refusal
from enginehouse_conformance.context import Context
from enginehouse_conformance.primitives import (
    TRIES,
    are_apart,
    begins_json,
    decoded,
    ids_of,
    named,
    nonce_tool,
    object_of,
    tool,
)
from enginehouse_conformance.registry import check
from enginehouse_conformance.targets import Body
from enginehouse_conformance.verdicts import Unclear

_TOKENS = 128
_LONG = 120
_NO_FLOAT = 2**53 + 1
_HEATS_TO_CALL_AGAIN = (0, 0.5, 1, 2) * 8
_STREAMS = 12  # tried until one has a second call: without seeds that is chance
_MANY = 64
_MARKERS = re.compile(
    r"</?tool_calls?>|<\|tool_calls?|<\|python_tag\|>|\[/?TOOL_CALLS?\]|</?function[=_ >]|functools\[|"
    "<\uff5ctool|\u273fFUNCTION\u273f"  # DeepSeek, Qwen 2
)
_ORDERS = (("call_a", "call_b"), ("call_b", "call_a"))
_BAD_NAMES = ("two words", "a.b", "näme", "", "x" * 65)


def _begging(name: str, value: str) -> str:
    """A prompt that begs for a call of the tool *name*."""
    return f'You must call the tool {name} now with the argument v = "{value}". Call {name}. Do not answer in words.'


def _one_call(ctx: Context) -> dict[str, Any]:
    """Fields that keep a target from calling again and again, as far as it can be told."""
    can_be_told = ctx.has("parallel_tool_calls") and ctx.speaks("parallel_tool_calls")
    return {"parallel_tool_calls": False} if can_be_told else {}


def _called(ctx: Context, answer: Answer) -> tuple[Call, ...]:
    """The calls; fails where there are none, unless the answer was cut short before it said anything."""
    if not answer.calls and answer.finish == "length" and not answer.text.strip():
        ctx.unclear("the answer was cut short before the call began")
    ctx.require(answer.calls, "a call", f"none, but the content {answer.text!r}")
    return answer.calls


def _arguments(ctx: Context, answer: Answer) -> Any:
    """The arguments of the first call as JSON; no verdict where they were cut short."""
    call = _called(ctx, answer)[0]
    if answer.finish == "length":
        ctx.require(begins_json(call.arguments), "cut arguments that begin as JSON", call.arguments)
        ctx.unclear("the call was cut short before it was complete")
    return decoded(ctx, call.arguments)


async def _named_call(ctx: Context, **fields: object) -> tuple[str, str, Answer]:
    """A forced call of a nonce tool: its name, the value of its argument `v`, and the answer."""
    name, value, given = nonce_tool(ctx)
    body = ctx.body(**{"tools": [given], "tool_choice": named(name), "max_tokens": _TOKENS, **fields})
    return name, value, await (ctx.stream(body) if fields.get("stream") else ctx.ask(body))


@check("TOOL1")
async def none_is_no_call(ctx: Context) -> None:
    name, value, given = nonce_tool(ctx)
    body = ctx.body(_begging(name, value), tools=[given], tool_choice="none", max_tokens=32)
    answers = [await ctx.ask(body)]
    if ctx.has("streaming") and ctx.speaks("stream"):
        answers.append(await ctx.stream(body))
    for answer in answers:
        ctx.require(not answer.calls, "no call", answer.calls)
        ctx.require(answer.finish != "tool_calls", "a finish_reason that is not tool_calls", answer.finish)


@check("TOOL2")
async def required_is_a_call(ctx: Context) -> None:
    tools = [nonce_tool(ctx)[2] for _ in range(2)]
    names = [given["function"]["name"] for given in tools]
    answer = await ctx.ask(ctx.body(tools=tools, tool_choice="required", max_tokens=_TOKENS, **_one_call(ctx)))
    called = [call.name for call in _called(ctx, answer)]
    ctx.require(set(called) <= set(names), f"calls of {names}", called)


@check("TOOL3")
async def the_named_tool_is_called(ctx: Context) -> None:
    begged, value, first = nonce_tool(ctx)
    other, _, second = nonce_tool(ctx)
    # Where a choice of one's own may chance to be the named one, the same greedy one is not both.
    for tools in ([first, second], [second, first]):
        for wanted in (other, begged):
            fields: Body = {"tool_choice": named(wanted), "max_tokens": _TOKENS, "temperature": 0}
            answer = await ctx.ask(ctx.body(_begging(begged, value), tools=tools, **fields))
            called = [call.name for call in _called(ctx, answer)]
            ctx.require(set(called) == {wanted}, f"a call of {wanted}", called)


@check("TOOL4")
async def arguments_satisfy_the_parameters(ctx: Context) -> None:
    _, value, answer = await _named_call(ctx)
    ctx.equal(_arguments(ctx, answer), {"v": value}, "the arguments")


@check("TOOL5")
async def calls_have_ids_of_their_own(ctx: Context) -> None:
    name, _, given = nonce_tool(ctx)
    body = ctx.body(tools=[given], tool_choice=named(name), max_tokens=_TOKENS)
    calls = [call for _ in range(2) for call in _called(ctx, await ctx.ask(body))]
    if ctx.has("streaming") and ctx.speaks("stream"):
        calls += _called(ctx, await ctx.stream(body))
    if ctx.has("tool_choice_required") and ctx.speaks("tool_choice.required"):
        tools = [nonce_tool(ctx)[2] for _ in range(2)]  # who may, calls both
        calls += _called(ctx, await ctx.ask(ctx.body(tools=tools, tool_choice="required", max_tokens=2 * _TOKENS)))
    ids = [call.id for call in calls]
    ctx.require(all(ids), "an id for each call", ids)
    ctx.require(len(set(ids)) == len(ids), "distinct ids", ids)
    ctx.require({call.type for call in calls} == {"function"}, 'the type "function"', calls)


@check("TOOL6")
async def the_reason_tool_calls_comes_with_calls(ctx: Context) -> None:
    name, value, given = nonce_tool(ctx)
    bodies: list[Body] = [
        ctx.body(_begging(name, value), tools=[given], tool_choice="auto", max_tokens=48),
        ctx.body("Say OK.", tools=[given], tool_choice="auto"),
        ctx.body(_begging(name, value), tools=[given], tool_choice="none"),
    ]
    for body in bodies:
        answer = await ctx.ask(body)
        says_so = answer.finish == "tool_calls"
        ctx.require(answer.calls or not says_so, "calls with finish_reason tool_calls", f"none, but {answer.text!r}")


@check("TOOL7")
async def a_forced_call_ends_with_tool_calls(ctx: Context) -> None:
    _, _, given = nonce_tool(ctx)
    body = ctx.body(tools=[given], tool_choice="required", max_tokens=2 * _TOKENS, **_one_call(ctx))
    answers = [await ctx.ask(body)]
    if ctx.has("streaming") and ctx.speaks("stream"):
        answers.append(await ctx.stream(body))
    for answer in answers:
        _called(ctx, answer)
        if answer.finish == "length":
            ctx.unclear("the call was cut short")
        kind = "streamed " if answer.deltas else ""
        ctx.equal(answer.finish, "tool_calls", f"finish_reason of a {kind}required call")
    if ctx.has("tool_choice_named"):
        _, _, other = await _named_call(ctx)
        ctx.note(f"a named call ended with {other.finish}")


@check("TOOL8")
async def a_streamed_call_is_the_same_call(ctx: Context) -> None:
    name, value, given = nonce_tool(ctx)
    body = ctx.body(tools=[given], tool_choice=named(name), max_tokens=_TOKENS)
    for answer in (await ctx.ask(body), await ctx.stream(body)):
        ctx.equal(_arguments(ctx, answer), {"v": value}, "the arguments")
        ctx.equal([call.name for call in answer.calls], [name], "the names of the calls")
    pieces = [piece for delta in answer.deltas for piece in delta.calls]
    ctx.require(pieces[0].id and pieces[0].name, "id and name in the first piece", pieces[0])
    again = [piece for piece in pieces[1:] if piece.id or piece.name]
    ctx.require(not again, "id and name once", again)


@check("TOOL9")
async def a_cut_call_says_so(ctx: Context) -> None:
    arms: list[dict[str, object]] = [{}]
    if ctx.has("streaming") and ctx.speaks("stream"):
        arms.append({"stream": True})
    for fields in arms:
        given = tool(f"t_{ctx.nonce()}", object_of(v={"type": "string", "enum": [ctx.nonce(_LONG)]}))
        _, _, answer = await _named_call(
            ctx, tools=[given], tool_choice=named(given["function"]["name"]), max_tokens=8, **fields
        )
        ctx.equal(answer.finish, "length", f"the cut call {answer.calls!r} with {fields or 'no stream'}: finish_reason")


@check("TOOL10")
async def required_needs_tools(ctx: Context) -> None:
    await ctx.refused(ctx.body(tool_choice="required"))


@check("TOOL11")
async def a_tool_that_is_not_given_is_refused(ctx: Context) -> None:
    _, _, given = nonce_tool(ctx)
    await ctx.refused(ctx.body(tools=[given], tool_choice=named(f"t_{ctx.nonce()}")), "tool_choice")


@check("TOOL12")
async def an_unknown_choice_is_refused(ctx: Context) -> None:
    _, _, given = nonce_tool(ctx)
    for choice in (ctx.nonce(), {"type": ctx.nonce()}):
        await ctx.refused(ctx.body(tools=[given], tool_choice=choice), "tool_choice")


@check("TOOL13")
async def auto_is_accepted(ctx: Context) -> None:
    _, _, given = nonce_tool(ctx)
    for fields in ({"tool_choice": "auto"}, {}):
        answer = await ctx.ask(ctx.body(tools=[given], **fields))
        ctx.require(answer.finish is not None, "a whole answer", answer.first)


@check("TOOL14")
async def no_parameters_are_an_empty_object(ctx: Context) -> None:
    can_stream = ctx.has("streaming") and ctx.speaks("stream")
    for parameters in (None, object_of()):
        name = f"t_{ctx.nonce()}"
        asked: Body = {"tools": [tool(name, parameters)], "tool_choice": named(name)}
        for fields in ({}, {"stream": True}) if can_stream else ({},):
            _, _, answer = await _named_call(ctx, **asked, **fields)
            ctx.equal(_arguments(ctx, answer), {}, "the arguments of a tool without parameters")


@check("TOOL15")
async def a_call_replays_as_history(ctx: Context) -> None:
    prompt = ctx.topic()
    name, value, given = nonce_tool(ctx)
    tools = {"tools": [given], "tool_choice": named(name), "max_tokens": _TOKENS}
    answer = await ctx.ask(ctx.body(prompt, **tools))
    calls = _called(ctx, answer)
    message = answer.raw["choices"][0]["message"] if answer.raw else _message(calls)
    replies = [{"role": "tool", "tool_call_id": call.id, "content": value} for call in calls]
    history = [{"role": "user", "content": prompt}, message, *replies]
    after = await ctx.attempt({**ctx.body(tools=[given]), "messages": history})
    if isinstance(after, Refusal):
        if answer.finish == "length":
            ctx.unclear(f"the call was cut short before it was complete, and is refused as history: {after}")
        ctx.fail("the returned message to be accepted as history", str(after))
    ctx.require(after.finish is not None, "a whole answer", after.first)


def _message(calls: tuple[Call, ...]) -> dict[str, Any]:
    """The message that makes *calls*, where a target has no JSON of it."""
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in calls
        ],
    }


@check("TOOL16")
async def markers_stay_out_of_the_content(ctx: Context) -> None:
    arms: list[dict[str, object]] = [{}]
    if ctx.has("streaming") and ctx.speaks("stream"):
        arms.append({"stream": True})
    for fields in arms:
        name, value, answer = await _named_call(ctx, **fields)
        _called(ctx, answer)
        found = _MARKERS.search(answer.text)
        ctx.require(found is None, "no marker of a call in the content", answer.text)
        ctx.require(name not in answer.text and value not in answer.text, "no call in the content", answer.text)


async def _as_a_list(ctx: Context, fields: Body) -> Body:
    """The bias that makes a list of the calls, and goes on with it, where calls may be written as a list in JSON."""
    if not (ctx.has("logit_bias") and ctx.speaks("logit_bias")):
        return {}
    bias = {str(token): 100 for token in (await ids_of(ctx, "[,")).values()}
    return {"logit_bias": {**fields.get("logit_bias", {}), **bias}} if bias else {}


async def _calling_again(ctx: Context) -> Body:
    """A request that was answered with more than one call, shared by the run; no verdict where none is found."""

    async def find() -> Body:
        tools = [nonce_tool(ctx)[2] for _ in range(2)]
        names = " and ".join(given["function"]["name"] for given in tools)
        fields: Body = {"tools": tools, "tool_choice": "required", "max_tokens": 2 * _TOKENS}
        if "eos_ids" in ctx.hooks.names and ctx.has("logit_bias") and ctx.speaks("logit_bias"):
            fields["logit_bias"] = {str(token): -100 for token in await ctx.hooks.eos_ids()}  # who may go on, does
        prompt = f"{ctx.topic()} Call both {names}."
        lists = await _as_a_list(ctx, fields)
        has_seeds = ctx.has("seed") and ctx.speaks("seed")  # then who calls again does so each time
        for seed, heat in enumerate(_HEATS_TO_CALL_AGAIN):
            seeded = {"seed": seed} if has_seeds else {}
            body = ctx.body(prompt, temperature=min(heat, ctx.hottest), **seeded, **fields)
            for asked in (body, {**body, **lists}) if lists else (body,):
                if len((await ctx.ask(asked)).calls) > 1:
                    return asked
        raise Unclear("the model calls once also where it may call again: what several calls are like cannot be told")

    found: Body = await ctx.shared.once("calling again", find)
    return found


@check("TOOL17")
async def parallel_false_is_one_call(ctx: Context) -> None:
    # A model that calls once anyway says nothing: this one was seen to call again where that is allowed.
    body = {**await _calling_again(ctx), "parallel_tool_calls": False}
    has_streams = ctx.has("streaming") and ctx.speaks("stream")
    for _ in range(TRIES):
        for answer in [await ctx.ask(body), *([await ctx.stream(body)] if has_streams else [])]:
            kind = "streamed " if answer.deltas else ""
            ctx.require(len(_called(ctx, answer)) == 1, f"one {kind}call", answer.calls)


@check("TOOL18")
async def a_name_given_twice_is_refused(ctx: Context) -> None:
    given = tool(f"t_{ctx.nonce()}")
    await ctx.refused(ctx.body(tools=[given, given]))


@check("TOOL19")
async def many_tools_are_accepted(ctx: Context) -> None:
    tools = [tool(f"tool_{number}") for number in range(_MANY)]
    answer = await ctx.attempt(ctx.body(tools=tools, tool_choice="auto", max_tokens=1))
    if isinstance(answer, Refusal):
        if "context" in f"{answer.code}":
            ctx.unclear(f"{_MANY} tools do not fit into the context: {answer}")
        ctx.fail(f"{_MANY} tools to be accepted", str(answer))


@check("TOOL20")
async def a_bad_name_is_refused(ctx: Context) -> None:
    for name in _BAD_NAMES:
        await ctx.refused(ctx.body(tools=[tool(name)]))


def _two_results(name: str, *ids: str) -> list[dict[str, Any]]:
    """Messages with two calls, "call_a" and "call_b", and two results, always in this order, that answer *ids*."""
    calls = [
        {"id": call_id, "type": "function", "function": {"name": name, "arguments": f'{{"city":"{city}"}}'}}
        for call_id, city in (("call_a", "Bergen"), ("call_b", "Cairo"))
    ]
    results = zip(ids, ("Rain, 4 degrees.", "Sun, 35 degrees."), strict=True)
    return [
        {"role": "user", "content": "What is the weather in Bergen and in Cairo?"},
        {"role": "assistant", "content": None, "tool_calls": calls},
        *({"role": "tool", "tool_call_id": call_id, "content": result} for call_id, result in results),
    ]


@check("TOOL21")
async def results_belong_to_their_calls(ctx: Context) -> None:
    name = f"t_{ctx.nonce()}"
    body = ctx.body(tools=[tool(name, object_of(city={"type": "string"}))], tool_choice="none")
    straight, crossed = [{**body, "messages": _two_results(name, *ids)} for ids in _ORDERS]
    ctx.require(
        await are_apart(ctx, straight, crossed),
        "another prompt where the ids of two results are exchanged",
        "the same values of the first token",
    )


@check("TOOL22")
async def streamed_calls_have_indices_of_their_own(ctx: Context) -> None:
    body = await _calling_again(ctx)
    for _ in range(_STREAMS):
        ids: dict[int, set[str]] = {}
        for piece in (piece for delta in (await ctx.stream(body)).deltas for piece in delta.calls):
            ids.setdefault(piece.index, set()).update([piece.id] if piece.id else [])
        shared = {index: sorted(found) for index, found in ids.items() if len(found) > 1}
        ctx.require(not shared, "an index for each call", f"calls that share one: {shared}")
        ctx.equal(list(ids), list(range(len(ids))), "the indices of the calls, as they come,")
        if len(ids) > 1:
            return
    ctx.unclear(f"none of {_STREAMS} streams had a second call, as an answer without a stream had")


@check("TOOL23")
async def arguments_keep_their_types(ctx: Context) -> None:
    number = ctx.random.randrange(1000, 9999)
    inner = object_of(flag={"type": "boolean"}, number={"type": "integer", "enum": [number]})
    large = _NO_FLOAT + 2 * number
    kinds = {"word": {"type": "string", "enum": [str(number)]}, "large": {"type": "integer", "enum": [large]}}
    given = tool(f"t_{ctx.nonce()}", object_of(inner=inner, **kinds))
    body = ctx.body(tools=[given], tool_choice=named(given["function"]["name"]), max_tokens=_TOKENS)
    has_streams = ctx.has("streaming") and ctx.speaks("stream")
    for answer in [await ctx.ask(body), *([await ctx.stream(body)] if has_streams else [])]:
        arguments = _arguments(ctx, answer)
        inner_of = arguments.get("inner") if isinstance(arguments, dict) else None
        flag = inner_of.get("flag") if isinstance(inner_of, dict) else None
        ctx.require(isinstance(flag, bool), "`flag`, a boolean", arguments)
        expected = {"inner": {"flag": flag, "number": number}, "word": str(number), "large": large}
        ctx.equal(arguments, expected, "the arguments")

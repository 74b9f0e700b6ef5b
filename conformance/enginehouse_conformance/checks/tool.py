"""TOOL: tools and tool calls. Names and arguments are nonces, so that a right call is none by luck."""

from __future__ import annotations

import math
import re
from typing import Any

from enginehouse_conformance.answer import Answer, Call, Refusal
from enginehouse_conformance.context import Context
from enginehouse_conformance.primitives import begins_json, decoded, named, nonce_tool, object_of, tool
from enginehouse_conformance.registry import check
from enginehouse_conformance.targets import Body

_TOKENS = 128
_LONG = 120
_MANY = 64
_MARKERS = re.compile(
    r"</?tool_calls?>|<\|tool_calls?|<\|python_tag\|>|\[/?TOOL_CALLS?\]|</?function[=_ >]|functools\[|"
    "<\uff5ctool|\u273fFUNCTION\u273f"  # DeepSeek, Qwen 2
)
_SAME = 1e-3
_NOISE = 0.05
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
    answer = await ctx.ask(ctx.body(_begging(name, value), tools=[given], tool_choice="none", max_tokens=32))
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
    wanted, _, second = nonce_tool(ctx)
    for tools in ([first, second], [second, first]):
        body = ctx.body(_begging(begged, value), tools=tools, tool_choice=named(wanted), max_tokens=_TOKENS)
        called = [call.name for call in _called(ctx, await ctx.ask(body))]
        ctx.require(set(called) == {wanted}, f"a call of {wanted}", called)


@check("TOOL4")
async def arguments_satisfy_the_parameters(ctx: Context) -> None:
    _, value, answer = await _named_call(ctx)
    ctx.equal(_arguments(ctx, answer), {"v": value}, "the arguments")


@check("TOOL5")
async def calls_have_ids_of_their_own(ctx: Context) -> None:
    calls: list[Call] = []
    for _ in range(2):
        _, _, answer = await _named_call(ctx)
        calls += _called(ctx, answer)
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
    answer = await ctx.ask(body)
    _called(ctx, answer)
    if answer.finish == "length":
        ctx.unclear("the call was cut short")
    ctx.equal(answer.finish, "tool_calls", "finish_reason of a required call")
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
    for parameters in (None, object_of()):
        name = f"t_{ctx.nonce()}"
        _, _, answer = await _named_call(ctx, tools=[tool(name, parameters)], tool_choice=named(name))
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


@check("TOOL17")
async def parallel_false_is_one_call(ctx: Context) -> None:
    tools = [nonce_tool(ctx)[2] for _ in range(2)]
    names = " and ".join(given["function"]["name"] for given in tools)
    body = ctx.body(f"Call both {names} now.", tools=tools, tool_choice="required", max_tokens=2 * _TOKENS)
    answer = await ctx.ask({**body, "parallel_tool_calls": False})
    ctx.require(len(_called(ctx, answer)) == 1, "one call", answer.calls)


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


def _distance(ctx: Context, left: Answer, right: Answer) -> float:
    """How far apart the likeliest first tokens of two answers are: the largest difference of a logprob."""
    entries = [answer.first.logprobs for answer in (left, right)]
    if not (entries[0] and entries[1]):
        ctx.unclear("the first token has no log probability: nothing tells the prompts apart")
    values = [{other.token: other.logprob for other in told[0].top} for told in entries if told]
    shared = values[0].keys() & values[1].keys()
    return max((abs(values[0][token] - values[1][token]) for token in shared), default=math.inf)


@check("TOOL21")
async def results_belong_to_their_calls(ctx: Context) -> None:
    name = f"t_{ctx.nonce()}"
    fields = {"tools": [tool(name, object_of(city={"type": "string"}))], "tool_choice": "none", "temperature": 0}
    top = min(5, ctx.declared.limits.get("top_logprobs", 5))
    straight = ctx.body(
        messages=_two_results(name, "call_a", "call_b"), max_tokens=1, logprobs=True, top_logprobs=top, **fields
    )
    crossed = {**straight, "messages": _two_results(name, "call_b", "call_a")}
    first, again, other = await ctx.ask(straight), await ctx.ask(straight), await ctx.ask(crossed)
    noise, distance = _distance(ctx, first, again), _distance(ctx, first, other)
    if noise > _NOISE:
        ctx.unclear(f"the same prompt gives values {noise:.3f} apart")
    ctx.require(
        distance > max(_SAME, 2 * noise),
        "another prompt where the ids of two results are exchanged",
        f"the same values of the first token, {distance:.2g} apart at most",
    )

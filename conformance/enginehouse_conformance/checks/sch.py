"""SCH: schemas as the standard reads them.

What a schema demands is enforced or refused by name; what demands nothing costs nothing. A schema here leaves one
value, or so few that one which its keyword forbids would come where that keyword is not read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from enginehouse_conformance.answer import Refusal
from enginehouse_conformance.context import Context
from enginehouse_conformance.primitives import (
    begins_json,
    constrained,
    constrained_or_refused,
    decoded,
    is_whole_call,
    json_schema,
    named,
    never_complete,
    nonce_tool,
    object_of,
    poem,
    require_clear_refusal,
    tool,
)
from enginehouse_conformance.registry import check

_TOKENS = 128
_TRIES = 3
_LONG = 2010
_LONG_TOKENS = 1600
_WORDS = 16
_ITEMS = 5
_STEP = 997
_CLASSES = {
    "a": r"^[_a]{4}$",
    "b": r"^[\x2Dc]{4}$",
    "c": r"^\x5Fa\u002De$",
    "d": r"^[\]e]{4}$",
    "e": r"^[\\b]{4}$",
    "f": r"^[.*f]{4}$",
    "g": r"^[_\-z]{8}$",
}


class Demand(msgspec.Struct, frozen=True):
    """A schema, the keywords of which its refusal names one, and whether a value satisfies it."""

    schema: dict[str, Any]
    keywords: tuple[str, ...]
    holds: Callable[[Any], bool]


def _demands(ctx: Context) -> tuple[Demand, ...]:
    """Keywords that not every engine can enforce. Who does not read one gives another value nearly always."""
    words = [ctx.nonce(6) for _ in range(_WORDS)]
    chosen = ctx.random.choice(words)
    half = _WORDS // 2
    left, right = [{"enum": [chosen, *(w for w in part if w != chosen)]} for part in (words[:half], words[half:])]
    few = words[:_ITEMS]
    counts = {"minItems": _ITEMS, "maxItems": _ITEMS, "uniqueItems": True}
    one_key = {"minProperties": 1, "maxProperties": 1, "propertyNames": {"enum": [chosen]}}
    least = ctx.random.randrange(2**20, 2**30)
    return (
        Demand(
            {"type": "integer", "minimum": least, "maximum": least + _ITEMS},
            ("minimum", "maximum"),
            lambda v: v in range(least, least + _ITEMS + 1),
        ),
        Demand(
            {"type": "integer", "exclusiveMinimum": -least, "exclusiveMaximum": -least + _ITEMS},
            ("exclusiveMinimum", "exclusiveMaximum"),
            lambda v: v in range(-least + 1, -least + _ITEMS),
        ),
        Demand({"type": "string", "enum": words, "pattern": f"^{chosen[:4]}"}, ("pattern",), lambda v: v == chosen),
        Demand(
            {"type": "integer", "minimum": 1000, "maximum": 9999, "multipleOf": _STEP},
            ("multipleOf", "minimum", "maximum"),
            lambda v: v in range(_STEP * 2, 10_000, _STEP),
        ),
        Demand(
            {"type": "array", "items": {"type": "string", "enum": few}, **counts},
            ("uniqueItems",),
            lambda v: isinstance(v, list) and sorted(map(str, v)) == sorted(few),
        ),
        Demand({"allOf": [left, right]}, ("allOf",), lambda v: v == chosen),
        Demand(
            {"type": "object", "additionalProperties": {"enum": ["x"]}, **one_key},
            ("propertyNames", "minProperties", "maxProperties"),
            lambda v: v == {chosen: "x"},
        ),
    )


@check("SCH1")
async def what_describes_is_accepted(ctx: Context) -> None:
    word = ctx.nonce()
    notes = {"title": "T", "description": "D", "examples": ["e"], "deprecated": False, "$comment": "c"}
    inner = {"type": "string", "enum": [word], "default": word, "readOnly": False, **notes}
    ctx.equal(await constrained(ctx, {**object_of(v=inner), **notes}), {"v": word}, "the answer")


@check("SCH2")
async def what_nobody_knows_is_an_annotation(ctx: Context) -> None:
    word = ctx.nonce()
    unknown = {f"x-{ctx.nonce()}": 1, ctx.nonce(): {"type": "null"}, "markdownDescription": "*M*"}
    for extra in (unknown, {"format": "password"}, {"format": ctx.nonce()}):
        schema = object_of(v={"type": "string", "enum": [word], **extra})
        ctx.equal(await constrained(ctx, schema), {"v": word}, f"the answer beside {sorted(extra)}")


@check("SCH3")
async def a_schema_is_enforced_whole_or_refused(ctx: Context) -> None:
    for demand in _demands(ctx):
        value = await constrained_or_refused(ctx, object_of(v=demand.schema), *demand.keywords)
        if not isinstance(value, Refusal):
            _require_held(ctx, demand, value)


@check("SCH4")
async def a_strict_tool_is_enforced_whole_or_refused(ctx: Context) -> None:
    for demand in _demands(ctx):
        name = f"t_{ctx.nonce()}"
        given = tool(name, object_of(v=demand.schema))
        given["function"]["strict"] = True
        answer = await ctx.attempt(ctx.body(tools=[given], tool_choice=named(name), max_tokens=_TOKENS))
        if isinstance(answer, Refusal):
            require_clear_refusal(ctx, answer, *demand.keywords, field="tools")
            continue
        arguments = "".join(call.arguments for call in answer.calls[:1])
        if answer.finish == "length":
            ctx.require(begins_json(arguments), "cut arguments that begin as JSON", arguments)
            ctx.unclear("the call was cut short before it was complete")
        _require_held(ctx, demand, decoded(ctx, arguments))


def _require_held(ctx: Context, demand: Demand, value: Any) -> None:
    is_right = isinstance(value, dict) and value.keys() == {"v"} and demand.holds(value["v"])
    ctx.require(is_right, f"a value under {' and '.join(demand.keywords)}: {demand.schema}", value)


@check("SCH5")
async def an_odd_tool_costs_nothing(ctx: Context) -> None:
    letter, name = ctx.nonce(1), f"t_{ctx.nonce()}"
    value = f"{letter}{letter}{ctx.nonce()}"
    odd = tool(name, object_of(v={"type": "string", "enum": [value], "pattern": r"^([a-z])\1"}))  # no grammar says \1
    other, other_value, beside = nonce_tool(ctx)
    for tools, wanted, only in (
        ([odd], name, value),
        ([odd, beside], name, value),
        ([odd, beside], other, other_value),
    ):
        answer = await ctx.ask(ctx.body(tools=tools, tool_choice=named(wanted), max_tokens=_TOKENS))
        if not is_whole_call(ctx, answer.first, wanted, only):
            ctx.unclear("the call was cut short before it was complete")
    answer = await ctx.ask(ctx.body("Say OK.", tools=[odd, beside], tool_choice="auto"))
    ctx.require(answer.finish is not None, "a whole answer", answer.first)


@check("SCH6")
async def a_length_above_2000_is_held(ctx: Context) -> None:
    schema = object_of(v={"type": "string", "minLength": _LONG, "maxLength": _LONG})
    # Hot answers end nowhere in particular: one that may go on, does.
    value = await constrained_or_refused(ctx, schema, temperature=ctx.hottest, max_tokens=_LONG_TOKENS)
    if not isinstance(value, Refusal):
        text = value.get("v") if isinstance(value, dict) else None
        ctx.require(isinstance(text, str), "an object with the string v", value)
        ctx.equal(len(f"{text}"), _LONG, "characters of v")


@check("SCH7")
async def classes_hold_exactly(ctx: Context) -> None:
    schema = object_of(**{key: {"type": "string", "pattern": pattern} for key, pattern in _CLASSES.items()})
    value = await constrained_or_refused(ctx, schema, "pattern", temperature=ctx.hottest)
    if not isinstance(value, Refusal):
        ctx.require(isinstance(value, dict) and value.keys() == _CLASSES.keys(), f"the keys {list(_CLASSES)}", value)
        for key, pattern in _CLASSES.items():
            ctx.require(re.fullmatch(pattern[1:-1], str(value[key])), f"{key} as {pattern}", value[key])


@check("SCH8")
async def objects_are_open(ctx: Context) -> None:
    word, key = ctx.nonce(), ctx.nonce()
    silent = {"type": "object", "properties": {"a": {"type": "string", "enum": [word]}}, "required": ["a", key]}
    for schema in ({**silent, "additionalProperties": {"type": "string", "enum": ["x"]}}, silent):
        text = await _until_seen(ctx, schema, f'"{key}"')
        if text is not None and "additionalProperties" in schema:
            behind = "".join(text.partition(f'"{key}"')[2].split())
            ctx.require(behind.startswith(':"x"') or ':"x"'.startswith(behind), f'{key!r} with the value "x"', text)


async def _until_seen(ctx: Context, schema: dict[str, Any], wanted: str) -> str | None:
    """An answer under *schema* that says *wanted*, be it cut behind that; None where it is refused."""
    body = ctx.body(poem(ctx), response_format=json_schema(schema), max_tokens=_TOKENS)
    for _ in range(_TRIES):
        answer = await ctx.attempt(body)
        if isinstance(answer, Refusal):
            require_clear_refusal(ctx, answer)
            return None
        if wanted in answer.text:
            return answer.text
        ctx.require(answer.finish == "length" and begins_json(answer.text), f"a member {wanted}", answer.text)
    raise never_complete(_TOKENS)


@check("SCH9")
async def closed_objects_stay_closed(ctx: Context) -> None:
    keys = [ctx.nonce(5) for _ in range(3)]
    schema = {**object_of(**{key: {"type": "string", "enum": ["x", "y"]} for key in keys}), "required": []}
    prompt = f'{ctx.topic()} Answer with a JSON object that has the one key "mood".'
    value = await constrained(ctx, schema, prompt)
    ctx.require(isinstance(value, dict) and value.keys() <= {*keys}, f"no key but {keys}", value)

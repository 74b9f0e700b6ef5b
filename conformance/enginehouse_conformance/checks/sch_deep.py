"""SCH, continued: what a server between takes out: bounds that it believes nobody reads, names for keywords."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from enginehouse_conformance.answer import Refusal
from enginehouse_conformance.context import Context
from enginehouse_conformance.primitives import (
    TRIES,
    begins_json,
    constrained,
    decoded,
    json_schema,
    named,
    never_complete,
    object_of,
    poem,
    require_clear_refusal,
    tool,
)
from enginehouse_conformance.registry import check
from enginehouse_conformance.targets import Body

_WARM = 1.5
_TOKENS = 128
_BEHIND = r"[:\[,]\s*"
_CHARACTER = r"(?:\\u[dD][89abAB][0-9a-fA-F]{2}\\u[0-9a-fA-F]{4}|\\u[0-9a-fA-F]{4}|\\.|[^\"\\])"
_VALUE_ENDS = r"\s*[,}\]]"
_KEYWORDS = (("title", "description", "format"), ("default", "examples", "type"), ("enum", "required", "items"))


class Bound(msgspec.Struct, frozen=True):
    """A bounded schema, its keywords, whether a value is within the bound, and what of a cut text shows one outside."""

    schema: dict[str, Any]
    keywords: tuple[str, ...]
    holds: Callable[[Any], bool]
    broken: re.Pattern[str]


_BOUNDS = (
    Bound(
        {"type": "string", "minLength": 7, "maxLength": 7},
        ("minLength", "maxLength"),
        lambda value: isinstance(value, str) and len(value) == 7,
        re.compile(rf'{_BEHIND}"(?:{_CHARACTER}{{8}}|{_CHARACTER}{{0,6}}"{_VALUE_ENDS})'),
    ),
    Bound(
        {"type": "array", "items": {"type": "boolean"}, "minItems": 3, "maxItems": 3},
        ("minItems", "maxItems"),
        lambda value: isinstance(value, list) and len(value) == 3,
        re.compile(r"e(?:\s*,\s*(?:true|false)){3}|\[\s*\]|\[\s*(?:true|false)(?:\s*,\s*(?:true|false))?\s*\]"),
    ),
    Bound(
        {"type": "string", "pattern": "^[0-9]{6}$"},
        ("pattern",),
        lambda value: isinstance(value, str) and re.fullmatch("[0-9]{6}", value) is not None,
        re.compile(rf'{_BEHIND}"(?![0-9]{{6}}"|[0-9]{{0,6}}$|[a-e]?"?\s*(?:$|:))'),
    ),
    Bound(
        {"type": "integer", "minimum": 7000, "maximum": 7009},
        ("minimum", "maximum"),
        lambda value: value in range(7000, 7010),
        re.compile(rf"{_BEHIND}(?:700\d\d|(?!700)(?!70?$)[-\d])"),
    ),
)


def _nested(bound: Bound) -> dict[str, Any]:
    """*bound* in a property of a property, in items, and in properties of items."""
    one = {"type": "array", "minItems": 1, "maxItems": 1}
    items = [{**one, "items": each} for each in (bound.schema, object_of(e=bound.schema))]
    return object_of(a=object_of(b=bound.schema), c=items[0], d=items[1])


def _referred(bound: Bound) -> dict[str, Any]:
    """*bound* behind references of properties of a property."""
    held = {"$ref": "#/$defs/held"}
    return {**object_of(a=object_of(b=held, c=held)), "$defs": {"held": bound.schema}}


def _values(document: Any) -> Iterator[Any]:
    """What the bound is on in a whole *document* of either form."""
    yield from document["a"].values()
    yield from document.get("c", ())
    yield from (item["e"] for item in document.get("d", ()))


def _is_judged(ctx: Context, bound: Bound, text: str, finish: str | None) -> bool:
    """Whether *text* is whole and right; False where it was cut before anything was wrong."""
    what = f"{' and '.join(bound.keywords)} held wherever they stand: {bound.schema}"
    if finish == "length":
        ctx.require(begins_json(text), "an answer cut short that begins as JSON", text)
        ctx.require(bound.broken.search(text) is None, what, text)
        return False
    document = decoded(ctx, text)
    try:
        values = list(_values(document))
    except (AttributeError, KeyError, TypeError):
        ctx.fail("an object as its schema describes it", document)
    ctx.require(all(bound.holds(value) for value in values), what, document)
    return True


async def _require_bound(ctx: Context, bound: Bound, body: Body, field: str, *also: str) -> None:
    for _ in range(TRIES):
        answer = await ctx.attempt({**body, "max_tokens": _TOKENS, "temperature": min(_WARM, ctx.hottest)})
        if isinstance(answer, Refusal):
            require_clear_refusal(ctx, answer, *bound.keywords, *also, field=field)
            return
        text = answer.text if field == "response_format" else "".join(call.arguments for call in answer.first.calls[:1])
        if _is_judged(ctx, bound, text, answer.finish):
            return
    raise never_complete(_TOKENS)


@check("SCH10")
async def bounds_hold_at_any_depth(ctx: Context) -> None:
    for bound in _BOUNDS:
        for schema, also in ((_nested(bound), ()), (_referred(bound), ("$ref", "$defs"))):
            await _require_bound(
                ctx, bound, ctx.body(poem(ctx), response_format=json_schema(schema)), "response_format", *also
            )
        if ctx.has("tools", "tool_choice_named") and ctx.speaks("tools", "tool_choice.named"):
            name = f"t_{ctx.nonce()}"
            given = tool(name, _nested(bound))
            given["function"]["strict"] = True
            await _require_bound(ctx, bound, ctx.body(tools=[given], tool_choice=named(name)), "tools")


@check("SCH11")
async def a_property_may_be_named_like_a_keyword(ctx: Context) -> None:
    for names in _KEYWORDS:
        wanted = {name: ctx.nonce(3) for name in names}
        schema = object_of(**{name: {"type": "string", "enum": [word]} for name, word in wanted.items()})
        ctx.equal(await constrained(ctx, schema), wanted, "the answer")
        if ctx.has("tools", "tool_choice_named") and ctx.speaks("tools", "tool_choice.named"):
            ctx.equal(await _arguments(ctx, schema), wanted, "the arguments")


async def _arguments(ctx: Context, schema: dict[str, Any]) -> Any:
    """The arguments of a call of a tool with the parameters *schema*."""
    name = f"t_{ctx.nonce()}"
    body = ctx.body(tools=[tool(name, schema)], tool_choice=named(name), max_tokens=_TOKENS)
    for _ in range(TRIES):
        answer = await ctx.ask(body)
        if answer.finish != "length":
            ctx.equal([call.name for call in answer.first.calls], [name], "the calls")
            return decoded(ctx, answer.first.calls[0].arguments)
    raise never_complete(_TOKENS)

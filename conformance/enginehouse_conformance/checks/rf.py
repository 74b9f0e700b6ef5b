"""RF: the response format.

Schemas are finite, or bounded, so that a right answer is short whatever the model says. An answer that max_tokens
cut before it was complete is asked for again, at most three times, and then supports no verdict; a complete answer
that breaks its schema fails at once.
"""

from __future__ import annotations

import re
from typing import Any

from enginehouse_conformance.answer import Answer, Refusal
from enginehouse_conformance.context import Context
from enginehouse_conformance.primitives import (
    constrained,
    decoded,
    json_schema,
    json_value,
    object_of,
    poem,
    require_clear_refusal,
    saying,
)
from enginehouse_conformance.registry import check
from enginehouse_conformance.targets import Body

_TOKENS = 128
_LONG = 60
_FOUR_CODE_POINTS = "日𝒳é文"  # 12 bytes, 5 units of UTF-16
_JAPANESE = "日本語だけで答えてください。"
_INVALID: tuple[Any, ...] = (
    {"type": "strnig"},
    {"type": "object", "properties": ["v"]},
    {"type": "object", "properties": {"v": {"type": "string", "minLength": "x"}}},
    {"type": "object", "properties": {"v": {"enum": "x"}}},
)


def _string(**keywords: object) -> dict[str, Any]:
    return {"type": "string", **keywords}


def _require_object(ctx: Context, value: Any, *keys: str) -> dict[str, Any]:
    ctx.require(isinstance(value, dict) and sorted(value) == sorted(keys), f"an object of {sorted(keys)}", value)
    found: dict[str, Any] = value
    return found


async def _both(ctx: Context, body: Body) -> list[Answer]:
    """The JSON answer to *body*, and the streamed one where there are streams."""
    can_stream = ctx.has("streaming") and ctx.speaks("stream")
    return [await ctx.ask(body), *([await ctx.stream(body)] if can_stream else [])]


@check("RF1")
async def json_object_gives_an_object(ctx: Context) -> None:
    body = ctx.body(poem(ctx), response_format={"type": "json_object"}, max_tokens=64)
    for answer in await _both(ctx, body):
        is_complete, value = json_value(ctx, answer.first)
        if is_complete:
            ctx.require(isinstance(value, dict), "one JSON object", answer.text)
        else:
            ctx.require(answer.text.lstrip()[:1] in ("{", ""), "the beginning of an object", answer.text)


@check("RF2")
async def const_is_enforced(ctx: Context) -> None:
    expected = {"v": ctx.nonce(), "number": ctx.random.randrange(1000, 9999)}
    schema = object_of(v=_string(const=expected["v"]), number={"type": "integer", "const": expected["number"]})
    ctx.equal(await constrained(ctx, schema), expected, "the answer")


@check("RF3")
async def enum_is_enforced(ctx: Context) -> None:
    words = [ctx.nonce() for _ in range(3)]
    value = await constrained(ctx, object_of(v=_string(enum=words)))
    ctx.require(_require_object(ctx, value, "v")["v"] in words, f"one of {words}", value)


@check("RF4")
async def string_lengths_are_enforced(ctx: Context) -> None:
    lengths = {"a": 7, "b": 12, "c": 19}
    schema = object_of(**{key: _string(minLength=length, maxLength=length) for key, length in lengths.items()})
    value = _require_object(ctx, await constrained(ctx, schema), *lengths)
    ctx.equal({key: len(value[key]) for key in lengths}, lengths, f"in {value!r} the lengths")


@check("RF5")
async def array_lengths_are_enforced(ctx: Context) -> None:
    lengths = {"a": 3, "b": 1, "c": 5}
    words = [ctx.nonce(4), ctx.nonce(4)]
    schema = object_of(
        **{
            key: {"type": "array", "items": _string(enum=words), "minItems": length, "maxItems": length}
            for key, length in lengths.items()
        }
    )
    value = _require_object(ctx, await constrained(ctx, schema), *lengths)
    ctx.equal({key: len(value[key]) for key in lengths}, lengths, f"in {value!r} the lengths")


@check("RF6")
async def keys_are_enforced(ctx: Context) -> None:
    keys = [ctx.nonce(5) for _ in range(4)]
    schema = object_of(**{key: _string(enum=["x", "y"]) for key in keys})
    prompt = f'{ctx.topic()} Answer with a JSON object that has the one key "mood".'
    _require_object(ctx, await constrained(ctx, schema, prompt), *keys)


@check("RF7")
async def types_are_enforced(ctx: Context) -> None:
    schema = object_of(whole={"type": "integer"}, truth={"type": "boolean"}, nothing={"type": "null"})
    value = _require_object(ctx, await constrained(ctx, schema), "whole", "truth", "nothing")
    whole = value["whole"]
    is_whole = type(whole) is int or (isinstance(whole, float) and whole.is_integer())
    ctx.require(is_whole, "an integer", value)
    ctx.require(isinstance(value["truth"], bool), "a boolean", value)
    ctx.require(value["nothing"] is None, "null", value)


@check("RF8")
async def inner_levels_are_enforced(ctx: Context) -> None:
    word = ctx.nonce()
    inner = object_of(b=object_of(c=_string(enum=[word])))
    value = await constrained(ctx, object_of(a={"type": "array", "items": inner, "minItems": 2, "maxItems": 2}))
    ctx.equal(value, {"a": [{"b": {"c": word}}] * 2}, "the answer")


@check("RF9")
async def references_are_followed(ctx: Context) -> None:
    word = ctx.nonce()
    schema = {**object_of(v={"$ref": "#/$defs/word"}), "$defs": {"word": _string(enum=[word])}}
    ctx.equal(await constrained(ctx, schema), {"v": word}, "the answer")


@check("RF10")
async def one_branch_holds(ctx: Context) -> None:
    left, right = ctx.nonce(), ctx.nonce()
    schema = object_of(v={"anyOf": [object_of(a=_string(enum=[left])), object_of(b=_string(enum=[right]))]})
    value = await constrained(ctx, schema)
    branches = ({"v": {"a": left}}, {"v": {"b": right}})
    ctx.require(value in branches, f"one of {branches}", value)


@check("RF11")
async def schemas_hold_when_hot(ctx: Context) -> None:
    words = [ctx.nonce(), ctx.nonce()]
    for _ in range(5):
        value = await constrained(ctx, object_of(v=_string(enum=words)), temperature=ctx.hottest)
        ctx.require(_require_object(ctx, value, "v")["v"] in words, f"one of {words}", value)


@check("RF12")
async def schemas_hold_in_a_stream(ctx: Context) -> None:
    word = ctx.nonce()
    value = await constrained(ctx, object_of(v=_string(enum=[word])), stream=True)
    ctx.equal(value, {"v": word}, "the joined deltas")


@check("RF13")
async def a_cut_answer_says_so(ctx: Context) -> None:
    for answer in await _both(ctx, ctx.body(poem(ctx), response_format=saying(ctx.nonce(_LONG)), max_tokens=5)):
        ctx.equal(answer.finish, "length", f"{answer.text!r} with finish_reason")


@check("RF14")
async def name_and_schema_are_required(ctx: Context) -> None:
    whole = json_schema(object_of(v=_string()))["json_schema"]
    for missing in ("name", "schema"):
        inner = {key: value for key, value in whole.items() if key != missing}
        await ctx.refused(ctx.body(response_format={"type": "json_schema", "json_schema": inner}), "response_format")
    await ctx.refused(ctx.body(response_format={"type": "json_schema"}), "response_format")


@check("RF15")
async def unknown_types_are_refused(ctx: Context) -> None:
    await ctx.refused(ctx.body(response_format={"type": ctx.nonce()}), "response_format")


@check("RF16")
async def invalid_schemas_are_refused(ctx: Context) -> None:
    for schema in _INVALID:
        await ctx.refused(ctx.body(response_format=json_schema(schema)), "response_format", "schema")


@check("RF17")
async def a_pattern_with_lengths_is_enforced_or_refused(ctx: Context) -> None:
    schema = object_of(v=_string(pattern="^[a-c]+$", minLength=5, maxLength=5))
    outcome = await ctx.attempt(ctx.body(poem(ctx), response_format=json_schema(schema), max_tokens=64))
    if isinstance(outcome, Refusal):
        require_clear_refusal(ctx, outcome)
        ctx.note("refused, not enforced")
        return
    value = _require_object(ctx, await constrained(ctx, schema), "v")
    ctx.require(re.fullmatch("[a-c]{5}", str(value["v"])), "five letters of a to c", value)


@check("RF18")
async def a_large_length_works_or_is_refused(ctx: Context) -> None:
    schema = object_of(v=_string(maxLength=5000))
    outcome = await ctx.attempt(ctx.body(poem(ctx), response_format=json_schema(schema), max_tokens=64))
    if isinstance(outcome, Refusal):
        require_clear_refusal(ctx, outcome)
        ctx.note("refused, not enforced")
        return
    is_complete, value = json_value(ctx, outcome.first)
    if is_complete:
        ctx.require(isinstance(_require_object(ctx, value, "v")["v"], str), "a string", value)


@check("RF19")
async def an_empty_object_stays_empty(ctx: Context) -> None:
    prompt = 'Answer with a JSON object that has the keys "mood" and "place".'
    ctx.equal(await constrained(ctx, object_of(), prompt), {}, "the answer")
    ctx.equal(await constrained(ctx, object_of(v=object_of()), prompt), {"v": {}}, "the answer")


@check("RF20")
async def keys_arrive_as_they_are(ctx: Context) -> None:
    expected = {"naïve 日本": ctx.nonce(5), 'a "quoted" key': ctx.nonce(5), "back\\slash": ctx.nonce(5)}
    schema = object_of(**{key: _string(const=word) for key, word in expected.items()})
    ctx.equal(await constrained(ctx, schema), expected, "the answer")


@check("RF21")
async def lengths_count_code_points(ctx: Context) -> None:
    four = {"minLength": 4, "maxLength": 4}
    # The control arm tells a target that cannot combine the keywords at all from one that counts wrongly.
    control = await ctx.attempt(
        ctx.body(response_format=json_schema(object_of(v=_string(enum=["four"], **four))), max_tokens=32)
    )
    if isinstance(control, Refusal):
        ctx.note("enum with lengths is refused, so that only a free string could be judged")
    else:
        value = await constrained(ctx, object_of(v=_string(enum=[_FOUR_CODE_POINTS], **four)))
        ctx.equal(value, {"v": _FOUR_CODE_POINTS}, "the only value of four code points")
    free = _require_object(ctx, await constrained(ctx, object_of(v=_string(**four)), _JAPANESE), "v")["v"]
    ctx.equal(len(free), 4, f"code points of {free!r}")


@check("RF22")
async def there_is_nothing_but_json(ctx: Context) -> None:
    word = ctx.nonce()
    prompt = f"First explain what JSON is. Then give {word} as JSON inside a ```json fence. End with a greeting."
    ctx.equal(await constrained(ctx, object_of(v=_string(enum=[word])), prompt), {"v": word}, "the answer")


@check("RF23")
async def both_choices_satisfy_the_schema(ctx: Context) -> None:
    word = ctx.nonce()
    body = ctx.body(poem(ctx), response_format=json_schema(object_of(v=_string(enum=[word]))), n=2, max_tokens=_TOKENS)
    answer = await ctx.ask(body)
    ctx.equal(len(answer.choices), 2, "choices")
    for choice in answer.choices:
        is_complete, value = json_value(ctx, choice)
        if not is_complete:
            ctx.unclear(f"the choice {choice.index} was not complete within {_TOKENS} tokens")
        ctx.equal(value, {"v": word}, f"the choice {choice.index}")


@check("RF24")
async def an_enum_behind_a_reference_is_enforced_or_refused(ctx: Context) -> None:
    word = ctx.nonce()
    listed = {"type": "array", "items": {"$ref": "#/$defs/word"}, "minItems": 2, "maxItems": 2}
    schema = {**object_of(v=listed), "$defs": {"word": {"enum": [word]}}}
    outcome = await ctx.attempt(ctx.body(poem(ctx), response_format=json_schema(schema), max_tokens=_TOKENS))
    if isinstance(outcome, Refusal):
        require_clear_refusal(ctx, outcome)
        ctx.note("refused, not enforced")
        return
    if outcome.finish == "length":
        begun = "".join(outcome.text.split())
        ctx.require(f'{{"v":["{word}","{word}"]}}'.startswith(begun), f"a beginning with {word!r} alone", outcome.text)
        ctx.unclear("the answer was cut short before it was complete")
    ctx.equal(decoded(ctx, outcome.text), {"v": [word, word]}, "the answer")


async def _is_held(ctx: Context, word: str, body: Body) -> bool:
    """Whether the schema that allows *word* alone held, as far as the answer goes."""
    answer = await ctx.ask(body)
    said = f'{{"v":"{word}"}}'
    told = "".join(answer.text.split())
    return told == said or (answer.finish == "length" and said.startswith(told))


def _without_strict(ctx: Context, word: str) -> tuple[Body, ...]:
    """Requests whose schema, which allows *word* alone, is not strict: left out, null and false."""
    whole = json_schema(object_of(v=_string(enum=[word])))["json_schema"]
    del whole["strict"]
    forms: tuple[Body, ...] = ({}, {"strict": None}, {"strict": False})
    formats = [{"type": "json_schema", "json_schema": {**whole, **form}} for form in forms]
    return tuple(ctx.body(poem(ctx), response_format=given, max_tokens=_TOKENS) for given in formats)


@check("RF29")
async def strict_false_is_its_default(ctx: Context) -> None:
    word = ctx.nonce()
    held = [await _is_held(ctx, word, body) for body in _without_strict(ctx, word)]
    told = dict(zip(("left out", "null", "false"), held, strict=True))
    ctx.require(len(set(held)) == 1, "a schema that holds with `strict` left out, null and false, or with none", told)


@check("RF30")
async def a_schema_holds_without_strict(ctx: Context) -> None:
    word = ctx.nonce()
    for body in _without_strict(ctx, word):
        given = body["response_format"]["json_schema"].get("strict", "left out")
        ctx.require(await _is_held(ctx, word, body), f"the schema to hold with `strict` {given}", "another answer")


@check("RF25")
async def an_enum_keeps_its_types(ctx: Context) -> None:
    number = ctx.random.randrange(1000, 9999)
    allowed: dict[str, list[Any]] = {"number": [number, -number], "flag": [False], "word": [str(number)]}
    kinds = {"number": "integer", "flag": "boolean", "word": "string"}
    schema = object_of(**{key: {"type": kinds[key], "enum": values} for key, values in allowed.items()})
    value = _require_object(ctx, await constrained(ctx, schema), *allowed)
    for key, values in allowed.items():
        is_one = any(value[key] == other and type(value[key]) is type(other) for other in values)
        ctx.require(is_one, f"{key}, one of {values}", value[key])

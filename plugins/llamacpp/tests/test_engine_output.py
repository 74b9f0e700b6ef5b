"""The form of the output on the real engine: stop strings, length, JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import jsonschema_rs
import msgspec
import pytest
import pytest_asyncio
from tests.asking import ask, request

from enginehouse_llamacpp.backend import LlamaCppBackend
from enginehouse_llamacpp.instance import LlamaCppInstance
from enginehouse_plugin import Finished, JsonObject, JsonSchema, Placement
from enginehouse_plugin.errors import ContextTooLong, InvalidRequest
from tests.weights import tiny_gguf

from .conftest import Load

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="session")]


# ---- stop and length ----


SENTENCE = JsonSchema(name="x", schema={"const": "The capital of France is Paris."})  # so that the text is known


@pytest.mark.parametrize("fields", [{}, {"logprobs": True}, {"presence_penalty": 0.1}, {"n": 2}])
@pytest.mark.parametrize(
    ("stop", "text", "matched"),
    [
        (("Paris",), '"The capital of France is ', "Paris"),
        (("tal of Fr",), '"The capi', "tal of Fr"),
        (("", "is"), '"The capital of France ', "is"),
        (("nowhere", "Paris.x"), '"The capital of France is Paris."', None),
        (('"',), "", '"'),
    ],
)
async def test_a_stop_string_cuts_the_text_wherever_tokens_end(
    model: LlamaCppInstance, stop: tuple[str, ...], text: str, matched: str | None, fields: dict[str, Any]
) -> None:
    answer = await ask(model, output=SENTENCE, stop=stop, **fields)
    for choice in answer.choices:
        assert choice.text == text
        assert choice.reason == "stop"
        assert choice.matched_stop == matched


@pytest.mark.parametrize("fields", [{}, {"n": 2}, {"logprobs": True}])
async def test_text_held_back_for_a_stop_string_comes_at_the_limit(
    model: LlamaCppInstance, fields: dict[str, Any]
) -> None:
    """The engine itself would lose it."""
    plain = await ask(model, output=SENTENCE, max_tokens=3, seed=1)
    answer = await ask(model, output=SENTENCE, max_tokens=3, seed=1, stop=(plain.text[-4:] + "never",), **fields)
    assert {choice.text for choice in answer.choices} == {plain.text}
    assert answer.reason == "length"


async def test_a_choice_that_has_stopped_gives_its_slot_back(model: LlamaCppInstance) -> None:
    """While the other choice runs on. Letters that are rare end each of them sooner or later, on any processor."""
    fields = {"n": 2, "temperature": 2.0, "seed": 3, "max_tokens": 400, "stop": ("z", "q", "Z", "Q")}
    async with aclosing(model.generate(request("Say colours.", **fields))) as events, asyncio.timeout(120):
        async for event in events:
            if isinstance(event, Finished):
                assert event.reason == "stop"
                break
        running = 2
        while running == 2:
            running = await model.active_requests()
            await asyncio.sleep(0.01)
    assert running == 1


async def test_a_stop_string_cuts_free_text(model: LlamaCppInstance) -> None:
    plain = await ask(model, seed=1)  # a seed keeps the prefix cache out of the last bits of the logits
    stop = plain.text[9:14]
    answer = await ask(model, stop=(stop,), seed=1)
    assert answer.text == plain.text[: plain.text.index(stop)]
    assert plain.choices[0].matched_stop is None


@pytest.mark.parametrize("max_tokens", [1, 2, 5])
async def test_max_tokens_is_kept_and_told(model: LlamaCppInstance, max_tokens: int) -> None:
    answer = await ask(model, max_tokens=max_tokens)
    assert answer.usage is not None
    assert answer.usage.completion_tokens == max_tokens
    assert answer.reason == "length"


async def test_counts_run_on_every_delta(model: LlamaCppInstance) -> None:
    answer = await ask(model)
    assert answer.choices[0].counts == list(range(1, len(answer.choices[0].counts) + 1))


async def test_a_prompt_that_fills_the_context_leaves_no_room(model: LlamaCppInstance) -> None:
    with pytest.raises(ContextTooLong) as refused:
        await ask(model, "word " * 3000)
    assert refused.value.limit_tokens == 2048
    assert refused.value.prompt_tokens > 3000


async def test_max_tokens_beyond_the_context_are_refused_where_they_must_fit(model: LlamaCppInstance) -> None:
    prompt_tokens = await model.count_tokens(request())
    with pytest.raises(ContextTooLong) as refused:
        await ask(model, max_tokens=2048 - prompt_tokens + 1, max_tokens_must_fit=True)
    assert (refused.value.prompt_tokens, refused.value.limit_tokens) == (prompt_tokens, 2048)
    assert refused.value.param == "max_tokens"


async def test_without_max_tokens_or_with_more_than_is_left_the_answer_may_fill_the_context(load: Load) -> None:
    instance = await load(context_tokens=256, slots=1)
    assert instance.capabilities.context_tokens == 256
    (token,) = await instance.tokenize(" blue")
    for fields in ({"max_tokens": None}, {"max_tokens": 32_000}, {"max_tokens": None, "presence_penalty": 0.1}):
        answer = await ask(instance, "blue " * 150, logit_bias={token: 100.0}, **fields)
        assert answer.usage is not None
        assert answer.usage.prompt_tokens > 150
        assert answer.usage.prompt_tokens + answer.usage.completion_tokens == 256
        assert answer.reason == "length"


# ---- JSON ----

PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}

SCHEMAS: dict[str, Any] = {
    "object": PERSON,
    "optional": {
        "type": "object",
        "properties": {"a": {"type": "null"}, "b": {"type": "null"}, "c": {"type": "null"}},
        "required": ["b"],
        "additionalProperties": False,
    },
    "number": {"type": "number", "exclusiveMinimum": -1.5, "maximum": 2.25},
    "integer": {"type": "integer", "minimum": 7.5, "exclusiveMaximum": 1000},
    "lengths": {"type": "string", "minLength": 12, "maxLength": 15},
    "long": {"type": "string", "minLength": 40, "maxLength": 60},
    "items": {"type": "array", "items": {"type": "string", "maxLength": 5}, "minItems": 2, "maxItems": 3},
    "tuple": {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "boolean"}], "items": False},
    "pattern": {"type": "string", "pattern": r"^[A-Z]{2}-\d{3}(x|yz)?$"},
    "quoting pattern": {"type": "string", "pattern": r'^"\\[\n\t]+$'},
    "enum": {"enum": ["red", "green", 7, None, {"k": [1, "é"]}]},
    "const": {"const": 'a "quoted"\nline ☃'},
    "any of": {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "null"}, "maxItems": 2}]},
    "tagged": {
        "oneOf": [
            {"type": "object", "properties": {"k": {"const": "a"}, "x": {"type": "integer"}}, "required": ["k", "x"]},
            {"type": "object", "properties": {"k": {"const": "b"}, "y": {"type": "null"}}, "required": ["k", "y"]},
        ]
    },
    "all of": {
        "allOf": [
            {"type": "object", "properties": {"a": {"type": "string", "maxLength": 3}}, "required": ["a"]},
            {"properties": {"b": {"type": "integer", "minimum": -5, "maximum": -2}}, "required": ["b"]},
        ]
    },
    "recursive": {
        "$ref": "#/$defs/list",
        "$defs": {
            "list": {
                "type": "object",
                "properties": {
                    "v": {"type": "boolean"},
                    "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/list"}]},
                },
                "required": ["v", "next"],
                "additionalProperties": False,
            }
        },
    },
    "other keys": {
        "type": "object",
        "properties": {"name": {"type": "null"}, "na": {"type": "integer"}},
        "additionalProperties": {"type": "boolean"},
        "required": ["na"],
    },
    "types": {"type": ["string", "null", "integer"], "maxLength": 10, "maximum": 5},
    **{f: {"type": "string", "format": f} for f in ("date", "time", "date-time", "duration", "uuid", "email")},
    **{f: {"type": "string", "format": f} for f in ("hostname", "ipv4", "ipv6", "uri")},
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def tiny(placement: Callable[..., Placement]) -> AsyncIterator[LlamaCppInstance]:
    """Random weights, which say anything at all, and quickly."""
    path = tiny_gguf()
    place = msgspec.structs.replace(placement(), source=str(path), path=str(path))
    instance = await LlamaCppBackend().load(place, (), lambda _: None)
    try:
        yield instance
    finally:
        await instance.unload()


@pytest.mark.parametrize("name", SCHEMAS)
async def test_what_a_schema_lets_through_fits_it(tiny: LlamaCppInstance, name: str) -> None:
    """Greedy, and hot enough to be a random walk through the grammar, in which a string ends at some time."""
    schema = SCHEMAS[name]
    validator = jsonschema_rs.validator_for(schema, validate_formats=True)
    whole = 0
    output = JsonSchema(name="x", schema=schema)
    (quote,) = await tiny.tokenize('"')
    hot = {"temperature": 1.5, "seed": 1, "n": 3, "logit_bias": {quote: 10.0}}
    for answer in await asyncio.gather(*(ask(tiny, "JSON.", output=output, max_tokens=400, **f) for f in ({}, hot))):
        for choice in answer.choices:
            if choice.reason == "stop":
                whole += 1
                assert validator.is_valid(json.loads(choice.text)), choice.text
    assert whole


async def test_json_object_is_any_object_and_nothing_else(model: LlamaCppInstance) -> None:
    for fields in ({}, {"temperature": 1.5, "seed": 3, "n": 3}):
        answer = await ask(model, "Describe Paris as JSON.", output=JsonObject(), max_tokens=120, **fields)
        for choice in answer.choices:
            assert choice.text.startswith("{")
            if choice.reason == "stop":
                assert isinstance(json.loads(choice.text), dict)


async def test_json_object_holds_without_being_asked_for(model: LlamaCppInstance) -> None:
    answer = await ask(model, "Sing a song, in plain prose.", output=JsonObject(), max_tokens=8)
    assert answer.text.startswith("{")


async def test_blanks_cannot_go_on_for_ever(model: LlamaCppInstance) -> None:
    """Even if the model wants nothing but blanks."""
    blanks = {token: 100.0 for text in (" ", "\n", "  ", "\t", "\n\n") for token in (await model.tokenize(text))[:1]}
    output = JsonSchema(name="x", schema={"type": "array", "items": {"const": 1}, "minItems": 3, "maxItems": 3})
    assert json.loads((await ask(model, output=output, logit_bias=blanks, max_tokens=40)).text) == [1, 1, 1]


@pytest.mark.parametrize(
    ("schema", "keyword"),
    [
        ({"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}}, "uniqueItems"),
        ({"not": {"uniqueItems": True}}, "not"),
        ({"type": "number", "multipleOf": 0.0001237}, "multipleOf"),
        ({"if": {"uniqueItems": True}, "then": {"maxItems": 2}}, "if"),
        ({"type": "string", "minLength": 20_000}, "minLength"),
    ],
)
async def test_a_schema_that_cannot_be_enforced_is_refused_by_keyword(
    model: LlamaCppInstance, schema: dict[str, Any], keyword: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await ask(model, output=JsonSchema(name="x", schema=schema))
    assert refused.value.param == "response_format.json_schema.schema"
    assert refused.value.code == "unsupported_schema"
    assert keyword in refused.value.message


async def test_an_enum_of_thousands_costs_no_time(model: LlamaCppInstance) -> None:
    """Side by side, this many alternatives would take more than a second for each token."""
    schema = {"enum": [f"value number {at}" for at in range(5000)]}
    async with asyncio.timeout(10):
        answer = await ask(model, output=JsonSchema(name="x", schema=schema))
    assert json.loads(answer.text) in schema["enum"]


@pytest.mark.parametrize("fields", [{}, {"presence_penalty": 0.1}])
async def test_a_token_that_prints_nothing_takes_no_place_in_a_string(
    model: LlamaCppInstance, fields: dict[str, Any]
) -> None:
    """The engine would match its name, `<jupyter_output>` say, as if it were text."""
    silent = model._model.silent_ids
    assert silent
    assert set(silent) < model._model.control_ids  # of those some end the answer
    output = JsonSchema(name="x", schema={"type": "string", "minLength": 40, "maxLength": 40})
    wanted = dict.fromkeys(silent, 100.0)
    answer = await ask(model, output=output, logit_bias=wanted, max_tokens=100, temperature=1.5, seed=3, **fields)
    assert len(json.loads(answer.text)) == 40

"""`decode_chat`: what is refused, and how; what goes through."""

from __future__ import annotations

import json
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.dialects.openai.chat.asking import USER, asked, body_of, refusal

from enginehouse.dialects.openai import errors
from enginehouse.dialects.openai.chat.decode import decode_chat
from enginehouse.dialects.openai.chat.request import ChatRequest
from enginehouse_plugin import request as contract
from enginehouse_plugin.errors import InvalidRequest

TABLE = runpy.run_path(str(Path(__file__).with_name("bad_requests.py")))["BAD_REQUESTS"]
OF_BODIES = [row for row in TABLE if row.stage == "body"]


def test_the_table_of_bad_requests_is_large_and_its_names_differ() -> None:
    assert len(TABLE) >= 80
    assert len({row.name for row in TABLE}) == len(TABLE)


@pytest.mark.parametrize("row", OF_BODIES, ids=[row.name for row in OF_BODIES])
def test_a_bad_body_is_refused_with_its_field_and_code(row: Any) -> None:
    error = refusal(row.body)
    reply = errors.describe(error)
    told = json.loads(reply.body)["error"]
    assert (reply.status, told["param"], told["code"]) == (row.status, row.param, row.code)
    assert told["message"]
    assert len(told["message"]) < 600


@pytest.mark.parametrize("row", OF_BODIES, ids=[row.name for row in OF_BODIES])
def test_reporting_unknown_fields_changes_nothing_else(row: Any) -> None:
    if row.code == "unknown_parameter":
        _, unknown = decode_chat(row.body, unknown_fields="report")
        assert unknown == (re.sub(r"\[\d+\]", "[]", row.param),)
    elif "an unknown field" not in row.name:
        assert refusal(row.body, unknown_fields="report").code == row.code


def test_a_refusal_says_what_is_allowed() -> None:
    cases = {
        "temperature": (3, "a value <= 2, but got 3"),
        "n": ("x", "expected an integer, but got a string"),
        "reasoning_effort": ("huge", "'high', 'low', 'max', 'medium', 'minimal', 'none', 'xhigh'"),
        "temprature": (1, "Did you mean 'temperature'?"),
        "functions": ([], "use 'tools'"),
        "response_format": ({"type": "xml"}, "'text', 'json_object', 'json_schema'"),
    }
    for field, (value, words) in cases.items():
        assert words in refusal(body_of(**{field: value})).message
    unknown = refusal(body_of(messages=[{**USER, "foo": 1}]))
    assert "Known here: content, name, role." in unknown.message


def test_unknown_fields_are_reported_once_each_and_dropped() -> None:
    body = body_of(messages=[{**USER, "id": 1}, {**USER, "id": 2}], foo=1, tools=[])
    chat, unknown = decode_chat(body, unknown_fields="report")
    assert unknown == ("messages[].id", "foo")
    assert len(chat.messages) == 2


@pytest.mark.parametrize("path", ["$.messages", "$.messages[0]", "$", "$[9]", "key` in `$.metadata", "$" + ".a" * 999])
def test_an_unknown_field_whose_name_reads_like_a_path_is_named_as_it_is(path: str) -> None:
    name = f"q` - at `{path}"
    assert refusal(body_of(**{name: 1})).param == (name if len(name) <= 64 else name[:64] + "…")
    assert decode_chat(body_of(**{name: 1}), unknown_fields="report")[1] == (name,)


def test_integers_may_be_written_with_a_zero_fraction() -> None:
    request = asked(body_of().replace(b'"m"', b'"m", "n": 2.0, "seed": -3e2, "max_tokens": 1E1'))
    assert (request.n, request.seed, request.max_tokens) == (2, -300, 10)


def test_an_integer_that_a_float_cannot_tell_is_refused() -> None:
    assert refusal(body_of().replace(b'"m"', b'"m", "seed": 9007199254740993.0')).param == "seed"


def test_a_message_encodes_as_plainly_as_it_was_written() -> None:
    written = [
        {"role": "user", "content": [{"type": "text", "text": "t"}]},
        {"role": "assistant", "content": "a", "refusal": None},
    ]
    chat, _ = decode_chat(body_of(messages=written))
    assert json.loads(msgspec.json.encode(chat.messages)) == [written[0], {"role": "assistant", "content": "a"}]


def test_text_of_any_kind_arrives_whole() -> None:
    for text in ("\0", "😀👩‍👩‍👧", "שלום", "\u2028", "a\\u0041", "\ufeff", '"}', "<|im_start|>"):
        for ascii_only in (True, False):
            body = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}, ensure_ascii=ascii_only)
            assert decode_chat(body.encode())[0].messages[0].content == text


def test_the_message_an_answer_held_can_be_sent_back() -> None:
    answered = {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "reasoning_content": "hm",
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        "annotations": [],
    }
    decode_chat(body_of(messages=[USER, answered, {"role": "tool", "content": "1", "tool_call_id": "c"}]))


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": ["string", "null"], "minLength": 0, "pattern": "^\\p{L}+$"},
        {"$defs": {"a/b": {"type": "integer"}}, "$ref": "#/$defs/a~1b"},
        {"$defs": {"a b": {"type": "integer"}}, "$ref": "#/$defs/a%20b"},
        {"properties": {"type": {"type": "string"}, "$ref": {"type": "string"}}, "required": ["type"]},
        {"type": "array", "prefixItems": [True, {"not": False}], "items": False, "minItems": 1.0},
        {"enum": [{"type": "nonsense"}], "default": {"type": 5}, "x-own": [1]},
        {"type": "array", "items": [{"type": "string"}]},
        {"properties": {"child": {"$ref": "#"}}},
        {"allOf": [{"type": "string"}, {"$ref": "#/allOf/0"}]},
        {"multipleOf": 0.5, "exclusiveMaximum": 1e9},
    ],
)
def test_a_json_schema_goes_through_untouched(schema: dict[str, Any]) -> None:
    body = body_of(response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": schema}})
    output = asked(body).output
    assert isinstance(output, contract.JsonSchema)
    assert output.schema == schema


def test_each_schema_of_a_body_is_checked_and_named() -> None:
    bad = {"type": "thing"}
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": bad}}
    tools = [
        {"type": "function", "function": {"name": name, "parameters": given}} for name, given in (("a", {}), ("b", bad))
    ]
    for fields, param in (
        ({"response_format": form}, "response_format.json_schema.schema"),
        ({"tools": tools}, "tools[1].function.parameters"),
    ):
        error = refusal(body_of(**fields))
        assert (error.code, error.param) == ("invalid_json_schema", param)


def test_the_deepest_allowed_body_decodes() -> None:
    value: Any = {}
    for _ in range(125):
        value = [value]
    decode_chat(body_of(chat_template_kwargs={"a": value}))


def test_depth_is_refused_wherever_the_decoder_stands() -> None:
    """The refusal must not depend on how much of Python's stack is in use."""
    body = body_of(chat_template_kwargs={"a": [[]]}).replace(b"[[]]", b"[" * 900 + b"]" * 900)

    def deeper(levels: int) -> InvalidRequest:
        return deeper(levels - 1) if levels else refusal(body)

    for levels in (0, 100, sys.getrecursionlimit() // 3):
        assert deeper(levels).code == "too_deep"


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(max_size=8), below, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from([*ChatRequest.__struct_fields__, "foo"])


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(FIELDS, JSON_VALUES, max_size=6), st.sampled_from(["refuse", "report"]))
def test_any_json_object_is_decoded_or_refused(fields: dict[str, Any], mode: str) -> None:
    try:
        decode_chat(body_of(**fields), unknown_fields=mode)  # type: ignore[arg-type]
    except InvalidRequest as error:
        assert errors.describe(error).status == 400  # noqa: PT017  # a refusal is one of two right outcomes


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60) | st.builds(lambda cut: body_of(user="é😀")[:cut], st.integers(0, 80)))
def test_any_bytes_are_decoded_or_refused(body: bytes) -> None:
    try:
        decode_chat(body)
    except InvalidRequest as error:
        assert errors.describe(error).status == 400  # noqa: PT017  # a refusal is one of two right outcomes


def _names_and_values() -> st.SearchStrategy[list[tuple[str, Any]]]:
    return st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.floats(0, 1) | st.just("é")), max_size=4)


@settings(max_examples=200, deadline=None)
@given(_names_and_values(), st.booleans(), st.booleans())
def test_a_key_given_twice_is_refused_and_no_other(pairs: list[tuple[str, Any]], compact: bool, escaped: bool) -> None:
    """Whatever the blanks, escapes and forms of numbers."""
    colon = ":" if compact else " : "
    written = [f"{json.dumps(key)}{colon}{json.dumps(value, ensure_ascii=escaped)}" for key, value in pairs]
    inner = "{" + ",".join(written) + "}"
    body = body_of(chat_template_kwargs={}).replace(b"{}", inner.encode(), 1)
    names = [key for key, _ in pairs]
    if len(set(names)) == len(names):
        assert set(decode_chat(body)[0].chat_template_kwargs or {}) == set(names)
    else:
        error = refusal(body)
        first_twice = next(name for at, name in enumerate(names) if name in names[:at])
        assert (error.code, error.param) == ("duplicate_key", f"chat_template_kwargs.{first_twice}")

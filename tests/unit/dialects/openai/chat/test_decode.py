"""`decode_chat` and `generation_request`: what is refused, and how; what goes through, and as what."""

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

from enginehouse.config import Defaults
from enginehouse.dialects.openai import errors
from enginehouse.dialects.openai.chat.decode import decode_chat
from enginehouse.dialects.openai.chat.endpoint import ChatEndpoint
from enginehouse.dialects.openai.chat.generation import generation_request, unsaid
from enginehouse.dialects.openai.chat.request import ChatRequest
from enginehouse.dialects.profiles import built_in
from enginehouse_plugin import GenerationRequest, NamedTool, Profile, Tool
from enginehouse_plugin import request as contract
from enginehouse_plugin.errors import InvalidRequest

TABLE = runpy.run_path(str(Path(__file__).with_name("bad_requests.py")))["BAD_REQUESTS"]
OF_BODIES = [row for row in TABLE if row.stage == "body"]
OPENAI = built_in()["openai"]
USER = {"role": "user", "content": "Hi"}


def body_of(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [USER], **fields}).encode()


def asked(body: bytes, *, profile: Profile = OPENAI, defaults: Defaults | None = None) -> GenerationRequest:
    endpoint = ChatEndpoint(profile, defaults={"m": defaults} if defaults else None)
    return endpoint.decode(body, "r").request


def refusal(body: bytes, *, profile: Profile = OPENAI, **kwargs: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        ChatEndpoint(profile, **kwargs).decode(body, "r")
    return caught.value


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


def test_null_is_the_same_as_absent() -> None:
    optional = [name for name in ChatRequest.__struct_fields__ if name not in ("model", "messages")]
    assert asked(body_of(**dict.fromkeys(optional))) == asked(body_of())


def test_null_is_the_same_as_absent_inside_messages_and_tools() -> None:
    tool = {"type": "function", "function": {"name": "f"}}
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    bare = body_of(
        messages=[
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]},
            {"role": "assistant", "tool_calls": [call]},
        ],
        tools=[tool],
        response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": {}}},
        stream=True,
    )
    nulls = {"name": None}
    full = body_of(
        messages=[
            {
                "role": "user",
                "content": [
                    {
                        "type": "image_url",
                        "image_url": {"url": "u", "detail": None},
                        "prompt_cache_breakpoint": None,
                    }
                ],
                **nulls,
            },
            {
                "role": "assistant",
                "tool_calls": [call],
                "content": None,
                "refusal": None,
                "reasoning_content": None,
                "annotations": None,
                "audio": None,
                "function_call": None,
                **nulls,
            },
        ],
        tools=[
            {"type": "function", "function": {"name": "f", "description": None, "parameters": None, "strict": None}}
        ],
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "a", "schema": {}, "description": None, "strict": None},
        },
        stream=True,
        stream_options={"include_usage": None, "include_obfuscation": None},
    )
    assert asked(full) == asked(bare)


def test_every_field_goes_through_as_it_was_given() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    given_ = asked(
        body_of(
            temperature=0,
            top_p=0,
            top_k=40,
            min_p=0.05,
            frequency_penalty=-2,
            presence_penalty=2,
            repetition_penalty=1.1,
            logit_bias={"5": -100, "0": 0.5},
            seed=-(2**63),
            max_tokens=7,
            stop="x",
            n=3,
            stream=True,
            logprobs=True,
            top_logprobs=20,
            response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": schema, "strict": True}},
            tools=[{"type": "function", "function": {"name": "f", "description": "d", "parameters": schema}}],
            tool_choice={"type": "function", "function": {"name": "f"}},
            parallel_tool_calls=False,
            reasoning_effort="high",
            chat_template_kwargs={"enable_thinking": False},
        )
    )
    assert given_ == GenerationRequest(
        id="r",
        prompt=given_.prompt,
        stream=True,
        n=3,
        max_tokens=7,
        temperature=0.0,
        top_p=0.0,
        top_k=40,
        min_p=0.05,
        frequency_penalty=-2.0,
        presence_penalty=2.0,
        repetition_penalty=1.1,
        logit_bias={5: -100.0, 0: 0.5},
        seed=-(2**63),
        stop=("x",),
        logprobs=True,
        top_logprobs=20,
        output=contract.JsonSchema(name="a", schema=schema, strict=True),
        tools=(Tool(name="f", description="d", parameters=schema),),
        tool_choice=NamedTool("f"),
        parallel_tool_calls=False,
        reasoning_effort="high",
        chat_template_kwargs={"enable_thinking": False},
    )


def test_defaults_come_from_the_model_then_from_the_profile() -> None:
    profile = Profile(name="p", default_temperature=0.7, default_top_p=0.9, default_max_tokens=100)
    plain = asked(body_of(), profile=profile)
    assert (plain.temperature, plain.top_p, plain.max_tokens) == (0.7, 0.9, 100)
    model = Defaults(temperature=0.0, max_tokens=50, top_k=3, stop=("x",), chat_template_kwargs={"a": 1, "b": 1})
    of_model = asked(body_of(chat_template_kwargs={"b": 2}), profile=profile, defaults=model)
    assert (of_model.temperature, of_model.top_p, of_model.max_tokens) == (0.0, 0.9, 50)
    assert (of_model.top_k, of_model.stop) == (3, ("x",))
    assert of_model.chat_template_kwargs == {"a": 1, "b": 2}
    own = asked(body_of(temperature=1, max_tokens=7, top_k=0, stop=[]), profile=profile, defaults=model)
    assert (own.temperature, own.max_tokens, own.top_k, own.stop) == (1.0, 7, 0, ())


def test_limits_come_from_the_profile() -> None:
    body = body_of(temperature=1.5, n=3, stop=["a"] * 6, logprobs=True, top_logprobs=9)
    wide = Profile(name="wide", max_stop=64)
    assert len(asked(body, profile=wide).stop) == 6
    for narrow, param in (
        (Profile(name="p", max_temperature=1.0, max_stop=64), "temperature"),
        (Profile(name="p", max_n=2, max_stop=64), "n"),
        (Profile(name="p", max_top_logprobs=8, max_stop=64), "top_logprobs"),
        (OPENAI, "stop"),
    ):
        assert refusal(body, profile=narrow).param == param


def test_of_two_limits_of_length_the_smaller_holds() -> None:
    assert asked(body_of(max_tokens=5, max_completion_tokens=9)).max_tokens == 5
    assert asked(body_of(max_tokens=9, max_completion_tokens=5)).max_tokens == 5
    assert asked(body_of(max_completion_tokens=5)).max_tokens == 5
    assert asked(body_of()).max_tokens is None


def test_integers_may_be_written_with_a_zero_fraction() -> None:
    request = asked(body_of().replace(b'"m"', b'"m", "n": 2.0, "seed": -3e2, "max_tokens": 1E1'))
    assert (request.n, request.seed, request.max_tokens) == (2, -300, 10)


def test_an_integer_that_a_float_cannot_tell_is_refused() -> None:
    assert refusal(body_of().replace(b'"m"', b'"m", "seed": 9007199254740993.0')).param == "seed"


def test_tool_choice_is_none_without_tools_and_auto_with_them() -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in ("a", "b", "c")]
    assert asked(body_of()).tool_choice == "none"
    assert asked(body_of(tools=[], tool_choice="auto")).tool_choice == "none"
    assert asked(body_of(tools=tools)).tool_choice == "auto"
    for choice in ("none", "auto", "required"):
        assert asked(body_of(tools=tools, tool_choice=choice)).tool_choice == choice


def test_allowed_tools_leave_only_those_and_their_mode() -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in ("a", "b", "c")]
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [tools[2], tools[0]]}}
    request = asked(body_of(tools=tools, tool_choice=choice))
    assert [tool.name for tool in request.tools] == ["a", "c"]
    assert request.tool_choice == "required"


def test_messages_are_handed_over_without_a_copy() -> None:
    chat, _ = decode_chat(body_of())
    otherwise = unsaid(Defaults(), OPENAI)
    request = generation_request(chat, request_id="r", profile=OPENAI, otherwise=otherwise)
    assert isinstance(request.prompt, contract.Chat)
    assert request.prompt.messages is chat.messages
    assert isinstance(chat.messages[0], contract.UserMessage)


def test_a_message_encodes_as_plainly_as_it_was_written() -> None:
    written = [
        {"role": "user", "content": [{"type": "text", "text": "t"}]},
        {"role": "assistant", "content": "a", "refusal": None},
    ]
    chat, _ = decode_chat(body_of(messages=written))
    assert json.loads(msgspec.json.encode(chat.messages)) == [written[0], {"role": "assistant", "content": "a"}]


def test_a_decoded_request_survives_the_way_to_a_worker() -> None:
    request = asked(
        body_of(
            messages=[
                {"role": "developer", "content": "d"},
                {"role": "user", "content": [{"type": "text", "text": "t"}]},
                {"role": "assistant", "content": None, "tool_calls": [
                    {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
                {"role": "tool", "content": "1", "tool_call_id": "c"},
            ]
        )
    )  # fmt: skip
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(request), type=GenerationRequest)
    assert isinstance(again.prompt, contract.Chat)
    roles = [message.__struct_config__.tag for message in again.prompt.messages]
    assert roles == ["developer", "user", "assistant", "tool"]
    assert again.prompt.messages[1].content == (contract.TextPart("t"),)
    assert msgspec.structs.replace(again, prompt=request.prompt) == request


def test_refusal_parts_become_the_refusal_of_their_message() -> None:
    parts = [{"type": "text", "text": "t"}, {"type": "refusal", "refusal": "no"}]
    request = asked(body_of(messages=[USER, {"role": "assistant", "content": parts, "refusal": "I say "}]))
    assert isinstance(request.prompt, contract.Chat)
    message = request.prompt.messages[1]
    assert isinstance(message, contract.AssistantMessage)
    assert message.refusal == "I say no"
    assert [part.text for part in message.content or () if isinstance(part, contract.TextPart)] == ["t"]
    only = asked(body_of(messages=[USER, {"role": "assistant", "content": parts[1:]}])).prompt.messages[1]
    assert (only.content, only.refusal) == (None, "no")


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


@pytest.mark.parametrize(
    "schema",
    [
        {"type": []},
        {"type": ["string", 5]},
        {"type": None},
        {"properties": None},
        {"items": 5},
        {"items": []},
        {"oneOf": []},
        {"allOf": [5]},
        {"not": "a"},
        {"additionalProperties": "no"},
        {"required": ["a", "a"]},
        {"required": [["a"]]},
        {"required": True},
        {"minItems": 1.5},
        {"maxItems": True},
        {"minimum": "1"},
        {"multipleOf": 0},
        {"pattern": 5},
        {"enum": "a"},
        {"uniqueItems": 1},
        {"$ref": 5},
        {"$ref": "other.json"},
        {"$ref": "#/properties/a"},
        {"dependentRequired": []},
        {"properties": {"a": {"items": {"type": "strng"}}}},
        {"minLength": 1e400},
    ],
)
def test_what_is_no_json_schema_is_refused(schema: dict[str, Any]) -> None:
    text = json.dumps({"type": "json_schema", "json_schema": {"name": "a", "schema": schema}})
    body = body_of(response_format=0).replace(b'"response_format": 0', f'"response_format": {text}'.encode())
    assert refusal(body).code in ("invalid_json_schema", "invalid_json", "invalid_value")


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


@settings(max_examples=200, deadline=None)
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

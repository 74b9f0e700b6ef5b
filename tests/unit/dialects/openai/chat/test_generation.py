"""From a decoded request to what an instance is asked: values, defaults and limits."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from enginehouse.dialects.openai.chat.decode import decode_chat
from enginehouse.dialects.openai.chat.generation import generation_request
from enginehouse.dialects.openai.chat.request import ChatRequest
from enginehouse_plugin import GenerationRequest, NamedTool, Profile, Tool, needs
from enginehouse_plugin import request as contract
from enginehouse_plugin.profile import Field

from .asking import OPENAI, USER, asked, body_of, refusal


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
                "reasoning": None,
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
        stream_options={"include_usage": None, "include_obfuscation": None, "continuous_usage_stats": None},
    )
    assert asked(full) == asked(bare)


@pytest.mark.parametrize("more", [{}, {"reasoning_content": "Hm."}, {"reasoning_content": ""}, {"content": None}])
def test_reasoning_is_another_name_of_reasoning_content(more: dict[str, Any]) -> None:
    said = {"role": "assistant", "content": "Yes.", "reasoning": "Hm.", **more}
    prompt = asked(body_of(messages=[USER, said, USER])).prompt
    assert isinstance(prompt, contract.Chat)
    message = msgspec.to_builtins(prompt.messages[1])
    assert (message["reasoning_content"], "reasoning" in message) == ("Hm.", False)


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


def test_limits_come_from_the_profile() -> None:
    body = body_of(temperature=1.5, n=3, stop=["a"] * 6, logprobs=True, top_logprobs=9)
    stop = {"stop": Field(max_items=64)}
    wide = Profile(name="wide", fields=stop)
    assert len(asked(body, profile=wide).stop) == 6
    for narrow, param in (
        (Profile(name="p", fields={"temperature": Field(maximum=1), **stop}), "temperature"),
        (Profile(name="p", fields={"n": Field(maximum=2), **stop}), "n"),
        (Profile(name="p", fields={"top_logprobs": Field(maximum=8), **stop}), "top_logprobs"),
        (OPENAI, "stop"),
    ):
        assert refusal(body, profile=narrow).param == param


def test_where_the_api_documents_it_max_tokens_must_fit() -> None:
    strict = Profile(name="p", max_tokens_must_fit=True)
    assert asked(body_of(max_tokens=5), profile=strict).max_tokens_must_fit
    assert not asked(body_of(), profile=strict).max_tokens_must_fit
    assert not asked(body_of(max_completion_tokens=5), profile=strict).max_tokens_must_fit
    assert not asked(body_of(max_tokens=5)).max_tokens_must_fit


def test_of_two_limits_of_length_the_smaller_holds() -> None:
    assert asked(body_of(max_tokens=5, max_completion_tokens=9)).max_tokens == 5
    assert asked(body_of(max_tokens=9, max_completion_tokens=5)).max_tokens == 5
    assert asked(body_of(max_completion_tokens=5)).max_tokens == 5
    assert asked(body_of()).max_tokens is None


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
    request, _ = generation_request(chat, request_id="r", profile=OPENAI)
    assert isinstance(request.prompt, contract.Chat)
    assert request.prompt.messages is chat.messages
    assert isinstance(chat.messages[0], contract.UserMessage)


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


# ---- what asks for nothing ----


@pytest.mark.parametrize(
    "fields",
    [
        {"response_format": {"type": "text"}},
        {"parallel_tool_calls": True},
        {"tools": []},
        {"tools": [], "tool_choice": "auto"},
        {"top_k": -1},
        {"verbosity": "medium"},
    ],
    ids=str,
)
def test_what_asks_for_nothing_is_a_plain_request(fields: dict[str, Any]) -> None:
    assert asked(body_of(**fields)) == asked(body_of())


def test_no_parallel_calls_without_tools_need_nothing() -> None:
    assert list(needs(asked(body_of(parallel_tool_calls=False)))) == []


def test_thinking_disabled_is_the_templates_variable() -> None:
    assert asked(body_of(thinking={"type": "disabled"})).chat_template_kwargs == {"enable_thinking": False}
    request = asked(body_of(thinking={"type": "disabled"}, chat_template_kwargs={"b": 2}))
    assert request.chat_template_kwargs == {"enable_thinking": False, "b": 2}


def test_any_call_is_a_required_one() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert asked(body_of(tools=tools, tool_choice="any")).tool_choice == "required"


def test_cache_control_is_read_and_changes_nothing() -> None:
    mark = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    tool = {"type": "function", "function": {"name": "f"}}
    part = {"type": "text", "text": "Hi"}
    for role in ("system", "user", "assistant"):
        messages = [{"role": role, "content": [{**part, **mark}]}]
        request = asked(body_of(messages=messages, tools=[{**tool, **mark}]))
        assert isinstance(request.prompt, contract.Chat)
        assert msgspec.json.decode(msgspec.json.encode(request.prompt.messages)) == [{"role": role, "content": [part]}]
        assert request.tools == (Tool(name="f"),)

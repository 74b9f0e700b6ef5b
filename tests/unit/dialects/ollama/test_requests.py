"""What Ollama's clients send: read strictly, handed on whole, and what is left out named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from enginehouse.config import AgentConfig
from enginehouse.dialects.endpoint import Call, Named
from enginehouse.dialects.ollama.endpoint import ollama_chat, ollama_generate
from enginehouse.dialects.profiles import built_in
from enginehouse.fleet import ModelNotFound
from enginehouse_plugin.errors import EnginehouseError, InvalidRequest, UnsupportedFeature
from enginehouse_plugin.request import (
    AssistantMessage,
    Chat,
    FunctionCall,
    ImagePart,
    ImageURL,
    JsonObject,
    JsonSchema,
    SystemMessage,
    Text,
    TextPart,
    Tool,
    ToolCall,
    ToolMessage,
    UserMessage,
)

OLLAMA = built_in()["ollama"]
HI = [{"role": "user", "content": "hi"}]
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def chat(body: Mapping[str, Any] | bytes = {}, **settings: Any) -> Call:
    data = body if isinstance(body, bytes) else json.dumps({"model": "m", "messages": HI, **body}).encode()
    return ollama_chat(OLLAMA, **settings).decode(data, "r", {})


def generate(body: Mapping[str, Any] | bytes = {}, **settings: Any) -> Call:
    data = body if isinstance(body, bytes) else json.dumps({"model": "m", "prompt": "hi", **body}).encode()
    return ollama_generate(OLLAMA, **settings).decode(data, "r", {})


def test_a_bare_chat_streams_and_says_nothing_else() -> None:
    call = chat()
    assert (call.model, set(call.said), call.ignored, call.recorded) == ("m", {"stream"}, (), None)
    assert call.request.stream
    assert call.encoder.is_stream
    assert call.request.prompt == Chat((UserMessage("hi"),))


def test_a_prompt_is_a_users_message_and_a_raw_one_goes_as_it_is() -> None:
    asked = generate({"system": "Be brief.", "stream": False})
    assert asked.request.prompt == Chat((SystemMessage("Be brief."), UserMessage("hi")))
    assert not asked.encoder.is_stream
    assert generate({"raw": True}).request.prompt == Text("hi")


def test_options_are_fields_of_the_request() -> None:
    options = {
        "temperature": 0, "top_p": 0.5, "top_k": -1, "min_p": 0.1, "repeat_penalty": 1.2, "presence_penalty": 1,
        "frequency_penalty": -1, "seed": 7, "num_predict": 9, "stop": ["a", "b"], "repeat_last_n": -1,
    }  # fmt: skip
    call = chat({"options": options})
    request = call.request
    assert (request.temperature, request.top_p, request.top_k, request.min_p) == (0, 0.5, 0, 0.1)
    assert (request.repetition_penalty, request.presence_penalty, request.frequency_penalty) == (1.2, 1, -1)
    assert (request.seed, request.max_tokens, request.stop, call.ignored) == (7, 9, ("a", "b"), ())


@pytest.mark.parametrize("count", [-1, -2])
def test_as_many_tokens_as_fit(count: int) -> None:
    call = chat({"options": {"num_predict": count, "seed": -1, "stop": "x", "repeat_last_n": 0}})
    assert (call.request.max_tokens, call.request.seed, call.request.stop) == (None, None, ("x",))
    assert "max_tokens" in call.said
    assert "seed" not in call.said
    assert call.request.repetition_penalty == 1


def test_options_of_loading_are_recorded_and_those_nobody_has_are_named() -> None:
    options = {
        "num_ctx": 4096,
        "num_gpu": 1,
        "mirostat": 2,
        "mirostat_tau": 5.0,
        "typical_p": 0.5,
        "tfs_z": 1,
        "new": 1,
    }
    call = chat({"options": {**options, "repeat_last_n": 64}, "keep_alive": "5m"})
    assert call.recorded == {"options": {"num_ctx": 4096, "num_gpu": 1}, "keep_alive": "5m"}
    assert set(call.ignored) == {"options.new", "options.mirostat", "options.typical_p", "options.repeat_last_n"}
    assert generate({"template": "{{ .Prompt }}", "context": [1]}).ignored == ("template", "context")
    assert generate({"template": "", "context": []}).ignored == ()
    assert chat({"options": {"typical_p": 1, "mirostat": 0, "penalize_newline": True}}).ignored == ()


def test_what_is_left_out_is_refused_where_the_owner_says_so() -> None:
    with pytest.raises(UnsupportedFeature, match=r"options\.mirostat"):
        chat({"options": {"mirostat": 1}}, unsupported="refuse")
    with pytest.raises(InvalidRequest, match=r"options\.new"):
        chat({"options": {"new": 1}}, unknown_fields="refuse")


def test_forms_of_the_answer() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    assert chat({"format": "json"}).request.output == JsonObject()
    assert chat({"format": schema}).request.output == JsonSchema(name="format", schema=schema)
    assert chat({"format": ""}).request.output is None


def test_thinking() -> None:
    assert chat({"think": False}).request.chat_template_kwargs == {"enable_thinking": False}
    assert chat({"think": True}).request.chat_template_kwargs == {"enable_thinking": True}
    assert chat({"think": "low"}).request.reasoning_effort == "low"


def test_tools_may_be_called() -> None:
    request = chat({"tools": [WEATHER]}).request
    assert request.tools == (Tool(name="weather", parameters={"type": "object"}),)
    assert request.tool_choice == "auto"
    assert chat({"tools": []}).request.tools == ()


def test_a_history_of_calls_without_ids_is_put_together() -> None:
    called = {"role": "assistant", "content": "", "tool_calls": [
        {"function": {"name": "weather", "arguments": {"city": "Rome"}}},
        {"function": {"name": "clock", "arguments": {}}, "id": "own"},
    ]}  # fmt: skip
    results = [
        {"role": "tool", "tool_name": "clock", "content": "noon"},
        {"role": "tool", "content": "warm"},
    ]
    prompt = chat({"messages": [*HI, called, *results]}).request.prompt
    assert isinstance(prompt, Chat)
    calls = (
        ToolCall("call_1_0", FunctionCall("weather", '{"city":"Rome"}')),
        ToolCall("own", FunctionCall("clock", "{}")),
    )
    assert prompt.messages[1:] == (
        AssistantMessage(None, tool_calls=calls),
        ToolMessage("noon", "own", "clock"),
        ToolMessage("warm", "call_1_0"),
    )


def test_thoughts_come_back() -> None:
    before = {"role": "assistant", "content": "yes", "thinking": "hm"}
    prompt = chat({"messages": [*HI, before, *HI]}).request.prompt
    assert isinstance(prompt, Chat)
    assert prompt.messages[1] == AssistantMessage("yes", reasoning_content="hm")


def test_images_are_parts() -> None:
    picture = {"role": "user", "content": "what?", "images": ["/9j/AAAA"]}
    prompt = chat({"messages": [picture]}).request.prompt
    image = ImagePart(ImageURL("data:image/jpeg;base64,/9j/AAAA"))
    assert prompt == Chat((UserMessage((TextPart("what?"), image)),))


def test_names_may_have_a_tag() -> None:
    names = {"m": Named("m"), "helper": Named("m", AgentConfig("m", instructions="Help.", tools=()))}
    assert chat({"model": "m:latest"}, names=names).model == "m"
    call = chat({"model": "helper"}, names=names)
    assert call.request.prompt == Chat((SystemMessage("Help."), UserMessage("hi")))
    with pytest.raises(ModelNotFound, match="'x'"):
        chat({"model": "x"}, names=names)
    with pytest.raises(InvalidRequest, match="not given 'weather'"):
        chat({"model": "helper", "tools": [WEATHER]}, names=names)


def tool_result(**fields: Any) -> dict[str, Any]:
    return {"messages": [*HI, {"role": "tool", "content": "x", **fields}]}


BAD: list[tuple[str, Any, str]] = [
    ("chat", b"", "JSON"),
    ("chat", b"{", "JSON"),
    ("chat", b"[]", "object"),
    ("chat", b"\xff", "UTF-8|JSON"),
    ("chat", b'{"model":"m","model":"m","messages":[{"role":"user"}]}', "model"),
    ("chat", {"model": ""}, "model"),
    ("chat", {"model": 1}, "model"),
    ("chat", {"messages": []}, "messages"),
    ("chat", {"messages": None}, "messages"),
    ("chat", {"messages": [{}]}, r"messages\[0\]"),
    ("chat", {"messages": [{"role": "developer"}]}, r"messages\[0\]\.role"),
    ("chat", {"messages": [{"role": "user", "content": 1}]}, r"messages\[0\]\.content"),
    ("chat", {"messages": [{"role": "user", "images": [""]}]}, r"messages\[0\]\.images\[0\]"),
    ("chat", {"messages": [{"role": "system", "images": ["AAAA"]}]}, r"messages\[0\]\.images"),
    ("chat", {"messages": [{"role": "assistant", "tool_calls": [{}]}]}, r"tool_calls\[0\]\.function"),
    (
        "chat",
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}]},
        r"function\.arguments",
    ),
    ("chat", tool_result(), r"messages\[1\]\.tool_name"),
    ("chat", tool_result(tool_name="f"), r"messages\[1\]\.tool_name"),
    ("chat", tool_result(tool_call_id="c"), r"messages\[1\]\.tool_call_id"),
    ("chat", {"tools": {}}, "tools"),
    ("chat", {"tools": [{"type": "web"}]}, r"tools\[0\]"),
    ("chat", {"tools": [{"function": {"name": "a b"}}]}, r"tools\[0\]\.function\.name"),
    ("chat", {"tools": [WEATHER, WEATHER]}, r"tools\[1\]\.function\.name"),
    ("chat", {"tools": [{"function": {"name": "f", "parameters": {"type": "x"}}}]}, r"function\.parameters"),
    ("chat", {"format": "xml"}, "format"),
    ("chat", {"format": {"type": "x"}}, "format"),
    ("chat", {"format": 1}, "format"),
    ("chat", {"stream": "yes"}, "stream"),
    ("chat", {"think": "maximal"}, "think"),
    ("chat", {"think": 1}, "think"),
    ("chat", {"keep_alive": []}, "keep_alive"),
    ("chat", {"logprobs": 1}, "logprobs"),
    ("chat", {"top_logprobs": 2}, "top_logprobs"),
    ("chat", {"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ("chat", {"options": []}, "options"),
    ("chat", {"options": {"temperature": 3}}, r"options\.temperature"),
    ("chat", {"options": {"temperature": "hot"}}, r"options\.temperature"),
    ("chat", {"options": {"top_p": 1.1}}, r"options\.top_p"),
    ("chat", {"options": {"top_k": -2}}, r"options\.top_k"),
    ("chat", {"options": {"min_p": -1}}, r"options\.min_p"),
    ("chat", {"options": {"repeat_penalty": 0}}, r"options\.repeat_penalty"),
    ("chat", {"options": {"num_predict": 0}}, r"options\.num_predict"),
    ("chat", {"options": {"num_predict": 1.5}}, r"options\.num_predict"),
    ("chat", {"options": {"seed": 2**64}}, r"options\.seed"),
    ("chat", {"options": {"stop": ""}}, r"options\.stop"),
    ("chat", {"options": {"stop": [""]}}, r"options\.stop"),
    ("chat", {"options": {"repeat_last_n": -2}}, r"options\.repeat_last_n"),
    ("generate", {"prompt": ""}, "prompt"),
    ("generate", {"prompt": ["a"]}, "prompt"),
    ("generate", b'{"model":"m"}', "prompt"),
    ("generate", {"suffix": 1}, "suffix"),
    ("generate", {"suffix": "x", "system": "x"}, "system"),
    ("generate", {"raw": True, "system": "x"}, "system"),
    ("generate", {"raw": True, "images": ["AAAA"]}, "images"),
    ("generate", {"context": ["a"]}, "context"),
]


@pytest.mark.parametrize(("kind", "body", "named"), BAD)
def test_a_bad_request_is_told_which_field(kind: str, body: Any, named: str) -> None:
    with pytest.raises(InvalidRequest, match=named):
        (chat if kind == "chat" else generate)(body)


def test_errors_have_a_message_alone() -> None:
    endpoint = ollama_chat(OLLAMA)
    reply = endpoint.errors.describe(ModelNotFound("x", known=["m"]))
    assert reply.status == 404
    assert json.loads(reply.body) == {"error": "The model 'x' does not exist here. Models: 'm'."}
    assert "not in the request" in json.loads(endpoint.errors.describe(ZeroDivisionError()).body)["error"]
    assert endpoint.errors.describe(EnginehouseError("broken", retryable=True)).status == 500

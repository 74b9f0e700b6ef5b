from collections.abc import AsyncGenerator

import pytest

from enginehouse_plugin import (
    FEATURES,
    AnyEvent,
    AssistantMessage,
    Capabilities,
    Chat,
    DeveloperMessage,
    ExitReport,
    GenerationRequest,
    Instance,
    JsonObject,
    JsonSchema,
    NamedTool,
    Need,
    TextPart,
    Tool,
    UserMessage,
    missing,
    needs,
)
from enginehouse_plugin.errors import UnsupportedFeature
from enginehouse_plugin.request import (
    AudioPart,
    FilePart,
    FunctionCall,
    ImagePart,
    ImageURL,
    InputAudio,
    InputFile,
    ToolCall,
)

HI = UserMessage("Hi")
TOOLS = (Tool("f"),)


def request(*messages, **fields):
    return GenerationRequest(id="r", prompt=Chat(messages or (HI,)), **fields)


def test_a_plain_request_needs_nothing():
    assert list(needs(request(temperature=0.0, top_p=0.5, max_tokens=3))) == []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"stream": True}, [("streaming", "stream", None)]),
        ({"n": 2}, [("n", "n", 2)]),
        ({"stop": ("a", "b")}, [("stop", "stop", 2)]),
        ({"seed": 0}, [("seed", "seed", None)]),
        ({"frequency_penalty": -0.1}, [("frequency_penalty", "frequency_penalty", None)]),
        ({"presence_penalty": 0.1}, [("presence_penalty", "presence_penalty", None)]),
        ({"repetition_penalty": 0.9}, [("repetition_penalty", "repetition_penalty", None)]),
        ({"logit_bias": {1: 0.0}}, [("logit_bias", "logit_bias", None)]),
        ({"logprobs": True}, [("logprobs", "logprobs", None)]),
        ({"logprobs": True, "top_logprobs": 5}, [("logprobs", "logprobs", None), ("logprobs", "top_logprobs", 5)]),
        ({"top_k": 1}, [("top_k", "top_k", None)]),
        ({"min_p": 0.1}, [("min_p", "min_p", None)]),
        ({"output": JsonObject()}, [("json_object", "response_format", None)]),
        ({"output": JsonSchema("n", {})}, [("json_schema", "response_format", None)]),
        ({"tools": TOOLS, "tool_choice": "auto"}, [("tools", "tools", None)]),
        ({"tools": TOOLS, "tool_choice": "none"}, [("tools", "tools", None)]),
        (
            {"tools": TOOLS, "tool_choice": "required"},
            [("tools", "tools", None), ("tool_choice_required", "tool_choice", None)],
        ),
        (
            {"tools": TOOLS, "tool_choice": NamedTool("f")},
            [("tools", "tools", None), ("tool_choice_named", "tool_choice", None)],
        ),
        (
            {"tools": TOOLS, "parallel_tool_calls": False},
            [("tools", "tools", None), ("parallel_tool_calls", "parallel_tool_calls", None)],
        ),
        ({"reasoning_effort": "low"}, [("reasoning_effort", "reasoning_effort", None)]),
        ({"reasoning_effort": "none"}, [("reasoning_effort", "reasoning_effort", None, "reasoning")]),
        ({"reasoning_effort": "minimal"}, [("reasoning_effort", "reasoning_effort", None, "reasoning")]),
        (
            {"chat_template_kwargs": {"enable_thinking": False}},
            [("chat_template_kwargs", "chat_template_kwargs", None, "reasoning")],
        ),
        ({"chat_template_kwargs": {"a": 1}}, [("chat_template_kwargs", "chat_template_kwargs", None)]),
    ],
)
def test_a_field_needs_its_feature(fields, expected):
    assert list(needs(request(**fields))) == [Need(*need) for need in expected]


@pytest.mark.parametrize(
    ("message", "feature", "param"),
    [
        (DeveloperMessage("d"), "developer_role", "messages[1].role"),
        (AssistantMessage(tool_calls=(ToolCall("c", FunctionCall("f", "{}")),)), "tools", "messages[1].tool_calls"),
        (UserMessage((TextPart("a"), ImagePart(ImageURL("u")))), "image_input", "messages[1].content[1].type"),
        (UserMessage((AudioPart(InputAudio("x", "wav")),)), "audio_input", "messages[1].content[0].type"),
        (UserMessage((FilePart(InputFile()),)), "file_input", "messages[1].content[0].type"),
    ],
)
def test_a_message_needs_its_feature_at_its_place(message, feature, param):
    assert list(needs(request(HI, message))) == [Need(feature, param)]


def test_every_need_is_a_known_feature():
    everything = request(
        DeveloperMessage("d"),
        stream=True,
        n=2,
        stop=("a",),
        seed=1,
        frequency_penalty=1,
        presence_penalty=1,
        repetition_penalty=2,
        logit_bias={1: 1},
        logprobs=True,
        top_k=1,
        min_p=0.1,
        output=JsonObject(),
        tools=TOOLS,
        tool_choice="required",
        parallel_tool_calls=False,
        reasoning_effort="low",
        chat_template_kwargs={"a": 1},
    )
    assert {need.feature for need in needs(everything)} <= set(FEATURES)


def capable(*features, **limits):
    return Capabilities(context_tokens=9, max_concurrent_requests=1, features=frozenset(features), limits=limits)


def test_what_is_declared_is_not_missing_up_to_its_limit():
    assert list(missing(request(n=3, seed=1), capable("n", "seed", n=3))) == []
    assert list(missing(request(n=4, seed=1), capable("n", "seed", n=3))) == [Need("n", "n", 4)]
    assert list(missing(request(n=4, seed=1), capable("n"))) == [Need("seed", "seed")]
    assert list(missing(request(logprobs=True, top_logprobs=6), capable("logprobs", top_logprobs=5))) == [
        Need("logprobs", "top_logprobs", 6)
    ]


class Refusing(Instance):
    def __init__(self, capabilities: Capabilities) -> None:
        self.capabilities = capabilities

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[AnyEvent, None]:
        self.refuse_unsupported(request)
        return
        yield

    async def count_tokens(self, request: GenerationRequest) -> int:
        return 0

    async def check_ready(self) -> None:
        return

    async def unload(self) -> None:
        return

    async def wait_closed(self) -> ExitReport:
        return ExitReport(is_expected=True, reason="")


async def test_an_instance_refuses_what_it_does_not_declare():
    with pytest.raises(UnsupportedFeature) as absent:
        await anext(Refusing(capable()).generate(request(seed=1)))
    assert (absent.value.feature, absent.value.param, absent.value.code) == ("seed", "seed", "unsupported_parameter")
    with pytest.raises(UnsupportedFeature, match=r"'n' is 4 here; this model allows at most 3\."):
        await anext(Refusing(capable("n", n=3)).generate(request(n=4)))
    assert [event async for event in Refusing(capable("seed")).generate(request(seed=1))] == []

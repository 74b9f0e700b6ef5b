"""A request without what a model lacks: whatever is left out is needed no more."""

from __future__ import annotations

from typing import Any

import pytest

from enginehouse.fleet.left_out import without
from enginehouse_plugin import (
    AssistantMessage,
    Capabilities,
    Chat,
    DeveloperMessage,
    GenerationRequest,
    JsonObject,
    NamedTool,
    SystemMessage,
    Tool,
    UserMessage,
    missing,
)
from enginehouse_plugin.backend import unsupported
from enginehouse_plugin.request import FunctionCall, ImagePart, ImageURL, ToolCall

NOTHING = Capabilities(context_tokens=9, max_concurrent_requests=1)
HI = UserMessage("Hi")
EVERYTHING: dict[str, Any] = {
    "stream": True,
    "stop": ("a",),
    "seed": 1,
    "frequency_penalty": 1.0,
    "presence_penalty": 1.0,
    "repetition_penalty": 2.0,
    "logit_bias": {1: 1.0},
    "logprobs": True,
    "top_logprobs": 3,
    "top_k": 1,
    "min_p": 0.1,
    "output": JsonObject(),
    "tools": (Tool("f"),),
    "tool_choice": "required",
    "parallel_tool_calls": False,
    "reasoning_effort": "low",
    "chat_template_kwargs": {"a": 1},
}


def stripped(request: GenerationRequest, capabilities: Capabilities) -> GenerationRequest | None:
    """*request* without anything that *capabilities* lack, one after the other."""
    left: GenerationRequest | None = request
    for _ in range(50):
        if left is None or not (lacking := list(missing(left, capabilities))):
            return left
        left = without(left, unsupported(lacking[0], capabilities))
    raise AssertionError("something is needed for ever")


def test_of_a_request_for_everything_a_plain_one_is_left() -> None:
    plain = GenerationRequest(id="r", prompt=Chat((HI,)), temperature=0.5, max_tokens=3)
    full = GenerationRequest(id="r", prompt=Chat((HI,)), temperature=0.5, max_tokens=3, **EVERYTHING)
    assert stripped(full, NOTHING) == plain


@pytest.mark.parametrize("choice", ["required", NamedTool("f")])
def test_tools_stay_where_only_the_choice_is_lacking(choice: Any) -> None:
    able = Capabilities(context_tokens=9, max_concurrent_requests=1, features=frozenset({"tools"}))
    request = GenerationRequest(id="r", prompt=Chat((HI,)), tools=(Tool("f"),), tool_choice=choice)
    left = stripped(request, able)
    assert left is not None
    assert (left.tools, left.tool_choice) == ((Tool("f"),), "auto")


def test_more_of_a_feature_than_the_model_allows_is_left_out() -> None:
    able = Capabilities(
        context_tokens=9, max_concurrent_requests=1, features=frozenset({"logprobs"}), limits={"top_logprobs": 5}
    )
    left = stripped(GenerationRequest(id="r", prompt=Chat((HI,)), logprobs=True, top_logprobs=6), able)
    assert left is not None
    assert (left.logprobs, left.top_logprobs) == (True, 0)


def test_a_developer_speaks_as_the_system() -> None:
    left = stripped(GenerationRequest(id="r", prompt=Chat((DeveloperMessage("Be brief.", "d"), HI))), NOTHING)
    assert left is not None
    assert left.prompt == Chat((SystemMessage("Be brief.", "d"), HI))


@pytest.mark.parametrize(
    ("messages", "fields"),
    [
        ((HI,), {"n": 2}),
        ((UserMessage((ImagePart(ImageURL("u")),)),), {}),
        ((HI, AssistantMessage(tool_calls=(ToolCall("c", FunctionCall("f", "{}")),))), {}),
    ],
    ids=["choices", "an image", "past calls"],
)
def test_what_is_asked_and_the_number_of_answers_stay(messages: Any, fields: dict[str, Any]) -> None:
    assert stripped(GenerationRequest(id="r", prompt=Chat(messages), **fields), NOTHING) is None

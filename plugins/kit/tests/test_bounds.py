"""Bounds of the context and the vocabulary."""

import threading

import pytest

from enginehouse_kit.text import bounds
from enginehouse_plugin import (
    AssistantMessage,
    Chat,
    GenerationRequest,
    Text,
    TextPart,
    Tool,
    ToolMessage,
    UserMessage,
)
from enginehouse_plugin.errors import ContextTooLong, InvalidRequest
from enginehouse_plugin.request import FunctionCall, ToolCall


def request(**fields):
    return GenerationRequest(id="r", prompt=Text(""), **fields)


@pytest.mark.parametrize(
    ("prompt", "max_tokens", "room"),
    [(10, None, 90), (10, 90, 90), (10, 5, 5), (99, 1, 1), (10, 91, 90), (99, 2**31, 1)],
)
def test_room_is_what_is_asked_for_and_at_most_what_the_context_leaves(
    prompt: int, max_tokens: int | None, room: int
) -> None:
    assert bounds.room_for(request(max_tokens=max_tokens), prompt, 100) == room


@pytest.mark.parametrize(
    ("prompt", "max_tokens", "must_fit"),
    [(100, None, False), (100, 1, False), (500, 1, False), (10, 91, True), (100, None, True)],
)
def test_what_does_not_fit_is_refused_with_both_numbers(prompt: int, max_tokens: int | None, must_fit: bool) -> None:
    with pytest.raises(ContextTooLong) as refused:
        bounds.room_for(request(max_tokens=max_tokens, max_tokens_must_fit=must_fit), prompt, 100)
    assert (refused.value.prompt_tokens, refused.value.limit_tokens) == (prompt, 100)


@pytest.mark.parametrize("token_id", [-1, 10])
def test_a_token_that_does_not_exist_is_refused(token_id):
    with pytest.raises(InvalidRequest) as refused:
        bounds.check_bias(request(logit_bias={3: 1.0, token_id: 1.0}), 10)
    assert refused.value.param == "logit_bias"
    with pytest.raises(InvalidRequest) as refused:
        bounds.checked_ids((1, token_id), 10)
    assert refused.value.param == "prompt[1]"


def test_tokens_that_exist_are_taken():
    bounds.check_bias(request(logit_bias={0: 1.0, 9: -100.0}), 10)
    assert bounds.checked_ids((0, 9), 10) == [0, 9]


def test_text_that_cannot_fit_is_refused_by_its_bytes() -> None:
    """Characters of several bytes may be several tokens, and a begun token is one."""
    bounds.check_length(["é" * 10, "x" * 20], context_tokens=10, longest_token_bytes=4)
    with pytest.raises(ContextTooLong) as caught:
        bounds.check_length(["é" * 10, "x" * 21], context_tokens=10, longest_token_bytes=4)
    assert (caught.value.prompt_tokens, caught.value.limit_tokens) == (11, 10)
    assert caught.value.is_lower_bound


def chat(*contents: str) -> Chat:
    return Chat(tuple(UserMessage(content) for content in contents))


def test_a_conversation_that_may_fit_tells_its_bytes() -> None:
    told = Chat((UserMessage((TextPart("é"), TextPart("x" * 9))), AssistantMessage(), ToolMessage("y", "c")))
    assert bounds.check_chat(told, context_tokens=3, longest_token_bytes=4) == 12
    assert bounds.check_chat(told, context_tokens=3, longest_token_bytes=None) == 12


@pytest.mark.parametrize(("messages", "least"), [(chat(*"abcd"), 4), (chat("x" * 13), 4), (chat("é" * 7), 4)])
def test_a_conversation_that_cannot_fit_is_refused_before_it_is_rendered(messages: Chat, least: int) -> None:
    with pytest.raises(ContextTooLong) as refused:
        bounds.check_chat(messages, context_tokens=3, longest_token_bytes=4)
    assert (refused.value.prompt_tokens, refused.value.is_lower_bound) == (least, True)


def test_calls_and_tools_are_work_and_arguments_may_be_written_shorter() -> None:
    def called(arguments: str) -> Chat:
        call = ToolCall(id="c", function=FunctionCall(name="f", arguments=arguments))
        return Chat((AssistantMessage(tool_calls=(call,)),))

    assert bounds.check_chat(called("x" * 60), context_tokens=10, longest_token_bytes=1) == 60
    assert bounds.check_chat(called(""), context_tokens=10, longest_token_bytes=1, tools=[Tool(name="t" * 99)]) > 99
    with pytest.raises(ContextTooLong):
        bounds.check_chat(called("x" * 66), context_tokens=10, longest_token_bytes=1)


def test_space_that_templates_trim_takes_no_room() -> None:
    assert bounds.check_chat(chat(" " * 1000 + "x" + "\n" * 1000), context_tokens=1, longest_token_bytes=1) == 1


async def test_much_text_is_worked_on_by_a_thread_and_little_at_once() -> None:
    here = threading.current_thread()
    assert await bounds.apart(10, threading.current_thread) is here
    assert await bounds.apart(1 << 20, threading.current_thread) is not here

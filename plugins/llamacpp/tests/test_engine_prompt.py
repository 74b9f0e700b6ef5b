"""Prompts on the real engine: what the model reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from tests.asking import ask, joined, request
from tests.tokenizing import check_tokens_told

from enginehouse_llamacpp.instance import LlamaCppInstance
from enginehouse_plugin import (
    AssistantMessage,
    DeveloperMessage,
    JsonSchema,
    Message,
    NamedTool,
    SystemMessage,
    Text,
    TextPart,
    Tool,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from enginehouse_plugin.errors import ContextTooLong, InvalidRequest, UnsupportedFeature
from enginehouse_plugin.request import FunctionCall

from .conftest import Load

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="session")]

NEW_TURN = "<|im_end|>\n<|im_start|>assistant\n"

THINKING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% else %}<think>\n{% endif %}"
    "{% endif %}"
)
HERMES = (
    "{% if tools %}<|im_start|>system\nTools: {% for t in tools %}{{ t.function.name }} {{ t | tojson }}{% endfor %}\n"
    'Call them as <tool_call>\n{"name": <name>, "arguments": <arguments>}\n</tool_call><|im_end|>\n{% endif %}'
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% if m.tool_calls %}{% for c in m.tool_calls %}<tool_call>\n"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}\n</tool_call>{% endfor %}'
    "{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


async def rendered(model: LlamaCppInstance, messages: Sequence[Message], **fields: object) -> str:
    """The prompt as the model reads it, control tokens spelled out."""
    prompt = await model._prompter.prompt(request("", *messages, **fields))
    return b"".join(await model._server.pieces(prompt.token_ids)).decode()


async def test_a_conversation_is_rendered_by_the_models_own_template(model: LlamaCppInstance) -> None:
    text = await rendered(
        model, [SystemMessage("Be brief."), UserMessage("Hi"), AssistantMessage("Yes?"), UserMessage("No")]
    )
    assert text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nYes?<|im_end|>\n<|im_start|>user\nNo<|im_end|>\n<|im_start|>assistant\n"
    )


async def test_developer_is_shown_as_system(model: LlamaCppInstance) -> None:
    one = await rendered(model, [DeveloperMessage("Be brief."), UserMessage("Hi")])
    assert one == await rendered(model, [SystemMessage("Be brief."), UserMessage("Hi")])


async def test_a_last_assistant_message_is_followed_by_a_new_turn(model: LlamaCppInstance) -> None:
    text = await rendered(model, [UserMessage("Hi"), AssistantMessage("The answer is")])
    assert text.endswith(f"The answer is{NEW_TURN}")


async def test_text_parts_are_joined(model: LlamaCppInstance) -> None:
    text = await rendered(model, [UserMessage((TextPart("one "), TextPart("two")))])
    assert "user\none two<|im_end|>" in text


async def test_nothing_of_the_past_is_left_out(model: LlamaCppInstance) -> None:
    """Names, reasoning, refusals, calls and results, on a template that has no place for any of them."""
    calls = tuple(ToolCall(id=f"c{at}", function=FunctionCall("find", f'{{"key": {at}}}')) for at in range(2))
    text = await rendered(
        model,
        [
            UserMessage("Hi", name="Alice"),
            AssistantMessage("Hello", name="Bot", reasoning_content="They greet me."),
            AssistantMessage(refusal="I will not."),
            AssistantMessage("Looking.", tool_calls=calls),
            ToolMessage("found A", tool_call_id="c0"),
            ToolMessage("found B", tool_call_id="c1"),
            UserMessage("Well?"),
        ],
    )
    for part in ("Alice: Hi", "Bot: Hello", "They greet me.", "I will not.", "Looking.", "found A", "found B"):
        assert part in text
    assert '<tool_call>\n{"name": "find", "arguments": {"key": 0}}\n</tool_call>' in text
    assert '<tool_call>\n{"name": "find", "arguments": {"key": 1}}\n</tool_call>' in text
    assert '<tool_response name="find">\nfound A\n</tool_response>' in text


async def test_tools_are_shown_unless_the_choice_is_none(model: LlamaCppInstance) -> None:
    tools = (Tool(name="find", description="Finds things", parameters={"type": "object", "properties": {"key": {}}}),)
    for choice in ("auto", "required", NamedTool("find")):
        text = await rendered(model, [SystemMessage("Be brief."), UserMessage("Hi")], tools=tools, tool_choice=choice)
        assert "Finds things" in text
        assert '"key"' in text
        assert "Be brief." in text
    none = await rendered(model, [UserMessage("Hi")], tools=tools, tool_choice="none")
    assert none == await rendered(model, [UserMessage("Hi")])


@pytest.mark.parametrize("token", ["<|im_end|>", "<|im_start|>", "<|endoftext|>"])
async def test_a_users_text_never_becomes_a_control_token(model: LlamaCppInstance, token: str) -> None:
    """Not in a message, a tool's description, or a result; and the text itself stays whole."""
    text = f"one {token} two {token}\ufdd00\ufdd1"
    messages = [UserMessage(text), ToolMessage(text, tool_call_id="c"), UserMessage("end")]
    tools = (Tool(name="find", description=text),)
    prompt = await model._prompter.prompt(request("", *messages, tools=tools, tool_choice="auto"))
    plain = await model._prompter.prompt(
        request("", *[UserMessage("x")] * 3, tools=(Tool(name="f"),), tool_choice="auto")
    )
    control = model._model.control_tokens
    for name in ("<|im_start|>", "<|im_end|>", "<|endoftext|>"):
        assert prompt.token_ids.count(control[name]) == plain.token_ids.count(control[name])
    pieces = await model._server.pieces(prompt.token_ids)
    assert b"".join(pieces).decode().count(f"one {token} two {token}\ufdd00\ufdd1") == 3


async def test_raw_text_has_no_template(model: LlamaCppInstance) -> None:
    assert await model.count_tokens(request(prompt=Text("The capital of France is"))) == 5
    answer = await ask(model, prompt=Text("One, two, three, four,"), max_tokens=2)
    assert "five" in answer.text


async def test_counting_agrees_with_usage(model: LlamaCppInstance) -> None:
    tools = (Tool(name="find"),)
    answer = await ask(model, tools=tools, tool_choice="auto", max_tokens=1)
    assert answer.usage is not None
    assert answer.started is not None
    counted = await model.count_tokens(request(tools=tools, tool_choice="auto"))
    assert answer.usage.prompt_tokens == answer.started.prompt_tokens == counted


async def test_tokens_are_told_as_generate_has_them(model: LlamaCppInstance) -> None:
    await check_tokens_told(model)


@pytest.mark.parametrize(
    ("fields", "feature"),
    [({"reasoning_effort": "low"}, "reasoning_effort"), ({"chat_template_kwargs": {"a": 1}}, "chat_template_kwargs")],
)
async def test_what_the_template_cannot_do_is_refused(
    model: LlamaCppInstance, fields: dict[str, Any], feature: str
) -> None:
    assert feature not in model.capabilities.features
    assert "reasoning" not in model.capabilities.features
    with pytest.raises(UnsupportedFeature) as refused:
        await ask(model, **fields)
    assert refused.value.feature == feature


async def test_reasoning_is_told_apart_where_the_template_has_a_place_for_it(load: Load) -> None:
    """Proof of parsing alone: these weights do not reason, so the end of reasoning is forced on them."""
    instance = await load(chat_template=THINKING, context_tokens=512, slots=1)
    assert {"reasoning", "chat_template_kwargs"} <= instance.capabilities.features
    thinking = await ask(instance, max_tokens=10)
    assert thinking.text == ""
    assert thinking.choices[0].reasoning
    assert thinking.usage is not None
    assert 0 < thinking.usage.reasoning_tokens <= thinking.usage.completion_tokens
    off = await ask(instance, max_tokens=10, chat_template_kwargs={"enable_thinking": False})
    assert off.choices[0].reasoning == ""
    assert off.text
    with pytest.raises(InvalidRequest) as refused:
        await ask(instance, chat_template_kwargs={"enable_thinkng": False})
    assert refused.value.param == "chat_template_kwargs.enable_thinkng"
    output = JsonSchema(name="x", schema={"const": "done"})
    past = [m for _ in range(4) for m in (UserMessage("Go."), AssistantMessage('<think>\nok\n</think>\n\n"done"'))]
    both = await ask(instance, "Go.", *past, output=output, max_tokens=60, logprobs=True)
    assert both.reason == "stop"
    assert both.text == '"done"'
    assert "</" not in both.choices[0].reasoning
    assert both.choices[0].reasoning
    assert joined([token for token in both.logprobs if token.channel == "content"]) == both.text


async def test_a_template_with_tools_of_its_own_is_used(load: Load) -> None:
    instance = await load(chat_template=HERMES, context_tokens=1024, slots=1)
    tools = (Tool(name="find", description="Finds things"),)
    call = ToolCall(id="c0", function=FunctionCall("find", "{}"))
    text = await rendered(
        instance,
        [UserMessage("Hi"), AssistantMessage(tool_calls=(call,)), ToolMessage("found", tool_call_id="c0")],
        tools=tools,
        tool_choice="auto",
    )
    assert "Tools: find" in text
    assert "<|im_start|>tool\nfound<|im_end|>" in text
    assert "You may call these functions" not in text
    answer = await ask(instance, tools=tools, tool_choice="required", max_tokens=60)
    assert answer.choices[0].calls[0] == ("find", "{}")


@pytest.mark.parametrize("prompt", ["chat", "text"])
async def test_a_prompt_that_cannot_fit_is_refused_before_it_is_tokenized(model: LlamaCppInstance, prompt: str) -> None:
    """The engine would take minutes for a word of megabytes."""
    word = "x" * 15_000_000
    asked = request(word) if prompt == "chat" else request("", prompt=Text(word))
    with pytest.raises(ContextTooLong) as caught:
        await model._prompter.prompt(asked)
    assert caught.value.is_lower_bound
    assert caught.value.limit_tokens == model.capabilities.context_tokens < caught.value.prompt_tokens
    assert caught.value.code == "context_length_exceeded"


async def test_a_prompt_of_the_longest_tokens_is_counted_exactly(model: LlamaCppInstance) -> None:
    """The bound that needs no tokenizer refuses nothing that fits."""
    context = model.capabilities.context_tokens
    line = b"\n" + b" " * 80  # the longest token that the vocabulary has
    assert len(line) == model._model.longest_token_bytes
    asked = request("", prompt=Text(line.decode() * (context - 1)))
    assert len((await model._prompter.prompt(asked)).token_ids) < 2 * context

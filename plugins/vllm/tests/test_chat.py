"""The chat route, with vLLM scripted: calls in a form that it reads, reasoning in one that it does not."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
import pytest_asyncio
from tests.asking import ask

from enginehouse_kit.process.child import Child
from enginehouse_plugin import Tool
from enginehouse_vllm import checkpoint as checkpoints
from enginehouse_vllm import vocabulary
from enginehouse_vllm.families import choose
from enginehouse_vllm.instance import VllmInstance
from enginehouse_vllm.model import describe

from .scripted import reply, scripted

TOOL = Tool("f", "Does f.", {"type": "object", "properties": {}, "additionalProperties": False})
TEMPLATE = "{{ messages }} {{ tools }} {{ message.tool_calls }} <tool_call><function=f></tool_call> <think>"
CALL = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def chunk(tokens: int, finish_reason: str | None = None, **delta: Any) -> str:
    """An event of the chat route, for choice 0."""
    usage = {"prompt_tokens": 3, "completion_tokens": tokens}
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return f"data: {json.dumps({'choices': [choice], 'usage': usage})}\n\n"


class Chatting:
    """An engine whose prompts end in *prompt_end* and whose answers are *chunks*."""

    def __init__(self) -> None:
        self.prompt_end = "<|im_start|>assistant\n"
        self.chunks: list[str] = []
        self.body: dict[str, Any] = {}
        """What the chat route was asked last."""

    def answer(self, method: str, target: str, body: bytes) -> bytes:
        if target == "/tokenize":
            return reply(b'{"tokens": [1, 2, 3]}')
        if target == "/detokenize":
            return reply(json.dumps({"prompt": self.prompt_end}).encode())
        assert target == "/v1/chat/completions"
        self.body = json.loads(body)
        usage = 'data: {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 9}}\n\n'
        return reply("".join([*self.chunks, usage, "data: [DONE]\n\n"]).encode())


@pytest.fixture
def engine() -> Chatting:
    """The engine that `instance` is on."""
    return Chatting()


@pytest_asyncio.fixture
async def instance(engine: Chatting, tiny: Path, tmp_path: Path) -> AsyncIterator[VllmInstance]:
    """A model that reasons between marks, and whose calls only vLLM reads."""
    checkpoint = msgspec.structs.replace(checkpoints.read(tiny), template=TEMPLATE)
    pieces = vocabulary.read(checkpoint.tokenizer or {})
    parsers = choose(checkpoint, "auto", "auto")
    assert (parsers.tool, parsers.reasoning) == ("qwen3_coder", None)
    model = describe(checkpoint, TEMPLATE, parsers, pieces, context_tokens=64, sequences=1, prefix_cache=True)
    async with scripted(engine.answer, tmp_path) as server:
        yield VllmInstance(cast("Child", None), server, model)


@pytest.mark.parametrize(
    ("prompt_end", "opens"), [("assistant\n<think>\n", ""), ("assistant\n", "<think>")], ids=["begun", "may begin"]
)
async def test_reasoning_before_a_call_that_vllm_reads_is_told_apart(
    engine: Chatting, instance: VllmInstance, prompt_end: str, opens: str
) -> None:
    """Without a reasoning parser vLLM passes the marks on in the content."""
    engine.prompt_end = prompt_end
    engine.chunks = [
        chunk(2, content=f"{opens}Hm. I"),
        chunk(5, content=" call.</th"),
        chunk(6, content="ink>\n\nNow:"),
        chunk(8, tool_calls=[CALL]),
        chunk(9, content="<|im_end|>"),
        chunk(9, finish_reason="tool_calls"),
    ]
    found = await ask(instance, tools=(TOOL,), tool_choice="auto")
    assert found.choices[0].reasoning == "Hm. I call."
    assert found.text == "Now:"
    assert found.choices[0].calls == [("f", "{}")]
    assert found.reason == "tool_calls"
    assert found.usage is not None
    assert 0 < found.usage.reasoning_tokens < found.usage.completion_tokens == 9
    assert "skip_special_tokens" not in engine.body


async def test_the_token_that_ends_the_answer_is_no_text(engine: Chatting, instance: VllmInstance) -> None:
    """vLLM gives it where its parser needs control tokens and stop strings are asked for."""
    engine.chunks = [chunk(2, content="Yes."), chunk(3, content="<|im_end|>", finish_reason="stop")]
    found = await ask(instance, tools=(TOOL,), tool_choice="auto", stop=("|",))
    assert (found.text, found.reason, found.choices[0].matched_stop) == ("Yes.", "stop", None)


async def test_where_the_prompt_has_ended_reasoning_all_text_is_content(
    engine: Chatting, instance: VllmInstance
) -> None:
    engine.prompt_end = "assistant\n<think>\n\n</think>\n\n"
    engine.chunks = [chunk(2, content="Yes."), chunk(3, finish_reason="stop")]
    found = await ask(instance, tools=(TOOL,), tool_choice="auto")
    assert (found.text, found.choices[0].reasoning) == ("Yes.", "")

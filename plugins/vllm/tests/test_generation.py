"""From vLLM's chunks to events, with its answers scripted."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from tests.asking import request

from enginehouse_plugin import AnyEvent, Finished, ReasoningDelta, TextDelta, UsageReport
from enginehouse_plugin.errors import EngineDied, EngineProtocolError
from enginehouse_vllm import checkpoint as checkpoints
from enginehouse_vllm import vocabulary
from enginehouse_vllm.checkpoint import Checkpoint
from enginehouse_vllm.families import Parsers
from enginehouse_vllm.generation import Generation
from enginehouse_vllm.model import Model, describe
from enginehouse_vllm.prompt import Prompt
from enginehouse_vllm.server import Server

from .scripted import reply, scripted

DONE = "data: [DONE]\n\n"
USAGE = 'data: {"choices": [], "usage": {"prompt_tokens": 2, "completion_tokens": 3}}\n\n'


def piece(text: str, tokens: int, finish_reason: str | None = None) -> str:
    """A chunk of choice 0."""
    choice = {"index": 0, "text": text, "finish_reason": finish_reason}
    usage = {"prompt_tokens": 2, "completion_tokens": tokens}
    return f"data: {json.dumps({'choices': [choice], 'usage': usage})}\n\n"


class Scripted:
    """An engine that answers every request with the same stream, and then closes the connection."""

    def __init__(self) -> None:
        self.stream = ""
        self.bodies: list[dict[str, Any]] = []
        self.length: int | None = None
        """Bytes that it announces, where not those of the stream."""

    def answer(self, method: str, target: str, body: bytes) -> bytes:
        self.bodies.append(json.loads(body))
        return reply(self.stream.encode(), length=self.length)


@pytest_asyncio.fixture
async def engine(tmp_path: Path) -> AsyncIterator[tuple[Scripted, Server]]:
    """The engine, and the adapter's end of it."""
    engine = Scripted()
    async with scripted(engine.answer, tmp_path) as server:
        yield engine, server


def model(checkpoint: Checkpoint) -> Model:
    pieces = vocabulary.read(checkpoint.tokenizer or {})
    template = "<think> {{ messages }}"
    return describe(checkpoint, template, Parsers(), pieces, context_tokens=64, sequences=1, prefix_cache=True)


async def events_of(server: Server, loaded: Model, seen: list[AnyEvent] | None = None) -> list[AnyEvent]:
    """The events; *seen* has those before a failure too."""
    seen = [] if seen is None else seen
    async for event in Generation(server, loaded, request(), Prompt([1, 2], "may begin"), None).events():
        seen.append(event)  # a comprehension would lose them
    return seen


async def test_marks_of_reasoning_that_are_control_tokens_are_read_all_the_same(
    engine: tuple[Scripted, Server], tiny: Path
) -> None:
    """vLLM would leave them out of its text; other control tokens are left out here then."""
    scripted, server = engine
    scripted.stream = "".join(
        [piece("<think>", 1), piece("Hm.", 2), piece("</think>", 3), piece("Yes.", 4), piece("<|im_end|>", 5, "stop")]
    )
    scripted.stream += USAGE + DONE
    known = checkpoints.read(tiny)
    marked = msgspec.structs.replace(known, controls={**known.controls, 3: "<think>", 5: "</think>"})
    events = await events_of(server, model(marked))
    assert "".join(event.text for event in events if isinstance(event, ReasoningDelta)) == "Hm."
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "Yes."
    assert scripted.bodies[0]["skip_special_tokens"] is False
    await events_of(server, model(known))
    assert "skip_special_tokens" not in scripted.bodies[1]


async def test_a_stream_that_breaks_has_no_end(engine: tuple[Scripted, Server], tiny: Path) -> None:
    """Closed in the middle, ended too early, or without sense: no finish and no usage follow what came."""
    scripted, server = engine
    loaded = model(checkpoints.read(tiny))
    scripted.stream = piece("No, ", 1)
    for length, kind in ((10_000, EngineDied), (None, EngineProtocolError)):
        scripted.length = length
        seen: list[AnyEvent] = []
        with pytest.raises(kind):
            await events_of(server, loaded, seen)
        assert [event.completion_tokens for event in seen if isinstance(event, TextDelta)] == [1]
        assert not [event for event in seen if isinstance(event, Finished | UsageReport)]
    scripted.stream = piece("No, ", 1) + "data: {\n\n"
    with pytest.raises(EngineProtocolError, match="cannot be read"):
        await events_of(server, loaded)

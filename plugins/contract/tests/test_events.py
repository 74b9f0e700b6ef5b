from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse_kit.worker.frames import Emitted, Frame, Generate
from enginehouse_plugin import AnyEvent, Capabilities, GenerationRequest, events

floats = st.floats(allow_nan=False)
texts = st.text(max_size=5)
counts = st.integers(0, 2**40)
tops = st.builds(events.TopLogprob, texts, counts, st.binary(max_size=4), floats)
logprobs = st.builds(
    events.TokenLogprob,
    texts,
    counts,
    st.binary(max_size=4),
    floats,
    st.lists(tops, max_size=2).map(tuple),
    st.sampled_from(["content", "reasoning", "refusal"]),
)
deltas = (counts, texts, counts, st.none() | st.lists(logprobs, max_size=2).map(tuple))
any_event = st.one_of(
    st.builds(events.Started, st.none() | counts, counts),
    *[st.builds(kind, *deltas) for kind in (events.TextDelta, events.ReasoningDelta, events.RefusalDelta)],
    st.builds(events.ToolCallDelta, counts, counts, counts, st.none() | texts, st.none() | texts, texts),
    st.builds(events.Finished, counts, st.sampled_from(get_args(events.FinishReason)), st.none() | texts),
    st.builds(events.UsageReport, counts, counts, counts, counts),
)


@given(st.lists(any_event, max_size=3).map(tuple))
def test_events_cross_a_process_unchanged(batch):
    frame = Emitted(3, batch)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(frame), type=Frame) == frame


def test_tags_are_the_wire_of_this_version():
    """A new tag or another one needs a new `EVENTS_VERSION`."""
    tags = {kind.__struct_config__.tag for kind in get_args(AnyEvent)}
    assert (events.EVENTS_VERSION, tags) == (
        2,
        {"started", "text", "reasoning", "refusal", "tool_call", "finished", "usage"},
    )


def test_events_are_frozen():
    with pytest.raises(AttributeError):
        events.Started(1).prompt_tokens = 2  # type: ignore[misc]


messages = st.sampled_from(
    [
        {"role": "system", "content": "s", "name": "n"},
        {"role": "developer", "content": "d"},
        {"role": "user", "content": [{"type": "text", "text": "t"}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:x", "detail": "low"}}]},
        {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}}]},
        {"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]},
        {"role": "assistant", "content": None, "refusal": "r", "reasoning_content": "c"},
        {
            "role": "assistant",
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "content": "t", "tool_call_id": "c"},
    ]
)
prompts = st.one_of(
    st.lists(messages, max_size=3).map(lambda some: {"kind": "chat", "messages": some}),
    texts.map(lambda text: {"kind": "text", "text": text}),
    st.lists(counts, max_size=3).map(lambda ids: {"kind": "tokens", "token_ids": ids}),
)
fields = st.fixed_dictionaries(
    {"id": texts, "prompt": prompts},
    optional={
        "stream": st.booleans(),
        "n": st.integers(1, 8),
        "max_tokens": st.none() | counts,
        "temperature": floats,
        "logit_bias": st.dictionaries(st.integers(0, 10**6), floats, max_size=3),
        "seed": st.none() | st.integers(-(2**63), 2**63 - 1),
        "stop": st.lists(texts, max_size=2),
        "output": st.sampled_from([None, {"kind": "json_object"}, {"kind": "json_schema", "name": "n", "schema": {}}]),
        "tools": st.just([{"name": "f", "parameters": {"type": "object"}}]),
        "tool_choice": st.sampled_from(["none", "auto", "required", {"name": "f"}]),
        "chat_template_kwargs": st.none() | st.dictionaries(texts, texts, max_size=2),
    },
)


@given(fields)
def test_requests_cross_a_process_unchanged(some):
    request = msgspec.convert(some, GenerationRequest)
    frame = Generate(1, request)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(frame), type=Frame) == frame


def test_capabilities_cross_a_process_unchanged():
    capabilities = Capabilities(
        context_tokens=5, max_concurrent_requests=2, features=frozenset({"n", "seed"}), limits={"n": 4}
    )
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(capabilities), type=Capabilities) == capabilities

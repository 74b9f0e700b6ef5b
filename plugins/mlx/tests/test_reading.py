"""From tokens to events, without a model; calls in the forms of mlx_lm's parsers."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from typing import Any

import pytest

from enginehouse_mlx.engine.reading import FormatReader
from enginehouse_mlx.engine.templates import CallFormat
from enginehouse_plugin import AnyEvent, TextDelta, Tool, ToolCallDelta

TOOLS = (Tool("add", parameters={"type": "object", "properties": {"a": {"type": "integer"}}}), Tool("stop"))


def form(name: str) -> CallFormat:
    module: Any = importlib.import_module(f"mlx_lm.tool_parsers.{name}")
    return CallFormat(module.tool_call_start, module.tool_call_end, module.parse_tool_call)


def read(reader: FormatReader, text: str, size: int) -> list[AnyEvent]:
    events: list[AnyEvent] = []
    for at in range(0, len(text), size):
        events += reader.read(text[at : at + size], 0, at + 1)
    return [*events, *reader.finish(0, len(text))]


def text_of(events: Sequence[AnyEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def calls_of(events: Sequence[AnyEvent]) -> list[tuple[str | None, Any]]:
    calls = [event for event in events if isinstance(event, ToolCallDelta)]
    assert [call.call_index for call in calls] == list(range(len(calls)))
    assert len({call.id for call in calls}) == len(calls)
    return [(call.name, json.loads(call.arguments_fragment)) for call in calls]


CODER = "<tool_call>\n<function=add>\n<parameter=a>\n4\n</parameter>\n</function>\n</tool_call>"


@pytest.mark.parametrize(
    ("name", "text", "before", "calls"),
    [
        ("qwen3_coder", f"Now.\n{CODER}", "Now.\n", [("add", {"a": 4})]),
        ("qwen3_coder", f"{CODER}\n{CODER}\n", "", [("add", {"a": 4}), ("add", {"a": 4})]),
        ("mistral", '[TOOL_CALLS][{"name": "add", "arguments": {"a": 4}}]', "", [("add", {"a": 4})]),
        ("mistral", 'Yes [TOOL_CALLS]add[ARGS]{"a": 4}', "Yes ", [("add", {"a": 4})]),
        ("pythonic", "<|tool_call_start|>[add(a=4)]<|tool_call_end|>", "", [("add", {"a": 4})]),
        ("json_tools", "Just <tool_cal", "Just <tool_cal", []),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_calls_of_a_template_are_read_however_they_are_split(
    name: str, text: str, before: str, calls: list[tuple[str, Any]], size: int
) -> None:
    reader = FormatReader(form(name), TOOLS, True)
    events = read(reader, text, size)
    assert text_of(events) == before
    assert calls_of(events) == calls
    assert reader.reason("stop") == ("tool_calls" if calls else "stop")
    assert reader.reason("length") == "length"


@pytest.mark.parametrize(
    "inside",
    ["no call at all", '{"name": "unknown", "arguments": {}}', "[1]", '{"name": "add", "arguments'],
)
def test_what_is_no_call_of_a_given_tool_is_text(inside: str) -> None:
    text = f"a <tool_call>{inside}</tool_call> b"
    reader = FormatReader(form("json_tools"), TOOLS, True)
    assert text_of(read(reader, text, 4)) == text
    assert reader.reason("stop") == "stop"


def test_a_call_that_is_cut_short_is_none() -> None:
    reader = FormatReader(form("json_tools"), TOOLS, True)
    assert read(reader, '<tool_call>{"name": "add", "arguments": {"a"', 5) == []
    assert reader.reason("length") == "length"


def test_only_one_call_is_passed_on_where_calls_are_not_parallel() -> None:
    call = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'
    events = read(FormatReader(form("json_tools"), TOOLS, False), call * 2, 7)
    assert calls_of(events) == [("add", {"a": 1})]

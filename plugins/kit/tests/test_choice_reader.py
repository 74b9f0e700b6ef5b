"""From text to events."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse_kit.text.choice_reader import ChoiceReader
from enginehouse_kit.text.marked_calls import CallReader
from enginehouse_kit.text.thinking import State, state_after
from enginehouse_plugin import AnyEvent, Finished, ReasoningDelta, TextDelta, TokenLogprob, ToolCallDelta


def read_all(reader: ChoiceReader, pieces: Sequence[str], end: str = "stop") -> list[AnyEvent]:
    events: list[AnyEvent] = []
    for at, piece in enumerate(pieces):
        token = TokenLogprob(piece, at, piece.encode(), -1.0)
        events += reader.read(piece, at + 1, [token])
    events += reader.finish(end, len(pieces))
    return events


def text_of(events: Sequence[AnyEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def pieces_of(text: str) -> st.SearchStrategy[list[str]]:
    cuts = st.sets(st.integers(1, max(len(text) - 1, 1)))
    return cuts.map(lambda at: [text[a:b] for a, b in zip([0, *sorted(at)], [*sorted(at), len(text)], strict=True)])


CALL = '{"name": "f", "arguments": {"a": "}]<tool_call></tool_call>"}}'
MARKED = f"Well. <tool_ <tool_call>\n{CALL}\n</tool_call>\n<tool_call>{CALL}</tool_call>"


@given(pieces_of(MARKED))
def test_marked_calls_are_told_from_text_however_they_are_split(pieces: list[str]) -> None:
    events = read_all(ChoiceReader(0, CallReader(is_forced=False), "never"), pieces)
    assert text_of(events) == "Well. <tool_ "
    calls = [event for event in events if isinstance(event, ToolCallDelta)]
    for index in (0, 1):
        mine = [call for call in calls if call.call_index == index]
        assert mine[0].name == "f"
        assert "".join(call.arguments_fragment for call in mine) == '{"a": "}]<tool_call></tool_call>"}'
    assert len({call.id for call in calls if call.id}) == 2
    assert events[-1] == Finished(0, "tool_calls")


@given(pieces_of("Just text with < and <tool_cal at its end <tool_c"))
def test_text_that_only_begins_like_a_mark_is_text(pieces: list[str]) -> None:
    events = read_all(ChoiceReader(0, CallReader(is_forced=False), "never"), pieces)
    assert text_of(events) == "".join(pieces)
    assert events[-1] == Finished(0, "stop")


@pytest.mark.parametrize(
    ("is_named", "end", "reason"), [(False, "stop", "tool_calls"), (True, "stop", "stop"), (False, "length", "length")]
)
def test_the_reason_of_forced_calls(is_named: bool, end: str, reason: str) -> None:
    reader = ChoiceReader(0, CallReader(is_forced=True, is_named=is_named), "never")
    events = read_all(reader, [f"[{CALL},", f"{CALL}]"], end)
    assert len({event.call_index for event in events if isinstance(event, ToolCallDelta)}) == 2
    assert isinstance(events[-1], Finished)
    assert events[-1].reason == reason


@pytest.mark.parametrize(
    ("state", "text", "reasoning", "content"),
    [
        ("never", "<think>a</think>b", "", "<think>a</think>b"),
        ("inside", "let me see</think>\n\nyes", "let me see", "yes"),
        ("inside", "never ends </thin", "never ends </thin", ""),
        ("may begin", "<think>hm</think> yes", "hm", "yes"),
        ("may begin", "\n<think>hm</think>", "hm", ""),
        ("may begin", "plain <think>", "", "plain <think>"),
        ("may begin", "<thi", "", "<thi"),
    ],
)
def test_reasoning_is_split_however_the_text_is(state: State, text: str, reasoning: str, content: str) -> None:
    for size in (1, 2, 3, 5, 100):
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        events = read_all(ChoiceReader(0, None, state), pieces)
        assert "".join(event.text for event in events if isinstance(event, ReasoningDelta)) == reasoning
        assert text_of(events) == content


@given(pieces_of("abc</think>\n\ndef ghi"))
def test_logprobs_stay_with_their_channel(pieces: list[str]) -> None:
    events = read_all(ChoiceReader(0, None, "inside"), pieces)
    for event in events:
        if isinstance(event, TextDelta | ReasoningDelta) and event.logprobs:
            channel = "content" if isinstance(event, TextDelta) else "reasoning"
            assert {token.channel for token in event.logprobs} == {channel}


@pytest.mark.parametrize(
    ("prompt", "state"),
    [("…assistant\n<think>\n", "inside"), ("…assistant\n", "may begin"), ("…<think>\n\n</think>\n\n", "never")],
)
def test_the_end_of_the_prompt_tells_whether_the_model_reasons(prompt: str, state: State) -> None:
    assert state_after(prompt, template_has_thinking=True) == state
    assert state_after(prompt, template_has_thinking=False) == "never"


def test_a_stop_string_is_told_with_the_end() -> None:
    (end,) = ChoiceReader(0, None, "never").finish("stop", 3, "x")
    assert end == Finished(0, "stop", "x")


def test_other_marks_of_reasoning_are_known_by_the_model() -> None:
    marks = ("<|think:start|>", "<|think:end|>")
    reader = ChoiceReader(0, None, state_after("…assistant\n", True, marks), marks)
    events = [*reader.read("<|think:start|>hm<think>", 1), *reader.read("<|think:end|>yes", 2)]
    assert "".join(event.text for event in events if isinstance(event, ReasoningDelta)) == "hm<think>"
    assert text_of(events) == "yes"


def test_a_call_that_a_stop_string_breaks_is_no_call_to_make() -> None:
    reader = ChoiceReader(0, CallReader(is_forced=True), "never")
    events = [*reader.read(f"[{CALL}, {CALL[:30]}", 9), *reader.finish("stop", 9, "x")]
    assert events[-1] == Finished(0, "stop", "x")


def test_tokens_that_end_inside_a_character_keep_their_place_where_the_answer_is_cut() -> None:
    """They are no text; behind a stop string nothing is told."""
    halves = [TokenLogprob("\ufffd", at, bytes([byte]), -1.0) for at, byte in enumerate(b"\xf0\x9f")]
    reader = ChoiceReader(0, None, "never")
    heard = [*reader.read("", 1, halves[:1]), *reader.read("", 2, halves[1:]), *reader.finish("length", 2)]
    assert heard == [TextDelta(0, "", 2, tuple(halves)), Finished(0, "length")]
    stopped = ChoiceReader(0, None, "never")
    assert [*stopped.read("", 1, halves[:1]), *stopped.finish("stop", 1, "x")] == [Finished(0, "stop", "x")]

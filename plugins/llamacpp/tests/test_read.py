"""From chunks to events, without an engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse_llamacpp.calls import CallReader
from enginehouse_llamacpp.grammar import Grammar
from enginehouse_llamacpp.progress import GrammarProgress
from enginehouse_llamacpp.read import ChoiceReader
from enginehouse_llamacpp.server import Chunk, Failure, decode_chunk, failure
from enginehouse_llamacpp.thinking import State, ThinkSplitter, state_after, thinking_rule
from enginehouse_plugin import AnyEvent, Finished, ReasoningDelta, TextDelta, TokenLogprob, ToolCallDelta
from enginehouse_plugin.errors import (
    ContextTooLong,
    EngineFailure,
    EngineOverloaded,
    EngineProtocolError,
    EngineUnavailable,
    InvalidRequest,
)


def read_all(reader: ChoiceReader, pieces: Sequence[str], end: str = "eos") -> list[AnyEvent]:
    events: list[AnyEvent] = []
    for at, piece in enumerate(pieces):
        token = TokenLogprob(piece, at, piece.encode(), -1.0)
        events += reader.read(piece, at + 1, [token])
    events += reader.finish(Chunk(stop=True, stop_type=end, tokens_predicted=len(pieces)))
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
    ("is_named", "end", "reason"), [(False, "eos", "tool_calls"), (True, "eos", "stop"), (False, "limit", "length")]
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


@pytest.mark.parametrize(
    ("state", "good", "bad"),
    [
        ("inside", ["a < b <</think>\n{}", "</think>{}", "</thin </think>{}"], ["{}", "a</think>x"]),
        ("may begin", ["{}", "<think>a</think>\n\n{}"], ["<think>{}", "a</think>{}"]),
        ("never", ["{}"], ["<think></think>{}"]),
    ],
)
def test_a_grammar_leaves_room_for_reasoning(state: State, good: list[str], bad: list[str]) -> None:
    for text in (*good, *bad):
        grammar = Grammar()
        progress = GrammarProgress(grammar.text(f'{thinking_rule(grammar, state)} "{{}}"'))
        assert (progress.read(text) and progress.may_end) == (text in good), text


def test_a_splitter_knows_whether_it_is_in_reasoning() -> None:
    splitter = ThinkSplitter("inside")
    splitter.push("a")
    assert splitter.is_reasoning
    splitter.push("</think>")
    assert not splitter.is_reasoning


def test_a_stop_string_is_told_only_where_one_matched() -> None:
    reader: Callable[[], ChoiceReader] = lambda: ChoiceReader(0, None, "never")  # noqa: E731
    (word,) = reader().finish(Chunk(stop=True, stop_type="word", stopping_word="x"))
    (end,) = reader().finish(Chunk(stop=True, stop_type="eos", stopping_word=""))
    assert word == Finished(0, "stop", "x")
    assert end == Finished(0, "stop", None)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Failure("too long", "exceed_context_size_error", 400, 10, 5), ContextTooLong),
        (Failure("bad", "invalid_request_error", 400), InvalidRequest),
        (Failure("no", "not_supported_error", 501), InvalidRequest),
        (Failure("loading", "unavailable_error", 503), EngineUnavailable),
        (Failure("busy", "x", 429), EngineOverloaded),
        (Failure("boom", "server_error", 500), EngineFailure),
        (Failure("<html>"), EngineFailure),
    ],
)
def test_each_error_of_the_engine_is_translated(error: Failure, kind: type[Exception]) -> None:
    assert type(failure(error)) is kind


def test_an_event_that_is_not_the_engines_is_a_protocol_error() -> None:
    for payload in (b"", b"[DONE]", b'{"index": "a"}', b"\xff"):
        with pytest.raises(EngineProtocolError):
            decode_chunk(payload)

"""What the engine sends, and what its output may be, without an engine."""

from __future__ import annotations

import pytest

from enginehouse_kit.grammar import output_grammar
from enginehouse_kit.grammar.progress import GrammarProgress
from enginehouse_kit.text.thinking import State
from enginehouse_llamacpp.server import Failure, decode_chunk, failure
from enginehouse_plugin import GenerationRequest, JsonObject, Text
from enginehouse_plugin.errors import (
    ContextTooLong,
    EngineFailure,
    EngineOverloaded,
    EngineProtocolError,
    EngineUnavailable,
    InvalidRequest,
)


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
        grammar = output_grammar(GenerationRequest(id="r", prompt=Text(""), output=JsonObject()), state)
        assert grammar is not None
        progress = GrammarProgress(grammar.form)
        assert (progress.read(text) and progress.may_end) == (text in good), text


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

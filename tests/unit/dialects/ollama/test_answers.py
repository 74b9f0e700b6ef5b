"""Answers in Ollama's form: lines of a stream, and whole ones."""

from __future__ import annotations

import json
from typing import Any

import pytest

from enginehouse.dialects.ollama.encode import Writer
from enginehouse.dialects.ollama.errors import OllamaErrors
from enginehouse.dialects.profiles import built_in
from enginehouse_plugin.errors import EngineDied, EngineProtocolError
from enginehouse_plugin.events import (
    Finished,
    ReasoningDelta,
    Started,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    TopLogprob,
    UsageReport,
)

ERRORS = OllamaErrors(built_in()["ollama"])
END = (Finished(0, "stop"), UsageReport(5, 2))


def writer(kind: Any = "chat", *, is_stream: bool = True, logprobs: bool = False) -> Writer:
    return Writer(kind, "m", ERRORS, is_stream=is_stream, logprobs=logprobs)


def lines(data: bytes) -> list[dict[str, Any]]:
    assert data.endswith(b"\n")
    return [json.loads(line) for line in data.splitlines()]


def call(index: int, arguments: str, name: str | None = None) -> ToolCallDelta:
    return ToolCallDelta(0, index, 1, f"c{index}" if name else None, name, arguments)


def test_a_stream_has_a_line_for_each_piece_and_figures_in_the_last() -> None:
    stream = writer()
    pieces = lines(stream.events([Started(5), ReasoningDelta(0, "hm", 1), TextDelta(0, "Hi\n", 2), *END]))
    assert [piece["message"] for piece in pieces] == [
        {"role": "assistant", "content": "", "thinking": "hm"},
        {"role": "assistant", "content": "Hi\n"},
    ]
    assert not any(piece["done"] for piece in pieces)
    (last,) = lines(stream.end())
    assert (last["done"], last["done_reason"], last["message"]) == (True, "stop", {"role": "assistant", "content": ""})
    assert (last["prompt_eval_count"], last["eval_count"], last["model"]) == (5, 2, "m")
    assert last["total_duration"] >= last["prompt_eval_duration"] + last["eval_duration"] > 0
    assert stream.content_type == b"application/x-ndjson"


def test_a_whole_answer_is_one_object() -> None:
    body = writer(is_stream=False)
    assert body.events([Started(5), ReasoningDelta(0, "h", 1), ReasoningDelta(0, "m", 1), TextDelta(0, "Hi", 2)]) == b""
    assert body.events([Finished(0, "length"), UsageReport(5, 2)]) == b""
    answer = json.loads(body.end())
    assert answer["message"] == {"role": "assistant", "content": "Hi", "thinking": "hm"}
    assert (answer["done"], answer["done_reason"]) == (True, "length")


def test_generate_has_a_response() -> None:
    stream = writer("generate")
    assert [piece["response"] for piece in lines(stream.events([Started(5), TextDelta(0, "a", 1), *END]))] == ["a"]
    assert lines(stream.end())[0]["response"] == ""
    body = writer("generate", is_stream=False)
    body.events([Started(5), TextDelta(0, "a", 1), TextDelta(0, "b", 2), *END])
    answer = json.loads(body.end())
    assert answer["response"] == "ab"
    assert "message" not in answer


def test_a_call_comes_whole_once_it_is_made() -> None:
    stream = writer()
    assert stream.events([Started(5), call(0, '{"a":', "f"), call(0, "1}")]) == b""
    (first,) = lines(stream.events([call(1, "", "g")]))
    shown = {"id": "c0", "function": {"index": 0, "name": "f", "arguments": {"a": 1}}}
    assert first["message"]["tool_calls"] == [shown]
    assert stream.events([Finished(0, "tool_calls"), UsageReport(5, 2)]) == b""
    (last,) = lines(stream.end())
    assert [each["function"]["name"] for each in last["message"]["tool_calls"]] == ["g"]
    assert last["done_reason"] == "stop"


def test_a_call_that_is_cut_off_is_left_out() -> None:
    for is_stream in (True, False):
        answering = writer(is_stream=is_stream)
        answering.events([Started(5), call(0, "{}", "f"), call(1, '{"a":', "g"), Finished(0, "length"), END[1]])
        answer = json.loads(answering.end())
        made = answer["message"].get("tool_calls", [])
        assert [each["function"]["name"] for each in made] == ([] if is_stream else ["f"])
        assert answer["done_reason"] == "length"


def test_logprobs() -> None:
    entry = TokenLogprob("a", 1, b"a", -0.5, (TopLogprob("b", 2, b"b", float("-inf")),))
    shown = [{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": [
        {"token": "b", "logprob": -9999.0, "bytes": [98]}
    ]}]  # fmt: skip
    stream = writer(logprobs=True)
    (piece,) = lines(stream.events([Started(5), TextDelta(0, "a", 1, (entry,)), *END]))
    assert piece["logprobs"] == shown
    body = writer("generate", is_stream=False, logprobs=True)
    body.events([Started(5), TextDelta(0, "a", 1, (entry,)), *END])
    assert json.loads(body.end())["logprobs"] == shown


def test_a_stream_that_fails_says_so_and_claims_no_end() -> None:
    stream = writer()
    stream.events([Started(5), TextDelta(0, "a", 1)])
    (line,) = lines(stream.fail(EngineDied("gone")))
    assert list(line) == ["error"]
    assert stream.end() == b""


@pytest.mark.parametrize("events", [[], [Started(5)], [Started(5), Finished(0, "stop")], [Started(5), END[1]]])
def test_an_answer_without_its_end_is_none(events: list[Any]) -> None:
    body = writer(is_stream=False)
    body.events(events)
    with pytest.raises(EngineProtocolError):
        body.end()


def test_nothing_follows_the_end() -> None:
    with pytest.raises(EngineProtocolError):
        writer().events([Started(5), Finished(0, "stop"), TextDelta(0, "a", 1)])

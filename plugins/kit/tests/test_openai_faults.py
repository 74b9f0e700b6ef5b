"""Answers on the OpenAI chat wire that are broken, or say that something is."""

import pytest

from enginehouse_kit.http.openai import OpenAIDialect
from enginehouse_kit.http.openai_schema import Chunk, WireUsage
from enginehouse_plugin import (
    Started,
    TextDelta,
    UsageReport,
)
from enginehouse_plugin.errors import (
    ContextTooLong,
    EngineDied,
    EngineFailure,
    EngineOverloaded,
    EngineProtocolError,
    EngineUnavailable,
    InvalidRequest,
)

from .conftest import CLOSE
from .openai_answers import chunk, http, request, sse, total, whole


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (http({"error": {"message": "bad n", "param": "n"}}, 400), InvalidRequest, "bad n"),
        (http({"error": {"message": "bad", "type": "BadRequestError", "code": 400}}, 422), InvalidRequest, "bad"),
        (http({"detail": [{"loc": ["body"]}]}, 422), InvalidRequest, "loc"),
        (http({"object": "error", "message": "old form", "code": 500}, 500), EngineFailure, "old form"),
        (http({"error": "text"}, 404), EngineFailure, "text"),
        (http({"error": {"message": "busy"}}, 429), EngineOverloaded, "busy"),
        (http({"error": {"message": "Loading model"}}, 503), EngineUnavailable, "Loading"),
        (http(b"<html>oh</html>", 502), EngineFailure, "<html>"),
        (http(b"", 500), EngineFailure, "status 500"),
        (http(b"not json"), EngineProtocolError, "cannot be read"),
        (http(b"\xff"), EngineProtocolError, "cannot be read"),
        (http(b"[" * 100_000), EngineProtocolError, "cannot be read"),
        (http({"choices": [{"message": {"content": 3}}]}), EngineProtocolError, "cannot be read"),
        (http({"choices": []}), EngineProtocolError, "before its choices"),
        (http({"choices": [{"message": {}, "finish_reason": "stop"}]}), EngineProtocolError, "no usage"),
        (whole({"index": 1, "message": {}, "finish_reason": "stop"}), EngineProtocolError, "choice 1"),
        (whole({"index": -1, "message": {}, "finish_reason": "stop"}), EngineProtocolError, "choice -1"),
        (whole({"index": 0, "message": {}, "finish_reason": "abort"}), EngineFailure, "abort"),
        (
            whole({"message": {"tool_calls": [{"function": {"arguments": "{}"}}]}}),
            EngineProtocolError,
            "without a name",
        ),
        (
            whole({"message": {}, "logprobs": {"content": [{"token": "x", "logprob": 0, "bytes": [256]}]}}),
            EngineProtocolError,
            "cannot be read",
        ),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{", CLOSE], EngineDied, "in the middle"),
    ],
)
async def test_a_faulty_answer_is_an_error_of_the_contract(ask, answer, error, words):
    with pytest.raises(error, match=words):
        await ask(answer)


async def test_the_field_of_an_engines_error_is_passed_on(ask):
    with pytest.raises(InvalidRequest) as refused:
        await ask(http({"error": {"message": "bad", "param": "stop"}}, 400))
    assert refused.value.param == "stop"


async def test_a_context_that_is_exceeded_has_both_numbers_where_the_engine_gives_them(ask):
    error = {"message": "x", "type": "exceed_context_size_error", "n_prompt_tokens": 50, "n_ctx": 40}
    with pytest.raises(ContextTooLong) as known:
        await ask(http({"error": error}, 400))
    assert (known.value.prompt_tokens, known.value.limit_tokens) == (50, 40)


async def test_a_context_that_is_exceeded_without_numbers_is_one_all_the_same(ask):
    with pytest.raises(ContextTooLong) as unknown:
        await ask(http({"error": {"message": "x", "code": "context_length_exceeded"}}, 400))
    assert (unknown.value.prompt_tokens, unknown.value.limit_tokens, unknown.value.param) == (None, None, "messages")


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (sse(chunk(content="x"), {"error": {"message": "out of memory", "code": 500}}), EngineFailure, "memory"),
        (sse(chunk(content="x"), {"error": "just text"}), EngineFailure, "just text"),
        (sse(chunk(content="x"), {"error": {"message": "bad", "code": 400}}), InvalidRequest, "bad"),
        (sse(chunk(content="x"), total(1, 1)), EngineProtocolError, "before its choices"),
        (sse(chunk(content="x", finish="stop")), EngineProtocolError, "no usage"),
        (sse(chunk(finish="stop"), chunk(content="more")), EngineProtocolError, "went on"),
        (sse(chunk(finish="stop"), total(1, 1), end=[b"data: {"]), EngineProtocolError, "middle of an event"),
        (sse(end=[b"data: {\n\n"]), EngineProtocolError, "cannot be read"),
        ([*sse(chunk(content="x"))[:-2], CLOSE], EngineDied, "in the middle"),
        (http({"error": {"message": "no"}}, 400), InvalidRequest, "no"),
    ],
)
async def test_a_faulty_stream_is_an_error_of_the_contract(ask, answer, error, words):
    with pytest.raises(error, match=words):
        await ask(answer, stream=True)


async def test_a_stream_without_done_is_whole_if_its_choices_and_usage_are(ask):
    events = await ask(sse(chunk(content="x", finish="stop"), total(1, 1), end=[]), stream=True)
    assert events[-1] == UsageReport(1, 1)


async def test_comments_and_events_without_choice_or_counts_say_nothing(ask):
    answer = sse({"prompt_progress": {"total": 3}}, chunk(content="x", finish="stop"), total(1, 1))
    answer.insert(1, b"8\r\n: ping\n\n\r\n")
    assert len(await ask(answer, stream=True)) == 4


async def test_a_dialect_overrides_what_differs(server, client):
    class TimedChunk(Chunk, frozen=True, kw_only=True):
        timings: dict[str, int] | None = None

    class Timed(OpenAIDialect):
        chunk_type = TimedChunk
        path = "/chat"

        def usage_of(self, chunk):
            if chunk.timings is None:
                return chunk.usage
            return WireUsage(chunk.timings["prompt"], chunk.timings["predicted"])

    server.scripts = [
        [sse({**chunk(content="x", finish="stop"), "timings": {"prompt": 5, "predicted": 8}}, total(5, 8))]
    ]
    events = [event async for event in Timed().generate(client, request(stream=True), "m")]
    assert events[:2] == [Started(5), TextDelta(0, "x", 8)]
    assert server.requests[0].startswith(b"POST /chat ")

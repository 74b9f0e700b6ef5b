"""Completions: what is refused, what an instance is asked, and the bytes that its events become."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import convert

from enginehouse.config import AgentConfig
from enginehouse.dialects.endpoint import Call, Named
from enginehouse.dialects.openai.completions.encode import Completion
from enginehouse.dialects.openai.completions.endpoint import CompletionsEndpoint
from enginehouse.dialects.profiles import built_in
from enginehouse_plugin import Finished, Started, TextDelta, Tokens, UsageReport
from enginehouse_plugin.errors import EngineDied, EngineProtocolError, InvalidRequest
from enginehouse_plugin.events import TokenLogprob, TopLogprob
from enginehouse_plugin.request import Text

OPENAI = built_in()["openai"]
USAGE = UsageReport(prompt_tokens=5, completion_tokens=2, cached_tokens=1)
STOP = Finished(choice=0, reason="stop")
BAD: list[tuple[dict[str, Any], str]] = [
    ({"model": ...}, "model"),
    ({"model": 1}, "model"),
    ({"prompt": ...}, "prompt"),
    ({"prompt": None}, "prompt"),
    ({"prompt": ""}, "prompt"),
    ({"prompt": 5}, "prompt"),
    ({"prompt": {}}, "prompt"),
    ({"prompt": []}, "prompt"),
    ({"prompt": [""]}, "prompt"),
    ({"prompt": [[]]}, "prompt"),
    ({"prompt": ["a", ""]}, "prompt[1]"),
    ({"prompt": [[1], []]}, "prompt[1]"),
    ({"prompt": ["a", [1]]}, "prompt[1]"),
    ({"prompt": ["a", 1]}, "prompt[1]"),
    ({"prompt": [[1], ["a"]]}, "prompt[1][0]"),
    ({"prompt": [[1], "a"]}, "prompt[1]"),
    ({"prompt": ["a"] * 65}, "prompt"),
    (
        {
            "prompt": ["a", "b"],
            "stream": True,
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        },
        "stream_options.continuous_usage_stats",
    ),
    ({"prompt": [1, "a"]}, "prompt[1]"),
    ({"prompt": [-1]}, "prompt[0]"),
    ({"prompt": [True]}, "prompt[0]"),
    ({"prompt": [["a"]]}, "prompt[0][0]"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": "9"}, "max_tokens"),
    ({"temperature": 3}, "temperature"),
    ({"top_p": -1}, "top_p"),
    ({"top_k": -2}, "top_k"),
    ({"min_p": 2}, "min_p"),
    ({"frequency_penalty": 3}, "frequency_penalty"),
    ({"presence_penalty": -3}, "presence_penalty"),
    ({"repetition_penalty": 0}, "repetition_penalty"),
    ({"logit_bias": {"a": 1}}, "logit_bias.a"),
    ({"logit_bias": {"5": 101}}, "logit_bias.5"),
    ({"seed": "1"}, "seed"),
    ({"n": 0}, "n"),
    ({"n": 129}, "n"),
    ({"min_tokens": -1}, "min_tokens"),
    ({"min_tokens": 17}, "min_tokens"),
    ({"min_tokens": 5, "max_tokens": 4}, "min_tokens"),
    ({"ignore_eos": 1}, "ignore_eos"),
    ({"continue_final_message": True}, "continue_final_message"),
    ({"best_of": 0}, "best_of"),
    ({"best_of": 129}, "best_of"),
    ({"best_of": 2, "stream": True}, "best_of"),
    ({"best_of": 2, "n": 3}, "best_of"),
    ({"stop": ""}, "stop"),
    ({"stop": [""]}, "stop[0]"),
    ({"stop": ["a"] * 5}, "stop"),
    ({"logprobs": True}, "logprobs"),
    ({"logprobs": 6}, "logprobs"),
    ({"logprobs": -1}, "logprobs"),
    ({"echo": 1}, "echo"),
    ({"echo": True, "prompt": [1]}, "echo"),
    ({"echo": True, "logprobs": 1}, "echo"),
    ({"stream": 1}, "stream"),
    ({"stream_options": {}}, "stream_options"),
    ({"stream": True, "stream_options": {"continuous_usage_stats": 1}}, "stream_options.continuous_usage_stats"),
    ({"stream": True, "stream_options": {"continuous_usage_stats": True}}, "stream_options.continuous_usage_stats"),
    ({"suffix": 5}, "suffix"),
    ({"suffix": ["end"]}, "suffix"),
    ({"user": 5}, "user"),
    ({"unheard": 1}, "unheard"),
]


def called(endpoint: CompletionsEndpoint | None = None, **fields: Any) -> Call:
    asked = {"model": "m", "prompt": "One, ", **fields}
    body = json.dumps({name: value for name, value in asked.items() if value is not ...}).encode()
    return (endpoint or CompletionsEndpoint(OPENAI)).decode(body, "r")


def text(said: str, *, choice: int = 0, **fields: Any) -> TextDelta:
    return TextDelta(choice=choice, text=said, completion_tokens=1, **fields)


def whole(*events: Any, **fields: Any) -> dict[str, Any]:
    encoder = called(**fields).encoder
    assert encoder.events(events) == b""
    said: dict[str, Any] = json.loads(encoder.end())
    convert(said, Completion)
    return said


def streamed(*events: Any, **fields: Any) -> list[dict[str, Any]]:
    encoder = called(stream=True, **fields).encoder
    data = b"".join(encoder.events([event]) for event in events) + encoder.end()
    *chunks, last = data.decode().removesuffix("\n\n").split("\n\n")
    assert last == "data: [DONE]"
    found: list[dict[str, Any]] = [json.loads(chunk.removeprefix("data: ")) for chunk in chunks]
    for chunk in found:
        convert(chunk, Completion)
    return found


@pytest.mark.parametrize(("fields", "param"), BAD)
def test_what_is_wrong_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        called(**fields)
    assert caught.value.param == param
    assert CompletionsEndpoint(OPENAI).errors.describe(caught.value).status == 400


def test_every_form_of_one_prompt() -> None:
    assert called(prompt="a").request.prompt == called(prompt=["a"]).request.prompt == Text("a")
    assert called(prompt=[1, 2]).request.prompt == called(prompt=[[1, 2]]).request.prompt == Tokens((1, 2))


def test_values_are_what_the_request_says_and_sixteen_tokens_are_the_references() -> None:
    silent = called()
    assert (silent.request.max_tokens, set(silent.said)) == (16, set())
    call = called(max_tokens=3, temperature=0, n=2, best_of=2, stop="x", logprobs=2, top_k=-1, logit_bias={"5": 1})
    request = call.request
    assert (request.max_tokens, request.temperature, request.n, request.stop) == (3, 0.0, 2, ("x",))
    assert (request.logprobs, request.top_logprobs, request.top_k, request.logit_bias) == (True, 2, 0, {5: 1.0})


def test_several_prompts_have_the_choices_of_each_one_after_another() -> None:
    call = called(prompt=["One, ", "Uno, "], n=2)
    assert (call.prompts, call.request.prompt, call.request.n) == ((Text("One, "), Text("Uno, ")), Text("One, "), 2)
    assert called(prompt=[[1], [2, 3]]).prompts == (Tokens((1,)), Tokens((2, 3)))
    assert called(prompt=["One, "]).prompts == ()
    ends = [Finished(choice=at, reason="stop") for at in range(1, 4)]
    events = (text("due", choice=3), text("two"), text("2", choice=1), STOP, text("dos", choice=2), *ends, USAGE)
    wanted = ["One, two", "One, 2", "Uno, dos", "Uno, due"]
    said = whole(*events, prompt=["One, ", "Uno, "], n=2, echo=True)
    assert [(choice["index"], choice["text"]) for choice in said["choices"]] == list(enumerate(wanted))
    chunks = streamed(*events, prompt=["One, ", "Uno, "], n=2, echo=True)
    for at, text_ in enumerate(wanted):
        parts = [choice["text"] for chunk in chunks for choice in chunk["choices"] if choice["index"] == at]
        assert "".join(parts) == text_


def test_the_likeliest_per_token_of_best_of_are_given() -> None:
    def made(at: int, *logprobs: float) -> list[Any]:
        entries = tuple(TokenLogprob(token="x", token_id=1, token_bytes=b"x", logprob=each) for each in logprobs)
        return [text(f"answer {at}", choice=at, logprobs=entries), Finished(choice=at, reason="stop")]

    call = called(best_of=3, n=2)
    assert (call.request.n, call.request.logprobs, call.places) == (3, True, {"logprobs": "best_of"})
    events = [*made(0, -2.0), *made(1, -1.0, -1.5, -0.5), *made(2, -0.5, -0.25)]
    said = whole(*events, USAGE, best_of=3, n=2)
    told = [(choice["index"], choice["text"], choice["logprobs"]) for choice in said["choices"]]
    assert told == [(0, "answer 2", None), (1, "answer 1", None)]
    assert whole(*events, USAGE, best_of=3, logprobs=0)["choices"][0]["logprobs"]["token_logprobs"] == [-0.5, -0.25]


def test_an_agent_is_not_asked_for_text() -> None:
    endpoint = CompletionsEndpoint(OPENAI, names={"kind": Named("m", AgentConfig(model="m"))})
    with pytest.raises(InvalidRequest, match="agent"):
        called(endpoint, model="kind")


def test_a_whole_answer() -> None:
    said = whole(Started(5, 1), text("two, "), text("three"), STOP, USAGE)
    (choice,) = said["choices"]
    assert (choice["text"], choice["finish_reason"], choice["logprobs"]) == ("two, three", "stop", None)
    assert said["usage"]["total_tokens"] == 7
    assert said["usage"]["prompt_tokens_details"]["cached_tokens"] == 1


def test_a_stream_has_the_text_of_a_whole_answer_and_usage_where_it_is_asked_for() -> None:
    events = (Started(5, 1), text("two, "), text("three"), STOP, USAGE)
    chunks = streamed(*events)
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == "two, three"
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert all("usage" not in chunk for chunk in chunks)
    told = streamed(*events, stream_options={"include_usage": True})
    assert (told[-1]["choices"], told[-1]["usage"]["completion_tokens"]) == ([], 2)
    assert all(chunk["usage"] is None for chunk in told[:-1])


def test_the_stop_string_that_matched_stands_beside_the_finish_reason() -> None:
    matched = Finished(choice=0, reason="stop", matched_stop="END")
    (choice,) = whole(Started(5, 1), text("two"), matched, USAGE)["choices"]
    (last,) = streamed(Started(5, 1), text("two"), matched, USAGE)[-1]["choices"]
    assert [(end["finish_reason"], end["stop_reason"]) for end in (choice, last)] == [("stop", "END")] * 2
    (other,) = whole(Started(5, 1), text("two"), STOP, USAGE)["choices"]
    assert "stop_reason" not in other


def test_usage_so_far_is_told_in_each_chunk_where_it_is_asked_for() -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    other = TextDelta(choice=1, text="2", completion_tokens=4)
    last = Finished(choice=1, reason="length")
    for fields, opening in (({}, []), ({"echo": True}, [0])):
        chunks = streamed(Started(5, 1), text("1"), other, STOP, last, USAGE, n=2, stream_options=options, **fields)
        told = [(chunk["choices"][0]["index"], chunk["usage"]["completion_tokens"]) for chunk in chunks[:-1]]
        assert told == [
            *((0, made) for made in opening),
            (0, 1),
            *((1, made) for made in opening),
            (1, 4),
            (0, 1),
            (1, 4),
        ]
        assert all(chunk["usage"]["prompt_tokens"] == 5 for chunk in chunks)
        assert chunks[-1]["usage"]["total_tokens"] == 7
    late = streamed(Started(None), text("1"), STOP, USAGE, stream_options=options)
    assert [chunk["usage"] and chunk["usage"]["prompt_tokens"] for chunk in late] == [None, None, 5]


def test_the_prompt_stands_before_each_choice_where_it_is_echoed() -> None:
    events = (text("two", choice=1), text("2"), STOP, Finished(choice=1, reason="length"), USAGE)
    assert [choice["text"] for choice in whole(*events, echo=True, n=2)["choices"]] == ["One, 2", "One, two"]
    chunks = streamed(*events, echo=True, n=2)
    for at, wanted in enumerate(["One, 2", "One, two"]):
        parts = [choice["text"] for chunk in chunks for choice in chunk["choices"] if choice["index"] == at]
        assert "".join(parts) == wanted


def test_logprobs_have_their_old_form() -> None:
    def one(token: str, logprob: float) -> TokenLogprob:
        other = TopLogprob(token="x", token_id=2, token_bytes=b"x", logprob=-9.0)
        return TokenLogprob(token=token, token_id=1, token_bytes=token.encode(), logprob=logprob, top=(other,))

    events = (
        text("two ", logprobs=(one("two", -0.5), one(" ", -1.0))),
        text("3", logprobs=(one("3", float("-inf")),)),
        STOP,
        USAGE,
    )
    found = whole(*events, logprobs=1)["choices"][0]["logprobs"]
    assert found["tokens"] == ["two", " ", "3"]
    assert found["token_logprobs"] == [-0.5, -1.0, -9999.0]
    assert found["top_logprobs"] == [{"x": -9.0}] * 3
    assert found["text_offset"] == [0, 3, 4]
    chunks = streamed(*events, logprobs=1)
    offsets = [
        choice["logprobs"]["text_offset"] for chunk in chunks for choice in chunk["choices"] if choice["logprobs"]
    ]
    assert offsets == [[0, 3], [4]]
    assert whole(*events, logprobs=0)["choices"][0]["logprobs"]["top_logprobs"] is None


def test_a_failure_ends_a_stream_and_no_success_follows() -> None:
    encoder = called(stream=True).encoder
    encoder.events([text("a")])
    assert json.loads(encoder.fail(EngineDied("It ended.")).removeprefix(b"data: "))["error"]["code"] == "engine_died"
    assert encoder.end() == b""


def test_events_out_of_order_are_refused() -> None:
    for events in ([STOP, text("a")], [USAGE], [text("a", choice=1)], [text("a"), STOP]):
        for stream in (True, False):
            encoder = called(stream=stream).encoder
            with pytest.raises(EngineProtocolError):
                (encoder.events(events), encoder.end())

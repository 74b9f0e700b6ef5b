from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse_kit.http.likeness import text_likeness
from enginehouse_kit.http.openai import OpenAIDialect
from enginehouse_kit.http.openai_reader import AnswerReader
from enginehouse_plugin.errors import EngineProtocolError
from enginehouse_plugin.events import Finished, TextDelta

from .openai_answers import chunk, total


def payload(text, *, is_ascii=False, **more):
    return json.dumps(chunk(content=text) | more, ensure_ascii=is_ascii).encode()


def content(data):
    return json.loads(data)["choices"][0]["delta"].get("content")


def test_a_chunk_that_differs_in_its_text_alone_is_read():
    likeness = text_likeness(payload("Paris"), "Paris", content)
    assert likeness is not None
    assert likeness.text_of(payload(" is a city")) == " is a city"
    assert likeness.text_of(payload("Zürich")) == "Zürich"


@pytest.mark.parametrize(
    "other",
    [
        payload("a", id="another"),
        payload(""),
        payload('a "quote"'),
        payload("a line\n"),
        payload("é", is_ascii=True),
        payload("a\u200b"),
        payload("a").replace(b"a", b"a\x01"),
        payload("a", usage={"prompt_tokens": 1, "completion_tokens": 1}),
        payload("a")[:-1],
        b"[DONE]",
        b"",
    ],
)
def test_what_is_not_surely_alike_is_left_to_the_decoder(other):
    likeness = text_likeness(payload("a"), "a", content)
    assert likeness is not None
    assert likeness.text_of(other) is None


def test_bytes_that_are_no_text_are_no_text_here_either():
    likeness = text_likeness(payload("a"), "a", content)
    assert likeness is not None
    with pytest.raises(UnicodeDecodeError):
        likeness.text_of(payload("\0").replace(b"\\u0000", b"\xff"))


def test_a_text_that_stands_elsewhere_too_is_not_taken_for_the_answer():
    """An engine that escapes what it need not: what looks like the text is the name of the model."""
    strange = b'{"model": "a", "choices": [{"index": 0, "delta": {"content": "\\u0061"}}]}'
    assert content(strange) == "a"
    assert text_likeness(strange, "a", content) is None


def events_of(*payloads):
    reader, events = AnswerReader(OpenAIDialect(), 1), []
    for each in payloads:
        reader.take(each, events)
    return events


@given(st.lists(st.text(min_size=1), min_size=1, max_size=8), st.booleans())
def test_a_stream_is_read_as_if_each_chunk_were_decoded(texts, is_ascii):
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    events = events_of(*(payload(text, is_ascii=is_ascii) for text in ("first", "second", *texts)))
    assert events[1:] == [TextDelta(0, text, at + 1) for at, text in enumerate(("first", "second", *texts))]


def test_a_stream_whose_chunks_tell_the_time_is_read():
    texts = ["one", "two", "three", "four", "five", "six"]
    events = events_of(*(payload(text, created=at // 2) for at, text in enumerate(texts)))
    assert [event.text for event in events[1:]] == texts


def test_more_text_behind_the_end_is_refused():
    reader, events = AnswerReader(OpenAIDialect(), 1), []
    for text in ("a", "b", "c"):
        reader.take(payload(text), events)
    reader.take(json.dumps(chunk(finish="stop")).encode(), events)
    assert type(events[-1]) is Finished
    with pytest.raises(EngineProtocolError):
        reader.take(payload("d"), events)


def test_counts_go_on_where_chunks_are_alike():
    reader, events = AnswerReader(OpenAIDialect(), 1), []
    for text in ("a", "b", "c", "\n", "d"):
        reader.take(payload(text), events)
    reader.take(json.dumps(chunk(finish="stop")).encode(), events)
    reader.take(msgspec.json.encode(total(3, 5)), events)
    reader.finish(events)
    assert [event.completion_tokens for event in events if isinstance(event, TextDelta)] == [1, 2, 3, 4, 5]

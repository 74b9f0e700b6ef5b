from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse_kit.http.sse import SSEParser
from enginehouse_plugin.errors import EngineProtocolError


@pytest.mark.parametrize(
    ("stream", "payloads"),
    [
        (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data:a\n\n", [b"a"]),
        (b"data:  a\n\n", [b" a"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"data\n\n", [b""]),
        (b"data: \n\n", [b""]),
        (b": ping\n\ndata: a\n\n", [b"a"]),
        (b": ping\ndata: a\n: pong\n\n", [b"a"]),
        (b"event: x\nid: 3\nretry: 9\ndata: a\n\n", [b"a"]),
        (b"event: x\n\n", []),
        (b"\n\n\ndata: a\n\n\n\n", [b"a"]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
        (b"data: a\rdata: b\r\rdata: c\n\n", [b"a\nb", b"c"]),
        (b"data: a\r\n\ndata: b\n\r\n", [b"a", b"b"]),
        (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
        (b"data: \xc3\xa9\n\n", [b"\xc3\xa9"]),
        (b"data: a: b\n\n", [b"a: b"]),
    ],
)
def test_events_are_found_however_the_stream_is_split(stream, payloads):
    for size in range(1, len(stream) + 1):
        parser = SSEParser()
        seen = []
        for at in range(0, len(stream), size):
            seen += parser.feed(stream[at : at + size])
        assert seen == payloads
        assert parser.closed_cleanly


@pytest.mark.parametrize("stream", [b"data: a", b"data: a\n", b"data: a\n\ndat", b"\xef\xbb"])
def test_an_unfinished_event_is_not_given_and_shows(stream):
    parser = SSEParser()
    assert b"dat" not in parser.feed(stream)
    assert not parser.closed_cleanly


def test_an_event_without_end_is_refused():
    parser = SSEParser(max_event_bytes=100)
    parser.feed(b"data: " + b"x" * 80)
    with pytest.raises(EngineProtocolError, match="100 bytes"):
        parser.feed(b"x" * 80)


@given(
    lines=st.lists(st.sampled_from([b"data: a", b"data:b", b": c", b"", b"event: x"]), max_size=12),
    ends=st.lists(st.sampled_from([b"\n", b"\r\n", b"\r"]), min_size=12, max_size=12),
    cuts=st.lists(st.integers(0, 200), max_size=10),
)
def test_a_split_changes_nothing_whatever_the_line_ends(lines, ends, cuts):
    stream = b"".join(line + end for line, end in zip(lines, ends, strict=False))
    edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    parser = SSEParser()
    seen = []
    for start, end in pairwise(edges):
        seen += parser.feed(stream[start:end])
    assert seen == SSEParser().feed(stream)

"""The suite's own HTTP client and SSE parser: a verdict is worth what they are worth."""

from __future__ import annotations

import asyncio
import shlex
import socket
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse_conformance.wire.client import Connection, Head, Request, encode_head, parse_head
from enginehouse_conformance.wire.faults import BrokenAnswer, Silent, Unreachable
from enginehouse_conformance.wire.sse import SSEEvent, SSEParser
from enginehouse_conformance.wire.transcript import Exchange, Redactor

# ---- requests ----


def test_a_request_says_host_length_and_that_the_connection_ends() -> None:
    head = encode_head(Request(method="POST", url="http://h:8000/v1/x?a=b", headers=(("x-a", "1"),), body=b"123"))
    assert head == (
        b"POST /v1/x?a=b HTTP/1.1\r\nhost: h:8000\r\nconnection: close\r\naccept: */*\r\ncontent-length: 3\r\n"
        b"x-a: 1\r\n\r\n"
    )


@pytest.mark.parametrize("name", ["Host", "Connection", "Accept", "Content-Length"])
def test_a_header_of_the_caller_stands_in_place_of_the_own(name) -> None:
    head = encode_head(Request(method="POST", url="http://h/", headers=((name, "mine"),), body=b"1")).decode().lower()
    assert head.count(f"\r\n{name.lower()}: ") == 1
    assert f"{name.lower()}: mine" in head


def test_a_get_without_a_body_has_no_length() -> None:
    assert b"content-length" not in encode_head(Request(method="GET", url="http://h"))
    assert encode_head(Request(method="GET", url="http://h")).startswith(b"GET / HTTP/1.1\r\n")


async def test_a_chunked_body_goes_out_in_the_caller_s_chunks(serve) -> None:
    seen = []

    async def handler(reader, writer):
        seen.append(await reader.readuntil(b"0\r\n\r\n"))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    request = Request(method="POST", url=serve(handler), chunks=(b"ab", b"cde"))
    head, body = await fetch(request)
    assert (head.status, body) == (204, b"")
    assert seen == [b"2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n"]


async def test_an_answer_that_comes_before_the_request_was_read_is_read(serve) -> None:
    async def handler(reader, writer):
        writer.write(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        await reader.readexactly(len(body))

    body = b"x" * 5_000_000
    request = Request(method="POST", url=serve(handler), headers=(("content-length", "0"),), body=body)
    head, _ = await fetch(request)
    assert head.status == 413


# ---- answers ----


async def fetch(request: Request, timeout_s: float = 5.0) -> tuple[Head, bytes]:
    async with Connection(request, timeout_s=timeout_s) as connection:
        await connection.send()
        head = await connection.head()
        return head, b"".join([piece async for piece in connection.pieces(head)])


def sends(*pieces: bytes):
    async def handler(reader, writer):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)

    return handler


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", b"until the end"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", b"abcde"),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\nA\r\n0123456789\r\n0\r\ntrailer: 1\r\n\r\n",
            b"0123456789",
        ),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\na: b\r\n\r\nHTTP/1.1 200 OK\r\n\r\nx", b"x"),
        (b"HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n", b""),
    ],
)
async def test_every_form_of_a_body_is_read(answer, body, serve) -> None:
    for pieces in ((answer,), tuple(answer[at : at + 1] for at in range(len(answer)))):
        head, seen = await fetch(Request(method="GET", url=serve(sends(*pieces))))
        assert (head.status, seen) == (200, body)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"hello\r\n\r\n", "no HTTP answer"),
        (b"HTTP/2 200\r\n\r\n", "status line"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "status line"),
        (b"HTTP/1.1 200 OK\r\nbad line\r\n\r\n", "header line"),
        (b"HTTP/1.1 200 OK\r\n folded: x\r\n\r\n", "header line"),
        (b"HTTP/1.1 200 OK\r\na: b\r\n", "inside the head"),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 20_000, "head of the answer is over"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", "6 bytes before the end"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", "content-length"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n", "no size"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab", "middle of a chunk"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nabcd\r\n0\r\n\r\n", "longer than its size"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n", "middle of its answer"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: br\r\n\r\nab", "coding"),
    ],
)
async def test_what_http_forbids_is_a_broken_answer(answer, message, serve) -> None:
    with pytest.raises(BrokenAnswer, match=message):
        await fetch(Request(method="GET", url=serve(sends(answer))))


async def test_a_connection_that_closes_without_a_word_is_unreachable(serve) -> None:
    with pytest.raises(Unreachable, match="without an answer"):
        await fetch(Request(method="GET", url=serve(sends())))


async def test_a_closed_port_is_unreachable() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        with pytest.raises(Unreachable, match="no connection"):
            await fetch(Request(method="GET", url=f"http://127.0.0.1:{sock.getsockname()[1]}/"))


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab",
                                   b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
                                   b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"])  # fmt: skip
async def test_a_target_that_falls_silent_is_silent(begun, serve) -> None:
    async def handler(reader, writer):
        writer.write(begun)
        await writer.drain()
        await reader.read()

    with pytest.raises(Silent):
        await fetch(Request(method="GET", url=serve(handler)), timeout_s=0.05)


async def test_dropping_a_connection_is_seen_at_the_other_end(serve) -> None:
    gone = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def handler(reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nx")
        try:
            await reader.read()
        except ConnectionError:
            pass
        finally:
            loop.call_soon_threadsafe(gone.set)

    async with Connection(Request(method="GET", url=serve(handler))) as connection:
        await connection.send()
        await connection.head()
        connection.drop()
        await asyncio.wait_for(gone.wait(), 10)
        connection.drop()


def test_names_of_headers_are_found_in_any_case() -> None:
    head = parse_head(b"HTTP/1.1 200 Fine Day\r\nX-A: 1\r\nx-a:2\r\n\r\n")
    assert head == Head(200, "Fine Day", (("x-a", "1"), ("x-a", "2")))
    assert head.get("X-a") == "1"
    assert head.get("x-b") is None


# ---- server-sent events ----


def parse(*pieces: bytes) -> tuple[list[str], SSEParser]:
    parser = SSEParser()
    events = [event for piece in pieces for event in parser.feed(piece)]
    return [event.data for event in [*events, *parser.finish()]], parser


@pytest.mark.parametrize(
    ("stream", "data"),
    [
        (b"data: a\n\ndata:b\n\n", ["a", "b"]),
        (b"data:  two spaces\n\n", [" two spaces"]),
        (b"data: a\r\n\r\ndata: b\r\rdata: c\n\n", ["a", "b", "c"]),
        (b"data: a\ndata: b\ndata\n\n", ["a\nb\n"]),
        (b"\xef\xbb\xbfdata: a\n\n", ["a"]),
        (b"\n\n\n", []),
        (b"event: x\n\n", []),
        (b": comment\ndata: a\n: more\n\n", ["a"]),
        (b"retry: 5\nid: 1\ndata: a\n\n", ["a"]),
        (b"data: a: b\n\n", ["a: b"]),
        ("data: 日本 👩‍👩‍👧‍👦\n\n".encode(), ["日本 👩‍👩‍👧‍👦"]),
        ("data: \u2028\u0085\x0b\n\n".encode(), ["\u2028\u0085\x0b"]),
    ],
)
def test_events_are_read_as_the_standard_says_however_they_are_split(stream, data) -> None:
    for pieces in ((stream,), tuple(stream[at : at + 1] for at in range(len(stream)))):
        seen, parser = parse(*pieces)
        assert seen == data
        assert parser.problems == []


@pytest.mark.parametrize(
    ("stream", "problem"),
    [
        (b"data: a\n", "inside an event"),
        (b"data: a", "inside an event"),
        (b"data: \xff\n\n", "not UTF-8"),
        (b"data: a\n\n\xe6\x97", "inside a character"),
        (b"keepalive\n\n", "no field"),
        (b'{"a": 1}\n\n', None),
    ],
)
def test_what_is_odd_about_a_stream_is_kept(stream, problem) -> None:
    _, parser = parse(stream)
    if problem is None:
        assert parser.unknown_fields
    else:
        assert any(problem in found for found in parser.problems)


def test_comments_names_and_ids_are_kept() -> None:
    parser = SSEParser()
    events = parser.feed(b":ping\nevent: error\nid: 7\ndata: a\n\ndata: b\n\n")
    assert events == [SSEEvent(data="a", event="error", id="7"), SSEEvent(data="b", id="7")]
    assert parser.comments == ["ping"]


_LINES = st.lists(st.sampled_from(["data: a", "data:", "data: é日", ": c", "event: e", "", "", "odd"]), max_size=12)


@given(_LINES, st.lists(st.sampled_from(["\n", "\r", "\r\n"]), min_size=12, max_size=12), st.data())
def test_no_split_changes_what_is_read(lines, ends, data) -> None:
    stream = "".join(line + end for line, end in zip(lines, ends, strict=False)).encode()
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=5))
    pieces = [stream[start:end] for start, end in pairwise([0, *sorted(cuts), len(stream)])]
    whole, parser = parse(stream)
    split, other = parse(*pieces)
    assert split == whole
    assert other.problems == parser.problems
    assert other.comments == parser.comments


# ---- transcripts ----


def test_a_transcript_as_curl_can_be_pasted_into_a_shell() -> None:
    body = '{"a": "it\'s $HOME `x` \\" \\n"}'
    exchange = Exchange(
        method="POST",
        url="http://h/v1?a=b&c=d",
        request_headers=[("content-type", "application/json"), ("authorization", "Bearer $API_KEY")],
        request_body=body,
    )
    words = shlex.split(exchange.curl())
    assert words[words.index("--data-binary") + 1] == body
    assert "http://h/v1?a=b&c=d" in words
    assert "content-type: application/json" in words
    assert '-H "authorization: Bearer $API_KEY"' in exchange.curl()


def test_secrets_are_taken_out_wherever_they_stand() -> None:
    redactor = Redactor(("s3cret",))
    assert redactor.text("a s3cret b") == "a $API_KEY b"
    assert redactor.body(b'{"key": "s3cret"}') == '{"key": "$API_KEY"}'
    kept = redactor.headers(
        (("Authorization", "Bearer other"), ("x-api-key", "k"), ("x-b", "has s3cret"), ("x-c", "1"))
    )
    assert kept == [
        ("Authorization", "Bearer $API_KEY"),
        ("x-api-key", "$API_KEY"),
        ("x-b", "has $API_KEY"),
        ("x-c", "1"),
    ]


def test_long_answers_are_cut_and_say_so() -> None:
    text = Redactor().text("x" * 10_000)
    assert len(text) < 9_000
    assert text.endswith("(2000 characters more)")

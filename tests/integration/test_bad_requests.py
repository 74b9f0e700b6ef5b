"""Bad input on real sockets: each kind gets its own 4xx in the API's form, and the server goes on."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest
from tests.unit.dialects.openai.chat.bad_requests import BAD_REQUESTS, BadRequest

from .conftest import Serve
from .served import LAZY, MODEL, Served, locked

CHAT = "/v1/chat/completions"
BODY = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}).encode()


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


@pytest.fixture(scope="module")
def client(server: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30.0, trust_env=False) as client:
        yield client


def error_of(body: bytes) -> dict[str, Any]:
    """The error in *body*, which has exactly the API's form."""
    document = json.loads(body)
    assert set(document) == {"error"}
    error: dict[str, Any] = document["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert isinstance(error["type"], str)
    return error


def send(server: Served, data: bytes, *, half_close: bool = False) -> list[Answer]:
    """Send *data* as it is; returns all answers up to the server's closing the connection."""
    with socket.create_connection(server.address, timeout=30) as connection:
        connection.sendall(data)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        received = bytearray()
        while piece := _receive(connection):
            received += piece
    answers = []
    while received:
        head, _, rest = bytes(received).partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        size = int(headers.get("content-length", len(rest)))
        answers.append(Answer(int(status.split()[1]), headers, rest[:size]))
        received = bytearray(rest[size:])
    return answers


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except ConnectionResetError:  # the server closed with bytes of ours unread
        return b""


def head(*lines: str, first: str = f"POST {CHAT} HTTP/1.1") -> bytes:
    return "\r\n".join([first, "host: localhost", *lines, "", ""]).encode()


JSON_TYPE = "content-type: application/json"
CLOSE = "connection: close"


# ---- the table ----


@pytest.mark.parametrize("bad", BAD_REQUESTS, ids=lambda bad: bad.name[:60])
def test_a_bad_request_is_refused_by_field_and_code(client: httpx.Client, bad: BadRequest) -> None:
    reply = client.request(bad.method, bad.path, content=bad.body, headers=bad.headers)
    error = error_of(reply.content)
    assert (reply.status_code, error["param"], error["code"]) == (bad.status, bad.param, bad.code)
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-request-id"]


def test_after_all_of_them_the_server_answers(client: httpx.Client, server: Served) -> None:
    assert client.post(CHAT, content=BODY, headers={"content-type": "application/json"}).status_code == 200
    assert not [line for line in server.log if line.get("level") == "error"]


# ---- what is not HTTP, or not whole ----


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS client hello
        b"GET /health HTTP/9.9\r\n\r\n",
        b"GET\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nhost: localhost\r\n\r\n",
        head("bad header line without a colon\x01"),
        head(JSON_TYPE, "content-length: -1"),
        head(JSON_TYPE, "content-length: ten"),
        head(JSON_TYPE, "content-length: 5", "content-length: 6") + b"hello!",
        head(JSON_TYPE, "content-length: 5", "transfer-encoding: chunked") + b"0\r\n\r\n",
        head(JSON_TYPE, "transfer-encoding: chunked") + b"not a size\r\nhello\r\n0\r\n\r\n",
    ],
    ids=lambda data: repr(data[:40]) if len(data) < 60 else repr(data[50:110]),
)
def test_what_is_no_http_request_gets_400_and_the_end(server: Served, data: bytes) -> None:
    (answer,) = send(server, data)
    assert answer.status == 400
    assert error_of(answer.body)["code"] == "malformed_http"
    assert answer.headers["connection"] == "close"


def test_a_client_that_leaves_in_the_middle_of_its_body_gets_nothing(server: Served) -> None:
    announced = head(JSON_TYPE, f"content-length: {len(BODY) + 10}", "x-request-id: left-early")
    assert send(server, announced + BODY, half_close=True) == []
    line = server.wait_for_log("request", lambda line: line["id"] == "left-early")
    assert line["cancelled"]
    assert line["status"] == 499


def test_what_follows_a_request_and_is_none_ends_the_connection(server: Served) -> None:
    """The request before it is answered first."""
    data = head(JSON_TYPE, f"content-length: {len(BODY)}", "x-request-id: followed") + BODY + b"and more\r\n\r\n"
    answer, end = send(server, data)
    assert (answer.status, end.status) == (200, 400)
    assert error_of(end.body)["code"] == "malformed_http"
    assert server.wait_for_log("request", lambda line: line["id"] == "followed")["status"] == 200


def test_a_body_shorter_than_announced_by_its_end_is_no_json(server: Served) -> None:
    (answer,) = send(server, head(JSON_TYPE, f"content-length: {len(BODY) - 1}", CLOSE) + BODY[:-1])
    assert answer.status == 400
    assert error_of(answer.body)["code"] == "invalid_json"


def test_a_chunked_body_is_put_together(server: Served) -> None:
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (BODY[:7], BODY[7:20], BODY[20:]))
    (answer,) = send(server, head(JSON_TYPE, "transfer-encoding: chunked", CLOSE) + chunks + b"0\r\n\r\n")
    assert answer.status == 200


def test_a_body_that_comes_byte_by_byte_is_put_together(server: Served) -> None:
    with socket.create_connection(server.address, timeout=30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in head(JSON_TYPE, f"content-length: {len(BODY)}", CLOSE) + BODY:
            connection.sendall(bytes([byte]))
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")


def test_pipelined_requests_are_answered_in_turn(server: Served) -> None:
    bad = b'{"model": 5}'
    first = head(JSON_TYPE, f"content-length: {len(bad)}") + bad
    second = head(first="GET /health HTTP/1.1")
    third = head(JSON_TYPE, f"content-length: {len(BODY)}", CLOSE) + BODY
    assert [answer.status for answer in send(server, first + second + third)] == [400, 200, 200]


def test_an_expected_100_comes_before_the_body(server: Served) -> None:
    with socket.create_connection(server.address, timeout=30) as connection:
        connection.sendall(head(JSON_TYPE, f"content-length: {len(BODY)}", "expect: 100-continue", CLOSE))
        assert connection.recv(65536).startswith(b"HTTP/1.1 100")
        connection.sendall(BODY)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")


# ---- limits ----


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    config = LAZY.replace("port = 0", "port = 0\nmax_body_bytes = 1000\nmax_connections = 3")
    served = Served(config, tmp_path_factory.mktemp("small"))
    yield served
    served.close()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_above_the_limit_gets_413_without_being_read(small: Served, chunked: bool) -> None:
    if chunked:
        data = head(JSON_TYPE, "transfer-encoding: chunked") + b"5dc\r\n" + b" " * 1500 + b"\r\n"
    else:
        data = head(JSON_TYPE, "content-length: 99999999999")
    (answer,) = send(small, data)
    assert answer.status == 413
    assert error_of(answer.body)["code"] == "request_too_large"
    assert answer.headers["connection"] == "close"


def test_a_body_of_exactly_the_limit_is_read(small: Served) -> None:
    body = b'{"model": 5}'.ljust(1000)
    (answer,) = send(small, head(JSON_TYPE, "content-length: 1000", CLOSE) + body)
    assert error_of(answer.body)["param"] == "model"


def is_healthy(connection: socket.socket) -> bool:
    """Whether the server answers on *connection*, which can be used again then."""
    connection.sendall(head(first="GET /health HTTP/1.1"))
    received = b""
    while not received.endswith(b"}") and (piece := _receive(connection)):
        received += piece
    return received.startswith(b"HTTP/1.1 200")


def test_idle_connections_at_the_limit_give_way_to_one_that_asks(small: Served) -> None:
    held: list[socket.socket] = []
    try:
        for _ in range(10):
            held.append(socket.create_connection(small.address, timeout=30))
            assert is_healthy(held[-1])
        assert _receive(held[0]) == b""
        assert is_healthy(held[-1])
    finally:
        for connection in held:
            connection.close()


# ---- paths and methods ----


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/nothing", "/v2/models", "/%00", "/..%2f.."])
def test_an_unknown_path_is_404_for_every_method(client: httpx.Client, method: str, path: str) -> None:
    reply = client.request(method, path)
    assert reply.status_code == 404
    assert error_of(reply.content)["code"] == "not_found"


@pytest.mark.parametrize("path", ["/v1/models", f"/v1/models/{MODEL}", "/health", "/ready", "/metrics", "/docs"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_a_small_route_is_only_read(client: httpx.Client, method: str, path: str) -> None:
    reply = client.request(method, path)
    assert reply.status_code == 405
    assert error_of(reply.content)["code"] == "method_not_allowed"
    assert "GET" in reply.headers["allow"]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "TRACE", "BREW"])
def test_the_chat_route_takes_post_alone(client: httpx.Client, server: Served, method: str) -> None:
    if method == "BREW":
        (answer,) = send(server, head(CLOSE, first=f"BREW {CHAT} HTTP/1.1"))
        assert answer.status in (400, 405)
        error_of(answer.body)
        return
    reply = client.request(method, CHAT)
    assert reply.status_code == 405
    assert error_of(reply.content)["code"] == "method_not_allowed"
    assert reply.headers["allow"] == "POST"


@pytest.mark.parametrize("path", ["/v1/models", "/health", "/ready", "/metrics", "/docs", "/openapi.json", CHAT, "/no"])
def test_head_has_no_body_and_no_5xx(server: Served, path: str) -> None:
    (answer,) = send(server, head(CLOSE, first=f"HEAD {path} HTTP/1.1"))
    assert answer.status in (200, 404, 405)
    assert answer.body == b""


@pytest.mark.parametrize("path", ["/v1/models", CHAT, "/health"])
def test_options_without_cors_names_the_methods(client: httpx.Client, path: str) -> None:
    reply = client.options(path)
    assert reply.status_code in (204, 405)
    assert ("POST" if path == CHAT else "GET") in reply.headers["allow"]
    if reply.status_code == 405:
        error_of(reply.content)


@pytest.mark.parametrize("name", ["x", "a/b/c", "%2e%2e", "a%20b", "é", "a//b", "..", "%00", "%ff", "x" * 5000])
def test_an_unknown_model_is_404_by_its_name(client: httpx.Client, name: str) -> None:
    reply = client.get(f"/v1/models/{name}")
    assert reply.status_code == 404
    assert error_of(reply.content)["code"] in ("model_not_found", "not_found")


def test_a_compressed_or_differently_typed_body_is_415_before_it_is_read(server: Served) -> None:
    for line in (
        "content-type: text/plain",
        "content-type: application/jsonl",
        "content-encoding: gzip\r\n" + JSON_TYPE,
    ):
        (answer,) = send(server, head(line, "content-length: 100000"))
        assert answer.status == 415
        error_of(answer.body)


def test_the_media_type_may_have_parameters_and_any_case(client: httpx.Client) -> None:
    for value in ("application/json; charset=utf-8", "Application/JSON", "application/json;charset=UTF-8"):
        assert client.post(CHAT, content=BODY, headers={"content-type": value}).status_code == 200


def test_a_key_with_odd_bytes_is_wrong_and_no_failure(serve: Serve) -> None:
    served = serve(locked("right"), ready=False)
    for value in (b"Bearer \xff\xfe", b"Bearer", b"Basic cmlnaHQ=", b"bearer wrong", b"Bearer right right", b""):
        data = head(JSON_TYPE, CLOSE, "content-length: 0").replace(
            CLOSE.encode(), b"%s\r\nauthorization: " % CLOSE.encode() + value
        )
        (answer,) = send(served, data)
        assert answer.status == 401
        assert error_of(answer.body)["code"] in ("invalid_api_key", "missing_api_key")
        assert answer.headers["www-authenticate"] == "Bearer"

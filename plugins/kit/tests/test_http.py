import asyncio
import os
import socket
import subprocess
import sys

import pytest

from enginehouse_kit.http.client import LocalClient
from enginehouse_kit.http.connection import MAX_HEAD_BYTES
from enginehouse_plugin.errors import EngineDied, EngineProtocolError, EngineUnavailable

from .conftest import CLOSE, RESET, STALL, serving

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nX-Thing: one\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.fixture
async def client(server):
    made = LocalClient(server.address)
    yield made
    await made.close()
    assert "0 open, 0 idle" in repr(made)


def open_descriptors():
    return len(os.listdir("/dev/fd"))


async def until_closed(before):
    """Wait until no more descriptors are open than *before*: a loop closes them a few turns later."""
    async with asyncio.timeout(30):
        while open_descriptors() > before:  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.001)


def test_a_missing_extra_says_what_to_install():
    code = "import sys; sys.modules['httptools'] = None; import enginehouse_kit.http.client"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'enginehouse-kit[http]'" in done.stderr


async def test_a_request_has_a_body_and_a_reply_its_headers(server, client):
    server.scripts = [[[OK]]]
    reply = await client.request("POST", "/v1/x?y=1", b"{}", [("X-Key", "k")])
    assert (reply.status, reply.body, reply.headers["x-thing"]) == (200, b"ok", "one")
    expected = (
        b"POST /v1/x?y=1 HTTP/1.1\r\nhost: localhost\r\nX-Key: k\r\ncontent-type: application/json\r\n"
        b"content-length: 2\r\n\r\n{}"
    )
    assert server.requests == [expected]


async def test_each_request_has_its_own_head_however_many_there_are(server, client):
    server.scripts = [[[OK]] * 400]
    said = [
        (method, f"/{number}", [("x-key", key)]) for number in range(100) for method in ("GET", "PUT") for key in "ab"
    ]
    for method, path, headers in said:
        await client.request(method, path, b"{}" if method == "PUT" else b"", headers)
    heads = [request.split(b"\r\n") for request in server.requests]
    assert [(lines[0].decode(), lines[2].decode()) for lines in heads] == [
        (f"{method} {path} HTTP/1.1", f"x-key: {headers[0][1]}") for method, path, headers in said
    ]
    assert [lines[-1] for lines in heads] == [b"{}" if method == "PUT" else b"" for method, _, _ in said]


async def answer_ok(reader, writer):
    await reader.readuntil(b"\r\n\r\n")
    writer.write(OK)
    await reader.read()


async def test_a_loopback_port_is_served_as_well():
    async with serving(answer_ok, port=True, host="127.0.0.1") as listening:
        client = LocalClient(listening.sockets[0].getsockname()[:2])
        assert (await client.request("GET", "/")).body == b"ok"
        await client.close()


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        ([OK], b"ok"),
        ([OK[i : i + 1] for i in range(len(OK))], b"ok"),
        ([CHUNKED, b"2\r\nab\r\n", b"1\r\nc\r\n0\r\n\r\n"], b"abc"),
        ([CHUNKED + b"2;ext=1\r\nab\r\n0\r\ntrailer: x\r\n\r\n"], b"ab"),
        ([b"HTTP/1.1 100 Continue\r\nX-Thing: no\r\n\r\n", OK], b"ok"),
        ([b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + OK], b"ok"),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], b""),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"], b""),
    ],
)
async def test_framed_answers_are_read_and_the_connection_is_kept(server, client, answer, body):
    server.scripts = [[answer, [OK]]]
    reply = await client.request("GET", "/")
    assert reply.body == body
    assert reply.headers.get("x-thing") in {None, "one"}
    assert (await client.request("GET", "/")).body == b"ok"
    assert server.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        [b"HTTP/1.1 200 OK\r\n\r\nup to", b" the end", CLOSE],
        [b"HTTP/1.0 200 OK\r\n\r\nup to the end", CLOSE],
        [b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nup to the end", CLOSE],
        [b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 13\r\n\r\nup to the end", STALL],
        [b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\nup to the endHTTP/1.1 200 OK\r\n", STALL],
        [b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\nup to the endrubbish", STALL],
        [b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\nup to the end" + OK, STALL],
    ],
)
async def test_a_connection_that_cannot_be_trusted_is_not_kept(server, client, answer):
    server.scripts = [[answer], [[OK]]]
    assert (await client.request("GET", "/")).body == b"up to the end"
    assert (await client.request("GET", "/")).body == b"ok"
    assert server.connections == 2


async def test_bytes_that_nobody_asked_for_close_an_idle_connection(server, client):
    server.scripts = [[[OK, b"surprise", STALL]], [[OK]]]
    await client.request("GET", "/")
    await server.gone.wait()
    assert (await client.request("GET", "/")).body == b"ok"
    assert server.connections == 2


async def test_without_keep_alive_each_request_has_a_connection(server):
    server.scripts = [[[OK], [OK]]]
    client = LocalClient(server.address, keep_alive=False)
    for _ in range(2):
        assert (await client.request("GET", "/")).body == b"ok"
    assert server.connections == 2
    assert b"connection: close" in server.requests[0]
    await client.close()


async def test_no_more_than_max_idle_connections_are_kept(server):
    server.scripts = [[[OK]]]
    client = LocalClient(server.address, max_idle=3)
    await asyncio.gather(*[client.request("GET", "/") for _ in range(8)])
    assert "3 idle" in repr(client)
    await client.close()


# ---- retries ----


async def test_a_kept_connection_that_was_closed_is_replaced(server, client):
    server.scripts = [[[OK], [CLOSE]], [[OK]]]
    await client.request("GET", "/1")
    assert (await client.request("POST", "/2", b"x")).body == b"ok"
    assert [request.split()[1] for request in server.requests] == [b"/1", b"/2", b"/2"]


async def test_a_kept_connection_that_was_closed_while_idle_costs_no_request(server, client):
    server.scripts = [[[OK, CLOSE]], [[OK]]]
    await client.request("GET", "/1")
    while "1 open" in repr(client):  # noqa: ASYNC110  # until the close has come through the socket
        await asyncio.sleep(0.001)
    await client.request("GET", "/2")
    assert [request.split()[1] for request in server.requests] == [b"/1", b"/2"]


@pytest.mark.parametrize("end", [CLOSE, RESET])
async def test_a_new_connection_that_closes_without_an_answer_is_not_tried_again(server, client, end):
    server.scripts = [[[end]]]
    with pytest.raises(EngineDied, match="without an answer"):
        await client.request("GET", "/")
    assert server.connections == 1


async def test_a_kept_connection_that_had_begun_to_answer_is_not_tried_again(server, client):
    server.scripts = [[[OK], [b"HTTP", CLOSE]], [[OK]]]
    await client.request("GET", "/")
    with pytest.raises(EngineDied):
        await client.request("GET", "/")
    assert server.connections == 1


async def test_an_engine_that_closes_and_is_gone_has_died(server, client):
    server.scripts = [[[OK], [CLOSE]]]
    await client.request("GET", "/")
    os.unlink(server.address)
    with pytest.raises(EngineDied, match="is gone"):
        await client.request("GET", "/")


# ---- faults ----


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nonly", CLOSE], EngineDied),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nonly", RESET], EngineDied),
        ([CHUNKED + b"5\r\nab", CLOSE], EngineDied),
        ([CHUNKED + b"2\r\nab\r\n", CLOSE], EngineDied),
        ([CHUNKED + b"zz\r\n"], EngineProtocolError),
        ([b"SSH-2.0-OpenSSH\r\n"], EngineProtocolError),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n"], EngineProtocolError),
        ([b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 20000], EngineProtocolError),
        ([b"HTTP/1.1 200 OK\r\nx: " + b"y" * (MAX_HEAD_BYTES + 1)], EngineProtocolError),
        ([b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"], EngineProtocolError),
    ],
)
async def test_a_broken_answer_is_an_error_and_the_connection_goes(server, client, answer, error):
    server.scripts = [[answer], [[OK]]]
    with pytest.raises(error):
        await client.request("GET", "/")
    assert (await client.request("GET", "/")).body == b"ok"
    assert "1 open" in repr(client)


async def test_data_before_the_fault_can_be_read(server, client):
    server.scripts = [[[CHUNKED, b"2\r\nab\r\n", CLOSE]]]
    exchange = await client.send("GET", "/")
    assert await exchange.read() == b"ab"
    for _ in range(2):
        with pytest.raises(EngineDied, match="in the middle"):
            await exchange.read()


async def test_a_body_over_the_limit_is_refused_but_a_stream_may_be_longer(server):
    server.scripts = [[[CHUNKED, *[b"64\r\n" + b"x" * 100 + b"\r\n"] * 5, b"0\r\n\r\n"]]]
    client = LocalClient(server.address, max_body_bytes=300)
    with pytest.raises(EngineProtocolError, match="300 bytes"):
        await client.request("GET", "/")
    exchange = await client.send("GET", "/")
    size = 0
    while data := await exchange.read():
        size += len(data)
    assert size == 500
    await client.close()


@pytest.mark.parametrize("where", ["missing", "stale", "port"])
async def test_an_engine_that_does_not_listen_is_unavailable(tmp_path, where):
    address = str(tmp_path / "x.sock")
    if where == "stale":
        stale = socket.socket(socket.AF_UNIX)
        stale.bind(address)
        stale.close()
    elif where == "port":
        taken = socket.create_server(("127.0.0.1", 0))
        address = taken.getsockname()
        taken.close()
    client = LocalClient(address)
    with pytest.raises(EngineUnavailable, match="does not answer"):
        await client.request("GET", "/")
    await client.close()


async def test_a_full_backlog_is_waited_for(tmp_path):
    path = str(tmp_path / "x.sock")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen(0)
    client = LocalClient(path)
    requests = [asyncio.ensure_future(client.request("GET", "/")) for _ in range(6)]
    await asyncio.sleep(0.01)

    async with serving(answer_ok, sock=listening, backlog=1):
        assert [reply.body for reply in await asyncio.gather(*requests)] == [b"ok"] * 6
        await client.close()


async def test_a_closed_client_takes_no_requests_and_ends_those_that_run(server):
    server.scripts = [[[CHUNKED, STALL]]]
    client = LocalClient(server.address)
    exchange = await client.send("GET", "/")
    reading = asyncio.ensure_future(exchange.read())
    await asyncio.sleep(0)
    await client.close()
    with pytest.raises(EngineUnavailable):
        await reading
    with pytest.raises(EngineUnavailable):
        await client.send("GET", "/")
    await server.gone.wait()


@pytest.mark.parametrize("path", ["/a\r\nx: y", "/a\nx", "/a\r"])
async def test_line_breaks_cannot_be_smuggled_into_the_head(client, path):
    with pytest.raises(ValueError, match="line break"):
        await client.send("GET", path)
    with pytest.raises(ValueError, match="line break"):
        await client.send("GET", "/", headers=[("x", path)])

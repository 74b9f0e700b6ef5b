"""Settings of `[server]` as a client sees them, on real sockets."""

from __future__ import annotations

import json
import shutil
import ssl
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from .conftest import Serve
from .raw import NO_END, Raw, metric, wait_until
from .served import LAZY, MODEL, Served, locked

CHAT = "/v1/chat/completions"
HI: Any = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
TLS = Path(__file__).parent / "tls"


def with_settings(*lines: str, config: str = LAZY) -> str:
    return config.replace("port = 0", "\n".join(["port = 0", *lines]))


# ---- request ids ----


def test_a_request_id_is_echoed_on_every_kind_of_answer_and_logged(http: httpx.Client, server: Served) -> None:
    for number, (method, path) in enumerate(
        [("GET", "/v1/models"), ("GET", "/nothing"), ("PUT", "/health"), ("POST", CHAT), ("GET", CHAT)]
    ):
        sent = f"mine-{number}"
        assert http.request(method, path, headers={"x-request-id": sent}).headers["x-request-id"] == sent
    assert server.wait_for_log("request", lambda line: line["id"] == "mine-3")["status"] == 415


@pytest.mark.parametrize("odd", ["", "with blanks in it", "x" * 129, "caf\xe9"])
def test_an_odd_request_id_is_replaced(http: httpx.Client, odd: str) -> None:
    given = http.get("/health", headers={"x-request-id": odd.encode("latin-1")}).headers["x-request-id"]
    assert given.startswith("req-")
    assert given != http.get("/health").headers["x-request-id"]


def test_the_header_of_the_request_id_has_another_name_where_configured(serve: Serve) -> None:
    served = serve(with_settings('request_id_header = "X-Trace"'), ready=False)
    reply = httpx.get(f"{served.url}/health", headers={"x-trace": "t-1", "x-request-id": "r-1"})
    assert reply.headers["x-trace"] == "t-1"
    assert "x-request-id" not in reply.headers


# ---- CORS, documentation, unknown fields ----


def test_a_page_of_a_configured_origin_may_call_and_another_may_not(serve: Serve) -> None:
    served = serve(with_settings('cors_origins = ["https://chat.example.org"]', config=locked("k")), ready=False)
    ask = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
    with httpx.Client(base_url=served.url) as client:
        friend = client.options(CHAT, headers={"origin": "https://chat.example.org", **ask})
        assert friend.status_code == 204
        assert friend.headers["access-control-allow-origin"] == "https://chat.example.org"
        assert "POST" in friend.headers["access-control-allow-methods"]
        allowed = friend.headers["access-control-allow-headers"].lower()
        assert "authorization" in allowed
        assert "content-type" in allowed
        stranger = client.options(CHAT, headers={"origin": "https://evil.example.org", **ask})
        assert not [name for name in stranger.headers if name.startswith("access-control")]
        assert "access-control-allow-origin" not in client.get("/health", headers={"origin": "https://x.org"}).headers
        # A page must be able to read why it was refused.
        refused = client.post(CHAT, json=HI, headers={"origin": "https://chat.example.org"})
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == "https://chat.example.org"
        assert "x-request-id" in refused.headers["access-control-expose-headers"].lower()


def test_headers_of_the_sdk_pass_a_preflight(serve: Serve) -> None:
    served = serve(with_settings('cors_origins = ["*"]'), ready=False)
    sent = "authorization,content-type,x-stainless-lang,x-stainless-retry-count,x-request-id"
    reply = httpx.options(
        f"{served.url}{CHAT}",
        headers={
            "origin": "https://a.example",
            "access-control-request-method": "POST",
            "access-control-request-headers": sent,
        },
    )
    assert reply.status_code == 204
    allowed = {name.strip() for name in reply.headers["access-control-allow-headers"].lower().split(",")}
    assert set(sent.split(",")) <= allowed


def test_the_documentation_can_be_switched_off(serve: Serve, http: httpx.Client) -> None:
    assert http.get("/docs").headers["content-type"].startswith("text/html")
    assert http.get("/openapi.json").json()["openapi"] == "3.1.0"
    served = serve(with_settings("docs = false"), ready=False)
    assert [httpx.get(served.url + path).status_code for path in ("/docs", "/openapi.json")] == [404, 404]


@pytest.mark.engine
@pytest.mark.parametrize("stream", [False, True])
def test_unknown_fields_are_named_in_a_header_where_configured(serve: Serve, stream: bool) -> None:
    served = serve(with_settings('unknown_fields = "report"'), ready=False)
    body = {**HI, "messages": [{**HI["messages"][0], "mood": "sad"}], "foo": 1, "a b": 2, "stream": stream}
    reply = httpx.post(served.url + CHAT, json=body, timeout=60)
    assert reply.status_code == 200
    named = reply.headers["x-enginehouse-ignored"].split(", ")
    assert sorted(named) == ["a%20b", "foo", "messages%5B%5D.mood"]


# ---- keys ----


def test_only_health_readiness_and_documentation_need_no_key(serve: Serve) -> None:
    served = serve(locked("right"), ready=False)
    with httpx.Client(base_url=served.url) as client:
        for path in ("/health", "/docs", "/openapi.json"):
            assert client.get(path).status_code == 200
        assert client.get("/ready").status_code in (200, 503)
        for path in ("/v1/models", f"/v1/models/{MODEL}", "/metrics"):
            assert client.get(path).status_code == 401
            assert client.get(path, headers={"authorization": "Bearer right"}).status_code == 200
        client.post(CHAT, json={"model": 5}, headers={"authorization": "Bearer right"})
    assert served.wait_for_log("request", lambda line: line["status"] == 400)["key"] == "tests"
    assert "right" not in served.text()


def test_metrics_are_public_where_configured(serve: Serve) -> None:
    served = serve(with_settings("metrics_public = true", config=locked("k")), ready=False)
    assert httpx.get(f"{served.url}/metrics").status_code == 200


# ---- TLS and proxies ----


def test_tls_files_give_https(serve: Serve, tmp_path: Path) -> None:
    for name in ("cert.pem", "key.pem"):
        shutil.copy(TLS / name, tmp_path / name)
    served = serve(with_settings('tls_cert = "cert.pem"', 'tls_key = "key.pem"'), ready=False, folder=tmp_path)
    assert served.url.startswith("https://")
    trusting = ssl.create_default_context(cafile=str(TLS / "cert.pem"))
    with httpx.Client(base_url=served.url, verify=trusting) as client:
        assert client.get("/health").json()["status"] == "ok"
        assert client.post(CHAT, json={"model": 5}).status_code == 400
    with httpx.Client(base_url=served.url) as client, pytest.raises(httpx.ConnectError, match="CERTIFICATE"):
        client.get("/health")


@pytest.mark.engine
@pytest.mark.parametrize("trusted", [True, False])
def test_clients_behind_a_trusted_proxy_are_told_apart(serve: Serve, trusted: bool) -> None:
    """A queue that one client fills has room for another: only a trusted proxy can say who asks."""
    proxies = '["127.0.0.0/8"]' if trusted else '["10.9.9.9"]'
    config = with_settings(f"trusted_proxies = {proxies}").replace("placements = [{", "max_queue = 2\nplacements = [{")
    served = serve(config.replace('smollm2-135m" }]', 'smollm2-135m", options = { slots = 1 } }]'), ready=False)
    httpx.post(served.url + CHAT, json=HI, timeout=60).raise_for_status()
    statuses: dict[str, int] = {}

    def ask(name: str, client: str) -> None:
        headers = {"x-forwarded-for": client, "x-request-id": name}
        statuses[name] = httpx.post(served.url + CHAT, json=HI, headers=headers, timeout=60).status_code

    threads = []
    with Raw(served.address) as busy:
        busy.ask(stream=True, max_tokens=1900, logit_bias=NO_END)
        next(busy.events())
        for name, client, queued in (("first", "1.1.1.1", 1), ("second", "1.1.1.1", 2), ("other", "2.2.2.2", 2)):
            threads.append(threading.Thread(target=ask, args=(name, client)))
            threads[-1].start()
            wait_until(lambda number=queued: metric(served, "enginehouse_queued_requests") == number, f"{queued} wait")
        wait_until(lambda: len(statuses) == 1, "one of three finds no room")
    for thread in threads:
        thread.join()
    refused = "second" if trusted else "other"
    assert statuses == {name: 503 if name == refused else 200 for name in ("first", "second", "other")}


# ---- times ----


def test_a_model_that_takes_too_long_to_begin_gets_504(serve: Serve) -> None:
    served = serve(with_settings("first_token_timeout_s = 0.01"), ready=False)
    for stream in (False, True):
        reply = httpx.post(served.url + CHAT, json={**HI, "stream": stream}, timeout=60)
        assert reply.status_code == 504
        assert reply.json()["error"]["code"] == "timeout"
        assert reply.headers["content-type"] == "application/json"


@pytest.mark.engine
def test_the_total_time_ends_a_stream_with_an_error_and_no_success(serve: Serve) -> None:
    served = serve(with_settings("total_timeout_s = 5"), ready=False)
    httpx.post(served.url + CHAT, json=HI, timeout=60)  # loads the model, in time or not
    served.wait_for_log("instance ready")
    events: list[str] = []
    with Raw(served.address) as client:
        request_id = client.ask(stream=True, max_tokens=1900, logit_bias=NO_END)
        events += client.events()
    assert "[DONE]" not in events
    assert json.loads(events[-1])["error"]["code"] == "timeout"
    assert all(choice["finish_reason"] is None for event in events[:-1] for choice in json.loads(event)["choices"])
    line = served.wait_for_log("request", lambda line: line["id"] == request_id)
    assert line["error"] == "timeout"
    assert line["completion_tokens"] > 0


@pytest.mark.engine
def test_a_silent_stream_is_kept_open_by_comments(serve: Serve) -> None:
    """The model loads first, so the stream is silent; it begins with a comment and says the same as ever."""
    served = serve(with_settings("keep_alive_s = 0.02"), ready=False)
    text = httpx.post(served.url + CHAT, json={**HI, "stream": True}, timeout=60).text
    assert text.startswith(":")
    lines = [line for line in text.split("\n\n") if line]
    assert all(line.startswith((":", "data: ")) for line in lines)
    assert lines[-1] == "data: [DONE]"

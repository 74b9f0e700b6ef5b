from __future__ import annotations

import json
import socket
from typing import Any

import pytest

from enginehouse.accounts import KeyRing
from enginehouse.config import KeyConfig, ServerConfig
from enginehouse.http.origins import Origins

from .lanes import Recorded

KEYS = KeyRing([KeyConfig(name="k", sha256="0" * 64)])
NO_KEYS = KeyRing()


def asked(host: str | None, origin: str | None = None, /, *, method: str = "POST", keys=NO_KEYS, **server: Any) -> str:
    """The code of the refusal, or `passed`."""
    headers = [("host", host)] if host is not None else []
    exchange = Recorded(*headers, *([("origin", origin)] if origin is not None else []), method=method)
    Origins(ServerConfig(**server), keys)(exchange)
    if not exchange.is_begun:
        return "passed"
    assert exchange.status == 403
    return str(json.loads(exchange.body)["error"]["code"])


OURS = [
    *("localhost", "LOCALHOST:8000", "localhost.", "a.localhost:1", "127.0.0.1", "127.9.9.9:8000", "[::1]:8000"),
    *("192.168.1.5:8000", "host.docker.internal:8000", socket.gethostname(), f"{socket.gethostname()}:8000"),
]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("host", OURS)
def test_names_and_addresses_of_this_machine_are_answered(host: str, method: str) -> None:
    assert asked(host, method=method) == "passed"


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "[evil]", "1.2.3",
     "[::1]evil.example", "[::1]:8000.evil.example", "[::1", "localhost:evil.example", "localhost:80:80", "]", "[]x"]
)  # fmt: skip
def test_a_page_whose_own_name_leads_here_is_refused(host: str, method: str) -> None:
    assert asked(host, f"http://{host}", method=method) == "host_not_allowed"
    assert asked(host, method=method) == "host_not_allowed"


def test_a_client_that_names_no_host_is_no_browser() -> None:
    assert asked(None) == "passed"


def test_the_configuration_adds_names() -> None:
    assert asked("House.example:80", allowed_hosts=("house.example",)) == "passed"
    assert asked("house.example", allowed_hosts=("House.Example.",)) == "passed"
    assert asked("evil.example", allowed_hosts=("house.example",)) == "host_not_allowed"


def test_beyond_loopback_any_name_is_answered_unless_some_are_configured() -> None:
    assert asked("house.lan", host="0.0.0.0") == "passed"
    assert asked("house.lan", host="0.0.0.0", allowed_hosts=("other.lan",)) == "host_not_allowed"


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:3000", "http://localhost", ""])
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_page_of_another_origin_changes_nothing(host: str, origin: str) -> None:
    for method in ("POST", "DELETE", "PUT", "PATCH"):
        assert asked("localhost:8000", origin, method=method, host=host) == "origin_not_allowed"
    assert asked("localhost:8000", origin, method="GET", host=host) == "passed"  # and its browser shows it nothing


@pytest.mark.parametrize("origin", ["http://localhost:8000", "https://localhost:8000"])
def test_the_servers_own_pages_may(origin: str) -> None:
    assert asked("localhost:8000", origin) == "passed"


@pytest.mark.parametrize("named", ["http://chat.example", "http://chat.example/", "*"])
def test_so_may_pages_that_are_configured(named: str) -> None:
    assert asked("localhost", "http://chat.example", cors_origins=(named,)) == "passed"


def test_with_keys_the_key_decides() -> None:
    assert asked("evil.example", "http://evil.example", keys=KEYS) == "passed"


def test_what_is_remembered_of_good_names_is_bounded() -> None:
    origins = Origins(ServerConfig(), NO_KEYS)
    for port in range(1000):
        origins(Recorded(("host", f"localhost:{port}")))
    assert len(origins._passed) <= 256

from __future__ import annotations

import re

import pytest

from enginehouse.http.layers import Cors, RequestId

from .lanes import Recorded

PAGE = "https://chat.example.org"
ASKS = ("access-control-request-method", "POST")


def passed(layer, *headers: tuple[str, str], method: str = "GET") -> Recorded:
    """An exchange that has gone through *layer*."""
    exchange = Recorded(*headers, method=method)
    layer(exchange)
    return exchange


def access(exchange: Recorded) -> list[str]:
    sent = exchange.sent if exchange.is_begun else exchange.response_headers
    return [name.decode() for name, _ in sent if name.startswith(b"access-control")]


# ---- ids of requests ----


@pytest.mark.parametrize("given", ["a", "550e8400-e29b-41d4-a716-446655440000", "!~", "x" * 128])
def test_a_usable_id_of_the_client_is_kept(given: str) -> None:
    exchange = passed(RequestId("x-request-id"), ("x-request-id", given))
    assert exchange.all("x-request-id") == [given]
    assert exchange.request_id == given


@pytest.mark.parametrize("given", ["", " ", "a b", "x" * 129, "caf\xe9", "a\tb", "a\x7f"])
def test_another_is_replaced(given: str) -> None:
    """It would stand in log lines and in a header of the answer."""
    exchange = passed(RequestId("x-request-id"), ("x-request-id", given))
    (made,) = exchange.all("x-request-id")
    assert re.fullmatch(r"req-[0-9a-f]{24}", made)
    assert exchange.request_id == made


def test_of_two_ids_the_first_counts() -> None:
    exchange = passed(RequestId("x-request-id"), ("x-request-id", "one"), ("x-request-id", "two"))
    assert exchange.all("x-request-id") == ["one"]


def test_ids_that_are_made_differ() -> None:
    layer = RequestId("x-request-id")
    assert passed(layer).request_id != passed(layer).request_id


def test_the_header_has_the_configured_name_in_any_case() -> None:
    exchange = passed(RequestId("X-Trace-Id"), ("x-trace-id", "t"), ("x-request-id", "r"))
    assert exchange.all("x-trace-id") == ["t"]
    assert exchange.all("x-request-id") == []


# ---- pages of other origins ----


def cors(*origins: str) -> Cors:
    return Cors(origins, ("x-request-id", "retry-after"))


def test_an_answer_to_an_allowed_page_names_its_origin_and_the_headers_it_may_read() -> None:
    exchange = passed(cors(PAGE), ("origin", PAGE))
    assert exchange.all("access-control-allow-origin") == [PAGE]
    assert exchange.all("access-control-expose-headers") == ["x-request-id, retry-after"]
    assert exchange.all("vary") == ["origin"]
    assert not exchange.is_begun


@pytest.mark.parametrize(
    "origin", ["https://evil.org", PAGE + ".evil.org", "http://chat.example.org", PAGE + ":8443", "null", ""]
)
def test_another_page_gets_the_answer_without_a_word_of_access(origin: str) -> None:
    exchange = passed(cors(PAGE), ("origin", origin))
    assert access(exchange) == []
    assert exchange.all("vary") == ["origin"]
    preflight = passed(cors(PAGE), ("origin", origin), ASKS, method="OPTIONS")
    assert preflight.status == 204
    assert access(preflight) == []


def test_a_star_allows_every_page() -> None:
    assert passed(cors("*"), ("origin", "https://any.org")).all("access-control-allow-origin") == ["*"]


def test_a_slash_at_the_end_of_a_configured_origin_does_not_matter() -> None:
    assert passed(cors(PAGE + "/"), ("origin", PAGE)).all("access-control-allow-origin") == [PAGE]


def test_a_preflight_is_answered_here_and_allows_the_headers_it_asks_for() -> None:
    wanted = "authorization,x-stainless-lang"
    exchange = passed(cors(PAGE), ("origin", PAGE), ASKS, ("access-control-request-headers", wanted), method="OPTIONS")
    assert exchange.status == 204
    assert exchange.is_ended
    assert exchange.all("access-control-allow-headers") == [wanted]
    assert exchange.all("access-control-allow-methods") == ["GET, POST"]
    assert exchange.all("access-control-allow-credentials") == []


def test_options_without_a_preflights_headers_is_a_request_like_others() -> None:
    assert not passed(cors(PAGE), ("origin", PAGE), method="OPTIONS").is_begun
    assert not passed(cors(PAGE), ASKS, method="OPTIONS").is_begun


def test_without_an_origin_nothing_is_added() -> None:
    assert passed(cors(PAGE)).response_headers == []

from __future__ import annotations

import pytest

from enginehouse.http.cors import Cors

from .asgi import Got, get, hello

PAGE = "https://chat.example.org"
ASKS = ("access-control-request-method", "POST")


def cors(*origins: str) -> Cors:
    return Cors(hello, origins, ("x-request-id", "retry-after"))


def access(got: Got) -> list[str]:
    return [name.decode() for name, _ in got.headers if name.startswith(b"access-control")]


async def test_an_answer_to_an_allowed_page_names_its_origin_and_the_headers_it_may_read() -> None:
    got = await get(cors(PAGE), ("origin", PAGE))
    assert got.all("access-control-allow-origin") == [PAGE]
    assert got.all("access-control-expose-headers") == ["x-request-id, retry-after"]
    assert got.all("vary") == ["origin"]
    assert got.all("x-own") == ["1"]


@pytest.mark.parametrize(
    "origin", ["https://evil.org", PAGE + ".evil.org", "http://chat.example.org", PAGE + ":8443", "null", ""]
)
async def test_another_page_gets_the_answer_without_a_word_of_access(origin: str) -> None:
    got = await get(cors(PAGE), ("origin", origin))
    assert access(got) == []
    assert got.all("vary") == ["origin"]
    preflight = await get(cors(PAGE), ("origin", origin), ASKS, method="OPTIONS")
    assert preflight.status == 204
    assert access(preflight) == []


async def test_a_star_allows_every_page() -> None:
    assert (await get(cors("*"), ("origin", "https://any.org"))).all("access-control-allow-origin") == ["*"]


async def test_a_slash_at_the_end_of_a_configured_origin_does_not_matter() -> None:
    assert (await get(cors(PAGE + "/"), ("origin", PAGE))).all("access-control-allow-origin") == [PAGE]


async def test_a_preflight_is_answered_here_and_allows_the_headers_it_asks_for() -> None:
    wanted = "authorization,x-stainless-lang"
    got = await get(cors(PAGE), ("origin", PAGE), ASKS, ("access-control-request-headers", wanted), method="OPTIONS")
    assert got.status == 204
    assert got.all("x-own") == []
    assert got.all("access-control-allow-headers") == [wanted]
    assert got.all("access-control-allow-methods") == ["GET, POST"]
    assert got.all("access-control-allow-credentials") == []


async def test_options_without_a_preflights_headers_is_a_request_like_others() -> None:
    assert (await get(cors(PAGE), ("origin", PAGE), method="OPTIONS")).all("x-own") == ["1"]
    assert (await get(cors(PAGE), ASKS, method="OPTIONS")).all("x-own") == ["1"]


async def test_without_an_origin_nothing_is_added() -> None:
    assert (await get(cors(PAGE))).headers == [(b"x-own", b"1")]

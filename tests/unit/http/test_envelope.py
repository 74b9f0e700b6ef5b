from __future__ import annotations

import re

import pytest

from enginehouse.http.envelope import Envelope

from .asgi import get, hello


@pytest.mark.parametrize("given", ["a", "550e8400-e29b-41d4-a716-446655440000", "!~", "x" * 128])
async def test_a_usable_id_of_the_client_is_kept(given: str) -> None:
    got = await get(Envelope(hello, "x-request-id"), ("x-request-id", given))
    assert got.all("x-request-id") == [given]
    assert got.scope["enginehouse.request_id"] == given
    assert got.all("x-own") == ["1"]


@pytest.mark.parametrize("given", ["", " ", "a b", "x" * 129, "caf\xe9", "a\tb", "a\x7f"])
async def test_another_is_replaced(given: str) -> None:
    """It would stand in log lines and in a header of the answer."""
    got = await get(Envelope(hello, "x-request-id"), ("x-request-id", given))
    (made,) = got.all("x-request-id")
    assert re.fullmatch(r"req-[0-9a-f]{24}", made)
    assert got.scope["enginehouse.request_id"] == made


async def test_ids_that_are_made_differ() -> None:
    app = Envelope(hello, "x-request-id")
    assert (await get(app)).all("x-request-id") != (await get(app)).all("x-request-id")


async def test_the_header_has_the_configured_name_in_any_case() -> None:
    got = await get(Envelope(hello, "X-Trace-Id"), ("x-trace-id", "t"), ("x-request-id", "r"))
    assert got.all("x-trace-id") == ["t"]
    assert got.all("x-request-id") == []


async def test_what_is_no_http_passes_as_it_is() -> None:
    seen = []

    async def app(scope, receive, send) -> None:
        seen.append(scope)

    await Envelope(app, "x-request-id")({"type": "lifespan"}, None, None)
    assert seen == [{"type": "lifespan"}]

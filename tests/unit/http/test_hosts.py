"""The route by which a host proves who it is, to whoever knows that there is such a key."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest
from tests.unit.conftest import CPU, House

from enginehouse.accounts import hash_secret
from enginehouse.assembly import build
from enginehouse.config import KeyConfig, MdnsConfig
from enginehouse.fleet import PROOF_PATH, key_id
from enginehouse.fleet.hosts.proof import Question, Unproven
from enginehouse.plugins import Plugins
from enginehouse_plugin import API_VERSION, hookimpl

URL = "http://127.0.0.1:8000"
NONCE = "0" * 64
ID = key_id(bytes.fromhex(hash_secret("fleet")))


@pytest.fixture
async def asked(house: House) -> AsyncIterator[Any]:
    """Asks a host that is called `box` and has the key `fleet` a question, as if at *url*."""

    class Scripted:
        enginehouse_api = API_VERSION

        @hookimpl
        def enginehouse_backends(self) -> Any:
            return [house.script.type()]

    plugins = Plugins()
    plugins.add(Scripted(), "scripted")
    config = msgspec.structs.replace(
        house.config(),
        keys=(KeyConfig(name="fleet", sha256=hash_secret("fleet")),),
        mdns=MdnsConfig(announce=True, name="box"),
    )
    built = build(config, plugins, devices=(CPU,))

    async def ask(path: str, url: str = URL, **headers: str) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(built.app), base_url=url) as client:
            return await client.get(path, headers=headers)

    ask.built = built  # type: ignore[attr-defined]
    yield ask
    await built.fleet.close()
    built.close()


async def test_a_host_proves_its_name_at_its_address_by_a_key_that_nobody_sends(asked: Any) -> None:
    question = Question("fleet", "box", URL)
    answer = await asked(question.url)
    question.check(answer.status_code, answer.content)
    again = Question("fleet", "box", URL)
    assert again.url != question.url
    with pytest.raises(Unproven):
        again.check(answer.status_code, answer.content)
    mapped = await asked(question.url, "http://[::ffff:127.0.0.1]:8000")
    assert mapped.content == answer.content


@pytest.mark.parametrize(
    ("question", "url"),
    [
        (Question("fleet", "mac", URL), URL),
        (Question("fleet", "box", URL), "http://127.0.0.1:8001"),
        (Question("fleet", "box", URL), "http://127.0.0.2:8000"),
        (Question("other", "box", URL), URL),
    ],
)
async def test_it_proves_no_other_name_address_or_key(asked: Any, question: Question, url: str) -> None:
    answer = await asked(question.url.removeprefix(URL), url)
    with pytest.raises(Unproven):
        question.check(answer.status_code, answer.content)


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        (f"key={ID}&nonce={NONCE}", 200, None),
        (f"key={'0' * 16}&nonce={NONCE}", 404, "not_found"),
        (f"nonce={NONCE}", 404, "not_found"),
        (f"key={ID}", 400, "invalid_value"),
        (f"key={ID}&nonce={'0' * 129}", 400, "invalid_value"),
        (f"key={ID}&nonce={'0' * 31}", 400, "invalid_value"),
        (f"key={ID}&nonce={'g' * 64}", 400, "invalid_value"),
        (f"key={ID}&nonce={'%D9%A0' * 64}", 400, "invalid_value"),
    ],
)
async def test_strangers_get_nothing_but_a_refusal(asked: Any, query: str, status: int, code: str | None) -> None:
    answer = await asked(f"{PROOF_PATH}?{query}")
    told = answer.json()
    assert (answer.status_code, told.get("error", {}).get("code")) == (status, code)
    assert ("proof" in told) == (status == 200)


async def test_a_key_is_proven_while_it_is_in_the_file_and_by_a_host_that_announces_itself(asked: Any) -> None:
    path = f"{PROOF_PATH}?key={ID}&nonce={NONCE}"
    live, mdns = asked.built.live, asked.built.fleet.hosts.mdns
    live.apply(msgspec.structs.replace(live.config, keys=(KeyConfig(name="new", sha256=hash_secret("new")),)))
    assert (await asked(path)).status_code == 404
    new = key_id(bytes.fromhex(hash_secret("new")))
    assert (await asked(path.replace(ID, new))).status_code == 200
    mdns.name = None
    assert (await asked(path.replace(ID, new))).status_code == 404


async def test_no_page_is_told(asked: Any) -> None:
    answer = await asked(f"{PROOF_PATH}?key={ID}&nonce={NONCE}", origin="https://example.org")
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "origin_not_allowed")

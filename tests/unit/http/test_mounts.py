"""Profiles side by side: what leads to each, whose names and defaults hold there, and whose words tell of errors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace
from tests.unit.conftest import CPU, House

from enginehouse.accounts import hash_secret
from enginehouse.accounts.credit_desk import CreditDesk
from enginehouse.assembly import build
from enginehouse.config import AccountsConfig, AgentConfig, ConfigError, Defaults, KeyConfig, MountConfig, Prices
from enginehouse.dialects.profiles import built_in
from enginehouse.plugins import Plugins
from enginehouse_plugin import API_VERSION, Profile, hookimpl
from enginehouse_plugin.errors import EngineOverloaded
from enginehouse_plugin.profile import ErrorWords, Field

COLD = Profile(
    name="cold",
    fields={"temperature": Field(default=0.25, maximum=0.5)},
    errors={401: ErrorWords(words="Who are you?"), 400: ErrorWords(words="No.")},
    statuses={404: 400},
    headers={"x-cold": "yes"},
)
RUNS = Profile(name="runs", base_path="/api/v1", query={"agent": "true"}, max_completion_tokens_spans="run")
KEYS = tuple(KeyConfig(name=name, sha256=hash_secret(name)) for name in ("alice", "bob"))
Serve = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}


@pytest.fixture
def serve(house: House) -> Serve:
    """Serve the scripted model with *mounts*, beside OpenAI's own profile."""

    class Plugin:
        enginehouse_api = API_VERSION

        @hookimpl
        def enginehouse_backends(self) -> Any:
            return [house.script.type()]

        @hookimpl
        def enginehouse_profiles(self) -> Any:
            return [COLD, RUNS]

    plugins = Plugins()
    plugins.add(Plugin(), "scripted")

    @asynccontextmanager
    async def serving(*mounts: MountConfig, **config: Any) -> AsyncIterator[httpx.AsyncClient]:
        built = build(replace(house.config(), mounts=mounts, **config), plugins, devices=(CPU,))
        built.fleet.start()
        transport = httpx.ASGITransport(built.app)
        try:
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=20) as client:
                yield client
        finally:
            await built.fleet.close()
            built.close()

    return serving


async def test_a_path_leads_to_a_profile_with_its_bounds_defaults_words_and_headers(house: House, serve: Serve) -> None:
    async with serve(MountConfig(profile="cold", path="/cold")) as client:
        answer = await client.post("/cold/v1/chat/completions", json=body())
        assert (answer.status_code, answer.headers["x-cold"]) == (200, "yes")
        assert (await client.post("/v1/chat/completions", json=body())).status_code == 200
        refused = await client.post("/cold/v1/chat/completions", json=body(temperature=0.75))
        assert (refused.status_code, refused.headers["x-cold"]) == (400, "yes")
        assert refused.json()["error"]["message"].startswith("No. Invalid 'temperature': decimal above maximum value.")
        assert "<= 0.5, but got 0.75" in refused.json()["error"]["message"]
        assert (await client.post("/v1/chat/completions", json=body(temperature=0.75))).status_code == 200
    assert [request.temperature for request in house.script.requests] == [0.25, 1.0, 0.75]


async def test_the_models_configuration_goes_before_the_profile(house: House, serve: Serve) -> None:
    models = house.config(defaults=Defaults(temperature=0.125)).models
    async with serve(MountConfig(profile="cold", path="/cold"), models=models) as client:
        await client.post("/cold/v1/chat/completions", json=body())
        card = (await client.get("/cold/v1/models")).json()["data"][0]
    assert house.script.requests[0].temperature == 0.125
    assert card["defaults_from"]["temperature"] == "configuration"


async def test_a_mount_has_names_of_its_own_for_models_and_no_others(serve: Serve) -> None:
    async with serve(MountConfig(profile="cold", path="/cold", models={"ice": "m"})) as client:
        answer = await client.post("/cold/v1/chat/completions", json=body(model="ice"))
        assert answer.json()["model"] == "ice"
        unknown = await client.post("/cold/v1/chat/completions", json=body(model="m"))
        assert (unknown.status_code, unknown.json()["error"]["code"]) == (400, "model_not_found")
        listed = (await client.get("/cold/v1/models")).json()["data"]
        assert [(card["id"], card["defaults"]["temperature"]) for card in listed] == [("ice", 0.25)]
        assert (await client.get("/cold/v1/models/ice")).json()["id"] == "ice"
        assert (await client.get("/cold/v1/models/m")).status_code == 404
        assert [card["id"] for card in (await client.get("/v1/models")).json()["data"]] == ["m"]


async def test_a_pattern_stands_for_names_that_nobody_else_has_and_is_not_listed(serve: Serve) -> None:
    names = {"claude-*": "m", "ice": "m"}
    async with serve(MountConfig(profile="openai", path="/claude", models=names)) as client:
        asked = {"model": "claude-opus-9", "max_tokens": 4, "messages": [{"role": "user", "content": "hi"}]}
        answer = await client.post("/claude/v1/messages", json=asked)
        assert (answer.status_code, answer.json()["model"]) == (200, "claude-opus-9")
        assert answer.headers["request-id"] == answer.headers["x-request-id"]
        counted = await client.post("/claude/v1/messages/count_tokens", json={**asked, "max_tokens": None})
        assert counted.status_code == 200
        unknown = await client.post("/claude/v1/messages", json={**asked, "model": "my-claude-9"})
        assert unknown.json()["error"]["type"] == "not_found_error"
        assert [card["id"] for card in (await client.get("/claude/v1/models")).json()["data"]] == ["ice"]


async def test_whoever_speaks_anthropic_hears_of_models_in_that_form(serve: Serve) -> None:
    names = {"ice": "m", "snow": "m"}
    async with serve(MountConfig(profile="openai", path="/claude", models=names), keys=KEYS) as client:
        named = {"x-api-key": "bob"}
        page = (await client.get("/claude/v1/models?limit=1", headers=named)).json()
        assert ([model["id"] for model in page["data"]], page["has_more"]) == (["ice"], True)
        assert (await client.get("/claude/v1/models/snow", headers=named)).json()["type"] == "model"
        both = {"anthropic-version": "2023-06-01", "authorization": "Bearer bob"}
        assert (await client.get("/claude/v1/models?after_id=ice", headers=both)).json()["last_id"] == "snow"
        plain = await client.get("/claude/v1/models", headers={"authorization": "Bearer bob"})
        assert plain.json()["object"] == "list"
        for path, headers, status, kind in (
            ("?limit=0", named, 400, "invalid_request_error"),
            ("/nobody", named, 404, "not_found_error"),
            ("", {"x-api-key": "eve"}, 401, "authentication_error"),
        ):
            refused = await client.get(f"/claude/v1/models{path}", headers=headers)
            assert (refused.status_code, refused.json()["error"]["type"]) == (status, kind)


async def test_a_mount_without_messages_has_no_such_route(serve: Serve) -> None:
    async with serve(MountConfig(profile="dos-ai", path="/dos")) as client:
        assert (await client.post("/dos/v1/messages", json={})).status_code == 404


async def test_a_host_leads_to_a_profile_and_is_a_name_of_this_server(serve: Serve) -> None:
    async with serve(MountConfig(profile="cold", hosts=("Cold.example",), models={"ice": "m"})) as client:
        there = {"host": "cold.example:8000"}
        assert (await client.get("/v1/models", headers=there)).json()["data"][0]["id"] == "ice"
        refused = await client.post("/v1/chat/completions", json=body(temperature=0.75), headers=there)
        assert refused.json()["error"]["message"].startswith("No. ")
        assert (await client.post("/v1/chat/completions", json=body(temperature=0.75))).status_code == 200


async def test_a_key_leads_to_a_profile(serve: Serve) -> None:
    async with serve(MountConfig(profile="cold", keys=("alice",), models={"ice": "m"}), keys=KEYS) as client:
        for name, id_, status in (("alice", "ice", 400), ("bob", "m", 200)):
            headers = {"authorization": f"Bearer {name}"}
            assert (await client.get("/v1/models", headers=headers)).json()["data"][0]["id"] == id_
            asked = body(model=id_, temperature=0.75)
            assert (await client.post("/v1/chat/completions", json=asked, headers=headers)).status_code == status


async def test_a_profile_may_have_its_own_path_and_want_something_in_the_query(serve: Serve) -> None:
    async with serve(MountConfig(profile="runs", path="/")) as client:
        for query, status in (("?agent=true", 200), ("?agent=True&x=1", 200), ("", 400), ("?agent=false", 400)):
            answer = await client.post(f"/api/v1/chat/completions{query}", json=body())
            assert answer.status_code == status, query
            if status == 400:
                assert answer.json()["error"]["param"] == "agent"
        assert (await client.get("/api/v1/models")).json() == (await client.get("/v1/models")).json()


async def test_what_leads_nowhere_is_not_there(serve: Serve) -> None:
    async with serve(MountConfig(profile="runs", keys=("alice",)), keys=KEYS) as client:
        headers = {"authorization": "Bearer bob"}
        asked = await client.post("/api/v1/chat/completions?agent=true", json=body(), headers=headers)
        assert (asked.status_code, asked.json()["error"]["code"]) == (404, "not_found")
        assert (await client.get("/api/v1/models", headers=headers)).status_code == 404


async def test_an_agent_leads_a_model_by_instructions_and_defaults(house: House, serve: Serve) -> None:
    agent = AgentConfig(
        model="m", instructions="Be brief.", tools=("look",), defaults=Defaults(temperature=0.5, max_tokens=9)
    )
    async with serve(agents={"guide": agent}) as client:
        answer = await client.post("/v1/chat/completions", json=body(model="guide"))
        assert (answer.status_code, answer.json()["model"]) == (200, "guide")
        messages = [{"role": "system", "content": "In French."}, {"role": "user", "content": "hi"}]
        await client.post("/v1/chat/completions", json=body(model="guide", messages=messages, temperature=0))
        cards = {card["id"]: card for card in (await client.get("/v1/models")).json()["data"]}
        tool = {"type": "function", "function": {"name": "delete"}}
        refused = await client.post("/v1/chat/completions", json=body(model="guide", tools=[tool]))
    first, second = house.script.requests
    assert [type(message).__name__ for message in first.prompt.messages] == ["SystemMessage", "UserMessage"]
    assert [message.content for message in first.prompt.messages] == ["Be brief.", "hi"]
    assert (first.temperature, first.max_tokens, second.temperature, second.max_tokens) == (0.5, 9, 0, 9)
    assert second.prompt.messages[0].content == "Be brief.\n\nIn French."
    assert (cards["guide"]["defaults"]["temperature"], cards["m"]["defaults"]["temperature"]) == (0.5, 1.0)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "tools[0].function.name")
    assert "Allowed: 'look'." in refused.json()["error"]["message"]


async def test_tokens_of_a_run_are_shared_by_its_choices(house: House, serve: Serve) -> None:
    async with serve(MountConfig(profile="runs", path="/")) as client:
        url = "/api/v1/chat/completions?agent=true"
        for n, limit, tokens in ((1, 10, 10), (3, 10, 3), (2, 2, 1)):
            await client.post(url, json=body(n=n, max_completion_tokens=limit))
            assert house.script.requests[-1].max_tokens == tokens
        refused = await client.post(url, json=body(n=3, max_completion_tokens=2))
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "max_completion_tokens")


@pytest.mark.parametrize(
    ("mounts", "problem"),
    [
        ((MountConfig(profile="mine", path="/a"),), "mounts[0].profile: there is no profile 'mine'."),
        (
            (MountConfig(profile="cold", path="/"),),
            "mounts[0]: its routes begin with '/v1', as those of the server's own",
        ),
        (
            (MountConfig(profile="cold", path="/a"), MountConfig(profile="cold", path="/a")),
            "mounts[1]: its routes begin with '/a/v1', as those of mounts[0] do.",
        ),
        (
            (MountConfig(profile="cold", path="/a", settings={"fields": {"n": {"maximum": "many"}}}),),
            "mounts[0].settings.fields[...].maximum: ",
        ),
        (
            (MountConfig(profile="cold", path="/a", settings={"speed": 1}),),
            "mounts[0].settings.speed: unknown key 'speed'.",
        ),
    ],
)
async def test_a_mount_that_cannot_be_is_refused_by_its_place(
    serve: Serve, mounts: tuple[MountConfig, ...], problem: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        async with serve(*mounts):
            pass
    assert problem in str(caught.value)


async def test_a_setting_stands_in_place_of_the_profiles_own(house: House, serve: Serve) -> None:
    settings = {"fields": {"temperature": {"default": 0.0}}, "errors": {"400": {"words": "Never."}}}
    async with serve(MountConfig(profile="cold", path="/cold", settings=settings)) as client:
        await client.post("/cold/v1/chat/completions", json=body())
        refused = await client.post("/cold/v1/chat/completions", json=body(temperature=1))
    assert house.script.requests[0].temperature == 0.0
    assert refused.json()["error"]["message"].startswith("Never. ")


async def test_a_strict_mount_takes_only_what_its_document_has(serve: Serve) -> None:
    async with serve(
        MountConfig(profile="cold", path="/cold"), MountConfig(profile="dos-ai", path="/dos", strict_profile=True)
    ) as client:
        assert (await client.post("/cold/v1/chat/completions", json=body(user="u"))).status_code == 200
        for fields, param in (
            ({"user": "u"}, "user"),
            ({"messages": [{"role": "assistant", "content": "a", "refusal": "b"}]}, "messages[0].refusal"),
            ({"tool_choice": "required"}, "tool_choice"),
        ):
            tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": True}}]
            refused = await client.post("/dos/v1/chat/completions", json=body(tools=tools, **fields))
            assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)


async def test_each_status_that_dos_ai_documents_reaches_clients_in_its_words(
    house: House, serve: Serve, tmp_path: Path
) -> None:
    """As a client meets them: a bad value, a wrong key, no credit, too much asked, a fault here, an engine away."""
    models = house.config().models
    priced = {name: replace(model, prices=Prices(input="1", output="1")) for name, model in models.items()}
    accounts = AccountsConfig(url=f"sqlite:///{tmp_path}/a.db")
    limited = replace(KEYS[1], requests_per_minute=1)
    guest = KeyConfig(name="guest", sha256=hash_secret("guest"))
    keys = (KEYS[0], limited, guest)
    config = replace(house.config(), models=priced, accounts=accounts, keys=keys)
    desk = CreditDesk(config)
    desk.grant("alice", "1")
    desk.withdraw("alice", "1")  # it pays, and has nothing
    mount = MountConfig(profile="dos-ai", path="/dos")

    def raising(error: Exception) -> Callable[[Any], None]:
        def starts(_: Any) -> None:
            raise error

        return starts

    async with serve(mount, keys=keys, models=priced, accounts=accounts) as client:

        async def ask(key: str, **fields: Any) -> httpx.Response:
            headers = {"authorization": f"Bearer {key}"}
            return await client.post("/dos/v1/chat/completions", json=body(**fields), headers=headers)

        assert (await ask("bob")).status_code == 200
        told = [await ask("guest", temperature=9), await ask("nobody"), await ask("alice"), await ask("bob")]
        house.script.starts = raising(ZeroDivisionError())
        told.append(await ask("guest"))
        house.script.starts = raising(EngineOverloaded("It is full.", retry_after_s=7))
        told.append(await ask("guest"))
    assert [answer.status_code for answer in told] == [400, 401, 402, 429, 500, 503]
    documented = built_in()["dos-ai"].errors
    for answer in told:
        error = answer.json()["error"]
        assert error["message"].startswith(documented[answer.status_code].words + " ")
        assert set(error) == {"message", "type", "param", "code"}
        assert ("retry-after" in answer.headers) == (answer.status_code in (429, 503))


async def test_a_key_may_be_for_an_agent_without_its_model_and_one_for_the_model_has_both(serve: Serve) -> None:
    keys = (replace(KEYS[0], models=("guide",)), replace(KEYS[1], models=("m",)))
    agents = {"guide": AgentConfig(model="m", instructions="You know the way."), "other": AgentConfig(model="m")}
    async with serve(keys=keys, agents=agents) as client:

        async def told(key: str) -> tuple[list[str], dict[str, int]]:
            headers = {"authorization": f"Bearer {key}"}
            listed = [card["id"] for card in (await client.get("/v1/models", headers=headers)).json()["data"]]
            asked = {
                name: (await client.post("/v1/chat/completions", json=body(model=name), headers=headers)).status_code
                for name in ("m", "guide", "other")
            }
            return sorted(listed), asked

        assert await told("alice") == (["guide"], {"m": 403, "guide": 200, "other": 403})
        assert await told("bob") == (["guide", "m", "other"], {"m": 200, "guide": 200, "other": 200})

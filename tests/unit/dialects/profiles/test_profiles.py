"""Profiles are data: those of the router, those of plugins, and the one that a configuration names."""

from __future__ import annotations

import pytest
from msgspec import to_builtins
from msgspec.structs import replace

from enginehouse.accounts.credits import InsufficientCredits
from enginehouse.accounts.keys import KeyNotAllowed
from enginehouse.config import Config, ConfigError, ModelConfig, PlacementConfig, ServerConfig
from enginehouse.dialects.mounts import mounts
from enginehouse.dialects.openai.chat.request import ChatRequest
from enginehouse.dialects.openai.errors import STATUS, ProfileErrors
from enginehouse.dialects.profiles import built_in, chosen, defaults_of
from enginehouse_plugin import Profile
from enginehouse_plugin.errors import InvalidRequest
from enginehouse_plugin.profile import Field

HOUSE = Profile(name="house", fields={"n": Field(maximum=1)}, unknown_fields="report")


def a_config(**server: object) -> Config:
    placement = PlacementConfig(backend="toy", source="weights")
    model = ModelConfig(placements=(placement,))
    return Config(server=ServerConfig(**server), models={"m": model}, file="house.toml")


def a_body(**more: str) -> bytes:
    fields = "".join(f',"{name}":{value}' for name, value in more.items())
    return b'{"model":"m","messages":[{"role":"user","content":"Hi"}]%b}' % fields.encode()


def test_each_file_is_a_profile_of_its_name() -> None:
    assert all(profile.name == name and profile.description for name, profile in built_in().items())


def test_without_a_name_the_profile_is_openai() -> None:
    assert chosen(a_config(), {}) is built_in()["openai"]


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError) as caught:
        chosen(a_config(profile="mine"), {"house": HOUSE})
    known = ", ".join(sorted([*built_in(), "house"]))
    assert str(caught.value) == f"house.toml: server.profile: there is no profile 'mine'. Known here: {known}."


def test_the_defaults_of_a_profile_are_those_that_it_documents() -> None:
    fields = {"temperature": Field(default=0.0), "max_tokens": Field(default=9), "n": Field(default=1), "stop": Field()}
    assert defaults_of(Profile(name="p", fields=fields)) == {"temperature": 0.0, "max_tokens": 9}


def test_the_endpoints_are_as_the_named_profile_has_them() -> None:
    (chat,) = mounts(a_config(profile="house"), {"house": HOUSE})[0].endpoints
    with pytest.raises(InvalidRequest, match="'n'"):
        chat.decode(a_body(n="2"), "r")
    call = chat.decode(a_body(foo="1"), "r")
    assert call.ignored == ("foo",)


def test_an_endpoint_that_is_not_known_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        mounts(a_config(profile="own"), {"own": Profile(name="own", endpoints=("chat", "chad"))})
    assert "server.profile: the profile 'own' has an endpoint 'chad', which is not known." in str(caught.value)


def test_what_a_model_lacks_is_reported_as_the_model_the_server_or_the_profile_has_it() -> None:
    def is_lenient(of_profile: str, of_server: str | None, of_model: str | None) -> bool:
        config = a_config(profile="own", unsupported=of_server)
        model = replace(config.models["m"], unsupported=of_model)
        own = Profile(name="own", unsupported=of_profile)  # type: ignore[arg-type]
        (chat,) = mounts(replace(config, models={"m": model}), {"own": own})[0].endpoints
        return chat.decode(a_body(), "r").is_lenient

    assert not is_lenient("refuse", None, None)
    assert is_lenient("report", None, None)
    assert not is_lenient("report", "refuse", None)
    assert is_lenient("refuse", "report", None)
    assert not is_lenient("report", "report", "refuse")
    assert is_lenient("refuse", "refuse", "report")


def test_the_configuration_has_the_last_word_on_unknown_fields() -> None:
    (chat,) = mounts(a_config(profile="house", unknown_fields="refuse"), {"house": HOUSE})[0].endpoints
    with pytest.raises(InvalidRequest, match="foo"):
        chat.decode(a_body(foo="1"), "r")


@pytest.mark.parametrize("profile", built_in().values(), ids=built_in())
def test_a_reading_says_what_is_done_and_by_what_to_change_it(profile: Profile) -> None:
    tables = to_builtins(profile, str_keys=True)
    for reading in profile.readings:
        assert all((reading.about, reading.document, reading.ours, reading.why))
        value = tables
        for step in reading.setting.split(".") if reading.setting else ():
            value = value[step]


@pytest.mark.parametrize(
    "profile", [one for one in built_in().values() if "chat" in one.endpoints], ids=lambda one: one.name
)
def test_a_profile_has_no_field_that_its_endpoint_does_not_know(profile: Profile) -> None:
    known = set(ChatRequest.__struct_fields__)
    assert {place.partition(".")[0].removesuffix("[]") for place in profile.fields} <= known
    assert set(profile.roles) <= {"system", "developer", "user", "assistant", "tool"}
    roles = profile.fields.get("messages[].role")
    assert roles is None or roles.values == profile.roles


_OF_ADMIN = {"host_not_woken", "key_exists", "reference_used"}


@pytest.mark.parametrize("name", ["dos-ai", "krosai"])
def test_clients_of_a_document_that_lists_statuses_get_no_others(name: str) -> None:
    profile = built_in()[name]
    told = {profile.statuses.get(own, own) for code, own in STATUS.items() if code not in _OF_ADMIN} | {400, 500}
    faults = {502, 503, 504, 500} if name == "krosai" else set[int]()  # it documents none: its reading
    assert told - faults == set(profile.errors)


def test_a_client_of_krosai_whose_credit_is_spent_gets_a_status_that_it_knows_and_is_not_told_to_wait() -> None:
    told = ProfileErrors(built_in()["krosai"]).describe(InsufficientCredits("There is none left."))
    assert told.status == 429
    assert b"There is none left." in told.body
    assert b"retry-after" not in dict(told.headers)


def test_a_key_that_is_not_for_what_is_asked_is_unauthorized_in_the_words_of_the_document() -> None:
    told = ProfileErrors(built_in()["dos-ai"]).describe(KeyNotAllowed("Not for this."))
    assert told.status == 401
    assert b"Invalid or missing API key. " in told.body
    assert b'"key_not_allowed"' in told.body

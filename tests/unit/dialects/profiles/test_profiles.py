"""Profiles are data: those of the router, those of plugins, and the one that a configuration names."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from enginehouse.config import Config, ConfigError, Defaults, ModelConfig, PlacementConfig, ServerConfig
from enginehouse.dialects.endpoints import endpoints
from enginehouse.dialects.profiles import built_in, chosen
from enginehouse_plugin import Profile
from enginehouse_plugin.errors import InvalidRequest

HOUSE = Profile(name="house", max_n=1, unknown_fields="report")


def a_config(**server: object) -> Config:
    placement = PlacementConfig(backend="toy", source="weights")
    model = ModelConfig(placements=(placement,), defaults=Defaults(temperature=0.0))
    return Config(server=ServerConfig(**server), models={"m": model}, file="house.toml")


def a_body(**more: str) -> bytes:
    fields = "".join(f',"{name}":{value}' for name, value in more.items())
    return b'{"model":"m","messages":[{"role":"user","content":"Hi"}]%b}' % fields.encode()


def test_each_file_is_a_profile_of_its_name() -> None:
    assert built_in()["openai"] == Profile(name="openai", description=built_in()["openai"].description)
    assert all(profile.name == name and profile.description for name, profile in built_in().items())


def test_without_a_name_the_profile_is_openai() -> None:
    assert chosen(a_config(), {}) is built_in()["openai"]


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError) as caught:
        chosen(a_config(profile="mine"), {"house": HOUSE})
    assert str(caught.value) == "house.toml: server.profile: there is no profile 'mine'. Known here: house, openai."


def test_the_endpoints_are_as_the_named_profile_has_them() -> None:
    (chat,) = endpoints(a_config(profile="house"), {"house": HOUSE})
    with pytest.raises(InvalidRequest, match="'n'"):
        chat.decode(a_body(n="2"), "r")
    call = chat.decode(a_body(foo="1"), "r")
    assert (call.ignored, call.request.temperature) == (("foo",), 0.0)


def test_what_a_model_lacks_is_reported_as_the_model_the_server_or_the_profile_has_it() -> None:
    def is_lenient(of_profile: str, of_server: str | None, of_model: str | None) -> bool:
        config = a_config(profile="own", unsupported=of_server)
        model = replace(config.models["m"], unsupported=of_model)
        own = Profile(name="own", unsupported=of_profile)  # type: ignore[arg-type]
        (chat,) = endpoints(replace(config, models={"m": model}), {"own": own})
        return chat.decode(a_body(), "r").is_lenient

    assert not is_lenient("refuse", None, None)
    assert is_lenient("report", None, None)
    assert not is_lenient("report", "refuse", None)
    assert is_lenient("refuse", "report", None)
    assert not is_lenient("report", "report", "refuse")
    assert is_lenient("refuse", "refuse", "report")


def test_the_configuration_has_the_last_word_on_unknown_fields() -> None:
    (chat,) = endpoints(a_config(profile="house", unknown_fields="refuse"), {"house": HOUSE})
    with pytest.raises(InvalidRequest, match="foo"):
        chat.decode(a_body(foo="1"), "r")

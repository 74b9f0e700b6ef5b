"""Defaults of a model: which of its sources wins, what an instance cannot honour, and that no request is blamed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.unit.conftest import House, a_request
from tests.unit.service.desk import Desk

from enginehouse.config import Defaults
from enginehouse.fleet import Decided, Default, decide
from enginehouse_plugin.errors import EngineUnavailable, InvalidRequest, LoadFailed, UnsupportedFeature

OF_THE_API = {
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "frequency_penalty": 0.0,
    "presence_penalty": 0.0,
    "repetition_penalty": 1.0,
}


def origins(decided: Decided) -> dict[str, tuple[Any, str]]:
    return {name: (one.value, one.origin) for name, one in decided.values.items() if one.origin != "api"}


async def desk(house: House, own: Defaults = Defaults(), *, may: str = "", **build: Any) -> Desk:  # noqa: B008
    """A service whose model has *own* defaults and the features *may* beside those of the script, once it is ready."""
    capabilities = house.script.capabilities
    features = capabilities.features | set(may.split())
    house.script.capabilities = msgspec.structs.replace(capabilities, features=features)
    made = Desk(house, house.config(defaults=own), **build)
    await house.until("ready")
    return made


def decided(house: House) -> Decided:
    return house.fleet.snapshot().models["m"].defaults


def test_without_any_the_api_decides() -> None:
    assert decide(Defaults(), {}, {}) == Decided({name: Default(value, "api") for name, value in OF_THE_API.items()})


def test_the_configuration_goes_before_the_profile_and_the_profile_before_the_weights() -> None:
    own = Defaults(temperature=0.0, stop=("x",))
    found = decide(own, {"temperature": 0.5, "top_p": 0.6}, {"temperature": 0.2, "top_p": 0.9, "top_k": 20})
    assert origins(found) == {
        "temperature": (0.0, "configuration"),
        "stop": (("x",), "configuration"),
        "top_p": (0.6, "profile"),
        "top_k": (20, "weights"),
    }


def test_what_no_request_could_have_is_not_taken_from_the_weights() -> None:
    found = decide(Defaults(), {}, {"temperature": 3, "typical_p": 0.5, "top_p": "much", "top_k": -1, "min_p": 0.1})
    assert origins(found) == {"top_k": (0, "weights"), "min_p": (0.1, "weights")}
    assert found.refused == {
        "temperature": "the weights recommend 3: Expected `float` <= 2.0",
        "typical_p": "the weights recommend 0.5: the API has no such field",
        "top_p": "the weights recommend much: Expected `float | null`, got `str`",
    }


async def test_a_request_gets_the_defaults_where_it_is_silent(house: House) -> None:
    house.script.recommends = {"temperature": 0.2, "top_p": 0.9}
    served = await desk(house, Defaults(max_tokens=5), profiles={"": {"max_tokens": 9, "top_p": 0.8}})
    await served.ask(temperature=1.0, said={"temperature"})
    await served.ask(said={"max_tokens"})
    first, second = house.script.requests
    assert (first.temperature, first.top_p, first.max_tokens) == (1.0, 0.8, 5)
    assert (second.temperature, second.top_p, second.max_tokens) == (0.2, 0.8, None)


async def test_a_request_that_came_before_the_weights_gets_their_defaults_too(house: House) -> None:
    house.script.recommends = {"temperature": 0.2}
    served = Desk(house)
    await served.ask()
    assert house.script.requests[0].temperature == 0.2


async def test_template_variables_of_model_and_request_stand_side_by_side(house: House) -> None:
    served = await desk(house, Defaults(chat_template_kwargs={"a": 1, "b": 1}), may="chat_template_kwargs")
    await served.ask(chat_template_kwargs={"b": 2}, said={"chat_template_kwargs"})
    assert house.script.requests[0].chat_template_kwargs == {"a": 1, "b": 2}


async def test_what_the_instance_lacks_is_told_at_load_and_left_out(house: House, logs) -> None:
    house.script.recommends = {"min_p": 0.1}
    served = await desk(house, Defaults(top_k=40, seed=7, temperature=0.5))
    assert origins(decided(house)) == {"temperature": (0.5, "configuration")}
    assert decided(house).values["top_k"] == Default(0, "api")
    assert "seed" not in decided(house).values
    refused = decided(house).refused
    assert set(refused) == {"top_k", "min_p", "seed"}
    assert refused["top_k"].startswith("40 of the configuration: 'top_k' needs the feature")
    assert {entry["field"] for entry in logs if entry["event"] == "default not honoured"} == set(refused)
    await served.ask()
    assert (house.script.requests[0].top_k, house.script.requests[0].temperature) == (0, 0.5)


async def test_a_value_that_the_engine_refuses_is_told_at_load(house: House) -> None:
    def refuses(request) -> None:
        if request.temperature == 0.005:
            raise InvalidRequest("'temperature' is too low.", param="temperature")

    house.script.checks = refuses
    await desk(house, Defaults(temperature=0.005, top_p=0.5))
    assert origins(decided(house)) == {"top_p": (0.5, "configuration")}
    assert decided(house).refused == {"temperature": "0.005 of the configuration: 'temperature' is too low."}


async def test_to_turn_off_what_the_model_does_not_have_is_no_news(house: House) -> None:
    await desk(house, Defaults(reasoning_effort="none"))
    assert decided(house) == decide(Defaults(), {}, {})


@pytest.mark.parametrize("fault", [InvalidRequest("no", param="messages"), EngineUnavailable("gone"), KeyError("x")])
async def test_an_engine_that_cannot_be_asked_keeps_the_defaults(house: House, fault: Exception, logs) -> None:
    def breaks(request) -> None:
        raise fault

    house.script.checks = breaks
    await desk(house, Defaults(temperature=0.5))
    assert origins(decided(house)) == {"temperature": (0.5, "configuration")}


@pytest.mark.parametrize("fault", [LoadFailed("cut short"), KeyError("x")])
async def test_a_recommendation_that_cannot_be_read_is_told_and_costs_no_load(house: House, fault, logs) -> None:
    house.script.recommends = fault
    await desk(house)
    assert origins(decided(house)) == {}
    assert [entry["model"] for entry in logs if entry["event"] == "recommendation of the weights not read"] == ["m"]


async def test_a_default_that_does_not_go_with_the_request_gives_way_and_is_named(house: House) -> None:
    """As llama.cpp refuses a repetition penalty beside a frequency penalty."""

    async def picky(instance, request):
        if request.repetition_penalty != 1 and request.frequency_penalty:
            raise InvalidRequest("not both", param="repetition_penalty")
        async for event in house_answer(instance, request):
            yield event

    house_answer, house.script.answer = house.script.answer, picky
    own = Defaults(repetition_penalty=1.1)
    served = await desk(house, own, may="repetition_penalty frequency_penalty")
    await served.ask(frequency_penalty=0.5, said={"frequency_penalty"})
    assert served.facts.ignored == ("defaults.repetition_penalty",)
    assert house.script.requests[-1].repetition_penalty == 1
    said = {"frequency_penalty", "repetition_penalty"}
    with pytest.raises(InvalidRequest):
        await served.ask(frequency_penalty=0.5, repetition_penalty=1.1, said=said)
    await served.ask()
    assert served.facts.ignored == ()
    assert house.script.requests[-1].repetition_penalty == 1.1


async def test_what_is_refused_at_once_gives_way_as_well(house: House) -> None:
    def start(request) -> None:
        if request.top_p == 0.5 and request.seed is not None:
            raise UnsupportedFeature("top_p", param="top_p")

    house.script.starts = start
    served = await desk(house, Defaults(top_p=0.5), may="seed")
    await served.ask(seed=1, said={"seed"})
    assert served.facts.ignored == ("defaults.top_p",)
    with pytest.raises(UnsupportedFeature):
        served.open(top_p=0.5, seed=1, said={"seed", "top_p"})


async def test_new_defaults_are_judged_as_the_first_ones(house: House, eventually) -> None:
    await desk(house, Defaults(temperature=0.5))
    config = house.config(defaults=Defaults(top_k=3, top_p=0.5)).models["m"]
    house.fleet.models["m"].describe(config)
    await eventually(lambda: "top_k" in decided(house).refused)
    assert origins(decided(house)) == {"top_p": (0.5, "configuration")}


def test_without_an_instance_the_configuration_is_shown(house: House) -> None:
    house.build(house.config(defaults=Defaults(temperature=0.5)), devices=(), kinds=("cuda",), needs_weights=True)
    assert origins(decided(house)) == {"temperature": (0.5, "configuration")}
    assert a_request().temperature == 1.0

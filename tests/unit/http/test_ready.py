"""What `/ready` says while models load."""

from __future__ import annotations

import httpx
import msgspec

from enginehouse.config import Config, ModelConfig
from enginehouse.http.app import create_app
from enginehouse.live import Live
from enginehouse.plugins import Plugins
from enginehouse.service import Service
from enginehouse_plugin import Fit


async def test_ready_tells_how_far_a_model_is_while_it_loads(house, eventually):
    """The stage that the engine told last, and 503; once it has loaded, 200 and nothing of the kind."""
    config = house.config()
    fleet = house.build(config)
    house.script.may_load.clear()
    app = create_app(Live(config), Service(Plugins(), fleet))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://house") as client:
        fleet.start()
        await eventually(lambda: house.script.placements)
        answer = await client.get("/ready")
        assert answer.status_code == 503
        assert answer.json() == {
            "status": "starting",
            "models": {"m": "loading"},
            "loading": {"m": {"stage": "weights", "fraction": 0.5}},
        }
        house.script.may_load.set()
        await house.until("ready")
        answer = await client.get("/ready")
        assert answer.status_code == 200
        assert answer.json() == {"status": "ready", "models": {"m": "ready"}, "loading": {}}


async def ready(config: Config, fleet) -> httpx.Response:
    app = create_app(Live(config), Service(Plugins(), fleet))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://house") as client:
        return await client.get("/ready")


def for_another_host(model: ModelConfig) -> ModelConfig:
    (placement,) = model.placements
    return msgspec.structs.replace(
        model, placements=(msgspec.structs.replace(placement, requires=("cuda",), min_memory="999GB"),)
    )


async def test_a_model_for_other_hosts_does_not_keep_this_one_from_being_ready(house):
    config = house.config("here", "elsewhere")
    models = {**config.models, "elsewhere": for_another_host(config.models["elsewhere"])}
    config = msgspec.structs.replace(config, models=models)
    fleet = house.build(config, kinds=("cuda", "cpu"))
    fleet.start()
    await house.until("ready")
    answer = await ready(config, fleet)
    assert answer.status_code == 200
    assert answer.json() == {"status": "ready", "models": {"here": "ready", "elsewhere": "unplaced"}, "loading": {}}


async def test_a_host_on_which_no_model_has_a_place_is_never_ready(house, logs):
    """It would be sent requests of which it can answer none."""
    config = house.config()
    config = msgspec.structs.replace(config, models={"m": for_another_host(config.models["m"])})
    fleet = house.build(config, kinds=("cuda", "cpu"))
    fleet.start()
    answer = await ready(config, fleet)
    assert answer.status_code == 503
    assert answer.json() == {"status": "unplaced", "models": {"m": "unplaced"}, "loading": {}}
    (line,) = [line for line in logs if line["event"] == "model has no place on this host"]
    assert line["reasons"] == "0: it needs cuda; this host has cpu"
    assert "no model has a place on this host" in [line["event"] for line in logs]


async def test_a_model_that_turns_out_not_to_fit_has_no_place_either(house):
    async def fit(placement, devices):
        return Fit(footprint_bytes={"cpu": 9 << 30})

    house.script.fit = fit
    config = house.config()
    fleet = house.build(config)
    fleet.start()
    await house.until("failed")
    answer = await ready(config, fleet)
    assert (answer.status_code, answer.json()["models"]) == (503, {"m": "unplaced"})
    assert answer.json()["status"] == "unplaced"

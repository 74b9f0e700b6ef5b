"""What `/ready` says while models load."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import httpx
import msgspec
import pytest

from enginehouse.accounts import KeyRing
from enginehouse.config import Config, KeyConfig, ModelConfig
from enginehouse.http.app import create_app
from enginehouse.live import Live
from enginehouse.plugins import Plugins
from enginehouse.service import Service
from enginehouse_plugin import Fit
from enginehouse_plugin.errors import LoadFailed


async def test_ready_tells_how_far_a_model_is_while_it_loads(house, eventually):
    """The stage that the engine told last, and 503; once it has loaded, 200 and nothing of the kind."""
    config = house.config()
    fleet = house.build(config)
    house.script.may_load.clear()
    app = create_app(Live(config), Service(Plugins(), fleet), KeyRing(config.keys))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        fleet.start()
        await eventually(lambda: house.script.placements)
        answer = await client.get("/ready")
        assert answer.status_code == 503
        assert answer.json() == {
            "status": "starting",
            "models": {"m": "loading"},
            "loading": {"m": {"stage": "weights", "fraction": 0.5}},
            "problems": {},
        }
        house.script.may_load.set()
        await house.until("ready")
        answer = await client.get("/ready")
        assert answer.status_code == 200
        assert answer.json() == {"status": "ready", "models": {"m": "ready"}, "loading": {}, "problems": {}}


async def ready(config: Config, fleet, headers: dict[str, str] | None = None) -> httpx.Response:
    app = create_app(Live(config), Service(Plugins(), fleet), KeyRing(config.keys))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        return await client.get("/ready", headers=headers)


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
    assert answer.json() == {
        "status": "ready",
        "models": {"here": "ready", "elsewhere": "unplaced"},
        "loading": {},
        "problems": {"elsewhere": "placement 0: it needs cuda; this host has cpu"},
    }


async def test_a_host_on_which_no_model_has_a_place_is_never_ready(house, logs):
    """It would be sent requests of which it can answer none."""
    config = house.config()
    config = msgspec.structs.replace(config, models={"m": for_another_host(config.models["m"])})
    fleet = house.build(config, kinds=("cuda", "cpu"))
    fleet.start()
    answer = await ready(config, fleet)
    assert answer.status_code == 503
    assert answer.json() == {
        "status": "unplaced",
        "models": {"m": "unplaced"},
        "loading": {},
        "problems": {"m": "placement 0: it needs cuda; this host has cpu"},
    }
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


async def test_why_a_model_has_failed_is_told_to_those_who_may_ask_for_it(house):
    config = house.config()
    fleet = house.build(config)
    house.script.load_errors = [LoadFailed("The chat template is broken.", retryable=False)]
    fleet.start()
    await house.until("failed")
    answer = await ready(config, fleet)
    assert (answer.status_code, answer.json()["problems"]) == (503, {"m": "The chat template is broken."})
    assert len(house.script.placements) == 1, "what cannot mend itself is not tried again"
    secret = KeyConfig(name="alice", sha256=hashlib.sha256(b"s3cret").hexdigest())
    closed = msgspec.structs.replace(config, keys=(secret,))
    assert (await ready(closed, fleet)).json()["problems"] == {}
    told = await ready(closed, fleet, {"authorization": "Bearer s3cret"})
    assert told.json()["problems"] == {"m": "The chat template is broken."}
    assert (await ready(closed, fleet, {"authorization": "Bearer wrong"})).json()["problems"] == {}


class Book:
    """A ledger whose database is away."""

    lost = 0

    def __init__(self, state: str) -> None:
        self.state = state

    def check(self) -> None:
        pass

    def add(self, *ended: object, then: Callable[[], None] | None = None) -> None:
        if then is not None:
            then()


@pytest.mark.parametrize(
    ("state", "status", "code", "told"),
    [
        ("written", "ready", 200, None),
        ("noting", "ready", 200, "noting"),
        ("refusing", "accounts_unavailable", 503, "refusing"),
    ],
)
async def test_ready_and_metrics_tell_whether_usage_is_written(house, state, status, code, told):
    config = house.config()
    fleet = house.build(config)
    app = create_app(Live(config), Service(Plugins(), fleet, ledger=Book(state)), KeyRing())
    fleet.start()
    await house.until("ready")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        answer = await client.get("/ready")
        metrics = (await client.get("/metrics")).text
    assert (answer.status_code, answer.json()["status"], answer.json().get("accounts")) == (code, status, told)
    assert f"enginehouse_accounts_written {int(told is None)}" in metrics

"""What `/ready` says while models load."""

from __future__ import annotations

import httpx

from enginehouse.http.app import create_app
from enginehouse.plugins import Plugins
from enginehouse.service import Service


async def test_ready_tells_how_far_a_model_is_while_it_loads(house, eventually):
    """The stage that the engine told last, and 503; once it has loaded, 200 and nothing of the kind."""
    config = house.config()
    fleet = house.build(config)
    house.script.may_load.clear()
    app = create_app(config, Service(config, Plugins(), fleet))
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

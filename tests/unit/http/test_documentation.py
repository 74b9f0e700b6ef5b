"""The routes of the API's description."""

from __future__ import annotations

import threading
from typing import Any

import httpx
import pytest

from enginehouse.accounts import KeyRing
from enginehouse.http import routes
from enginehouse.http.app import create_app
from enginehouse.live import Live
from enginehouse.plugins import Plugins
from enginehouse.service import Service


async def test_descriptions_are_made_once_and_not_on_the_thread_of_the_loop(house, monkeypatch: pytest.MonkeyPatch):
    made_on: list[int] = []
    document = routes.document

    def noted(*given: Any) -> Any:
        made_on.append(threading.get_ident())
        return document(*given)

    monkeypatch.setattr(routes, "document", noted)
    config = house.config()
    app = create_app(Live(config), Service(Plugins(), house.build(config)), KeyRing(config.keys))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        for path in ("/openapi.json", "/docs/plain", "/openapi.json", "/docs/plain", "/docs"):
            assert (await client.get(path)).status_code == 200
    assert len(made_on) == 1
    assert threading.get_ident() not in made_on

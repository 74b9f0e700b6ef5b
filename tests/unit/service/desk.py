"""A service in front of scripted engines, and what they may do."""

from __future__ import annotations

import asyncio

from tests.unit.conftest import a_request, hello

from enginehouse.config import Config
from enginehouse.plugins import Plugins
from enginehouse.service import Service
from enginehouse_plugin import (
    Started,
    TextDelta,
)
from enginehouse_plugin.errors import (
    EngineDied,
)


class Desk:
    """A service in front of the house."""

    def __init__(self, house, config: Config | None = None, plugins: Plugins | None = None, **build) -> None:
        self.house = house
        config = config or house.config()
        self.service = Service(config, plugins or Plugins(), house.build(config, **build))
        self.service.fleet.start()

    def open(self, *, model: str = "m", client: str = "a", **fields):
        self.facts = self.service.begin("r1")
        return self.service.open(a_request(**fields), model, client=client, facts=self.facts)

    async def ask(self, **fields) -> list:
        async with self.open(**fields) as events:
            return [event async for event in events]

    @property
    def gate(self):
        return self.house.hosted.gate


async def waits_for_ever(instance, request):
    yield Started(prompt_tokens=7)
    await asyncio.get_running_loop().create_future()


async def says_one_word_then_waits(instance, request):
    yield Started(prompt_tokens=7)
    yield TextDelta(choice=0, text="well", completion_tokens=1)
    await asyncio.get_running_loop().create_future()


async def dies_before_the_first_delta(instance, request):
    yield Started(prompt_tokens=7)
    instance.script.answer = hello
    raise EngineDied("gone")

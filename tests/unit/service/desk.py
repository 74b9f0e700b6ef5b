"""A service in front of scripted engines, and what they may do."""

from __future__ import annotations

import asyncio

from tests.unit.conftest import Reader, a_request, hello

from enginehouse.accounts import Facts
from enginehouse.config import Config
from enginehouse.fleet import Lease
from enginehouse.plugins import Plugins
from enginehouse.service import Service
from enginehouse_plugin import AnyEvent, RequestFacts, Run, Started, TextDelta
from enginehouse_plugin.errors import EngineDied


class Desk:
    """A service in front of the house; `facts`, `reader` and `lease` are those of the request that came last."""

    def __init__(self, house, config: Config | None = None, plugins: Plugins | None = None, **build) -> None:
        self.house = house
        plugins = plugins or Plugins()
        self.service = Service(plugins, house.build(config, select=plugins.select, **build))
        self.service.fleet.start()

    def open(self, *, model: str = "m", client: str = "a", said=(), prompts=(), **fields) -> Lease:
        self.facts = self.service.begin("r1")
        self.reader = Reader()
        self.lease = self.service.open(
            a_request(**fields),
            model,
            said=said,
            client=client,
            facts=self.facts,
            sink=self.reader,
            prompts=prompts,
        )
        assert not self.reader.heard
        assert not self.reader.ended.done()
        return self.lease

    async def ask(self, **fields) -> list[AnyEvent]:
        """Ask and return all events, or raise why there are no more."""
        self.open(**fields)
        return await self.reader.answer()

    def finish(self, status: int, facts: Facts | None = None) -> RequestFacts:
        """End a request (the last) with *status*; returns what is known of it, once it is accounted for."""
        facts = facts or self.facts
        self.service.finish(facts, status)
        self.service.settle()
        return facts.record()

    async def hear(self, number: int) -> None:
        """Wait until the request that came last has brought *number* events."""
        async with asyncio.timeout(10):
            while len(self.reader.heard) < number:  # noqa: ASYNC110  # a reader has no event of its own
                await asyncio.sleep(0)

    @property
    def gate(self):
        return self.house.hosted.gate


class NoRun(Run):
    """A run of an engine that is not there; keeps the calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.released = asyncio.Event()

    def pause(self) -> None:
        self.calls.append("pause")

    def resume(self) -> None:
        self.calls.append("resume")

    def cancel(self) -> None:
        self.calls.append("cancel")

    async def wait_released(self) -> None:
        await self.released.wait()


async def waits_for_ever(instance, request):
    yield Started(prompt_tokens=7)
    await asyncio.get_running_loop().create_future()


async def holds_on(instance, request):
    """A backend that lets go of a cancelled request only when it is unloaded."""
    yield Started(prompt_tokens=7)
    while True:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            if instance.unloads:
                raise


async def never_begins(instance, request):
    await asyncio.get_running_loop().create_future()
    yield


async def says_one_word_then_waits(instance, request):
    yield Started(prompt_tokens=7)
    yield TextDelta(choice=0, text="well", completion_tokens=1)
    await asyncio.get_running_loop().create_future()


async def dies_before_the_first_delta(instance, request):
    yield Started(prompt_tokens=7)
    instance.script.answer = hello
    raise EngineDied("gone")

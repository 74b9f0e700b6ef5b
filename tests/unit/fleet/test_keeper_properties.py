"""Whatever is asked for, loaded, unloaded, put to sleep, woken, pinned, taken out or dies: no byte leaks, nothing in
use leaves, nobody is forgotten, nothing ends twice, and no slot is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import random

import msgspec
import pytest
from tests.unit.conftest import Guest, House, ScriptedInstance, SleepyInstance

from enginehouse.config import BudgetConfig
from enginehouse.fleet.claims import Weight
from enginehouse_plugin import Device, Fit
from enginehouse_plugin.errors import EngineFailure, LoadFailed

GIB = 1 << 30
DEVICES = (
    Device(id="apple", kind="apple", name="GPU", memory_bytes=6 * GIB),
    Device(id="cpu", kind="cpu", name="CPU", memory_bytes=8 * GIB),
)
NEEDS = {"a": {"cpu": 3}, "b": {"cpu": 3, "apple": 1}, "c": {"apple": 4}, "d": {"apple": 2}, "e": {"cpu": 1}}
SLEEPY = {"a": {"cpu": 1}, "c": {"cpu": 1}, "d": {}}
"""Models whose engine can sleep, and what it holds then."""
KINDS = (
    "ask", "leave", "withdraw", "unload", "load", "pin", "unpin", "drain", "crash", "fail", "forgive", "turn",
    "nap", "bad night",
)  # fmt: skip
WEIGHTS = (10, 10, 3, 2, 3, 1, 2, 1, 2, 1, 1, 4, 4, 1)


class Town:
    """Five models, of which about half have room at a time, on two devices that share one memory."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.house = House()
        self.house.script.fit = self.fit
        config = self.house.config(*NEEDS, load="first_request", max_queue=4, load_timeout_s=60.0)
        budget = BudgetConfig(reserve={"cpu": "0", "apple": "0"}, swaps_per_minute=600.0, turn_s=0.005)
        self.fleet = self.house.build(msgspec.structs.replace(config, budget=budget), kinds=("cpu",), devices=DEVICES)
        self.hosts = {hosted.model: hosted for hosted in self.fleet.instances()}
        self.guests: list[tuple[str, Guest]] = []
        self.engines: dict[Guest, object] = {}  # what each was let in to
        self.orders: list[asyncio.Task[None]] = []
        self.made: dict[ScriptedInstance, str] = {}
        self.wrong: list[str] = []
        self.loads = 0
        load = self.house.script.load
        for hosted in self.hosts.values():
            self.weigh_asleep(hosted)

        async def loading(placement, devices, progress):
            self.loads += 1
            await asyncio.sleep(self.rng.choice((0, 0, 0.002)))
            self.house.script.makes = SleepyInstance if placement.model in SLEEPY else ScriptedInstance
            instance = await load(placement, devices, progress)
            self.watch(placement.model, instance)
            return instance

        self.house.script.load = loading

    async def fit(self, placement, devices):
        return Fit(footprint_bytes={name: gib * GIB for name, gib in NEEDS[placement.model].items()})

    def weigh_asleep(self, hosted) -> None:
        async def weigh():
            held = {name: gib * GIB for name, gib in SLEEPY.get(hosted.model, {}).items()}
            return Weight(held, held) if hosted.state == "asleep" else None

        hosted.weigh = weigh

    def watch(self, model: str, instance: ScriptedInstance) -> None:
        self.made[instance] = model
        unload = instance.unload

        async def unloading():
            # One that was let in while its engine died runs on nothing: its lease hears that, here it leaves later.
            if (
                any(self.engines.get(guest) is instance for guest in self.running(model))
                and not instance._closed.done()
            ):
                self.wrong.append(f"{model} was unloaded while it was in use")
            await unload()

        instance.unload = unloading
        if isinstance(instance, SleepyInstance):
            instance.on_sleep = lambda: self.wrong.extend(f"{model} slept in use" for _ in self.running(model))

    def running(self, model: str) -> list[Guest]:
        return [
            guest
            for name, guest in self.guests
            if name == model and guest.slot.done() and not guest.slot.cancelled() and guest.slot.exception() is None
        ]

    def finish(self, model: str, guests: list[Guest]) -> None:
        for guest in guests:
            self.guests.remove((model, guest))
            self.hosts[model].gate.leave(guest.slot.result())

    def do(self, kind: str, model: str) -> None:
        hosted = self.hosts[model]
        match kind:
            case "ask":
                if hosted.refusal() is None:
                    guest = Guest(hosted.gate, self.rng.choice("xyz"), self.rng.choice((1, 2)))
                    guest.slot.add_done_callback(lambda _: self.engines.update({guest: hosted.instance}))
                    hosted.wake()
                    self.guests.append((model, guest))
            case "leave":
                self.finish(model, self.running(model)[:1])
            case "withdraw":
                waiting = [guest for name, guest in self.guests if name == model and not guest.slot.done()]
                for guest in waiting[:1]:
                    guest.withdraw()
                    self.guests.remove((model, guest))
            case "unload":
                self.orders.append(asyncio.create_task(hosted.unload(None)))
            case "drain":
                self.orders.append(asyncio.create_task(hosted.drain()))
            case "load":
                hosted.load()
            case "pin" | "unpin":
                hosted.pin(kind == "pin")
            case "forgive":
                hosted.forgive()
            case "fail":
                self.house.script.load_errors.append(LoadFailed("bad weather"))
            case "nap":  # as for another that needs the room
                for other in self.hosts.values():
                    stay = other.residence
                    if other.model in SLEEPY and stay.ready_at is not None and stay.leaving is None:
                        other.vacate("somebody needs its room", may_sleep=True)
            case "bad night":
                if isinstance(hosted.instance, SleepyInstance):
                    hosted.instance.nights.append(EngineFailure("bad dreams"))
            case "crash":
                instance = hosted.instance
                if isinstance(instance, ScriptedInstance) and not instance._closed.done():
                    instance.crash()
                    self.finish(model, self.running(model))  # as their leases do

    def check(self) -> None:
        assert not self.wrong
        for model, hosted in self.hosts.items():
            self.guests = [
                (name, guest)
                for name, guest in self.guests
                if not (guest.slot.done() and guest.slot.exception() is not None)
            ]
            assert hosted.gate.running == sum(guest.slot.result() for guest in self.running(model))
            waiting = [guest for name, guest in self.guests if name == model and not guest.slot.done()]
            assert hosted.gate.waiting == len(waiting)
        holdings = self.fleet.keeper.holdings
        on = {device.id: sum(holding.on(device.id) for holding in holdings) for device in DEVICES}
        assert on["apple"] <= 6 * GIB
        assert on["apple"] + on["cpu"] <= 8 * GIB
        alive = [f"{model}#0" for instance, model in self.made.items() if not instance.unloads]
        assert len(alive) == len(set(alive)), "two engines of one instance"
        assert set(alive) <= {holding.instance for holding in holdings}, "an engine lives that holds nothing"
        assert all(instance.unloads <= 1 for instance in self.made), "unloaded twice"
        for hosted in self.hosts.values():
            assert hosted.state != "asleep" or not hosted.gate.running, "asleep in use"
            if isinstance(hosted.instance, SleepyInstance) and hosted.state == "ready":
                assert hosted.instance.is_awake, "ready while it sleeps"

    async def turn(self) -> None:
        await asyncio.sleep(self.rng.choice((0, 0, 0.001, 0.003)))

    async def settle(self) -> None:
        """Let everything come to its end."""
        self.house.script.load_errors.clear()
        for hosted in self.hosts.values():
            hosted.pin(is_pinned=False)
            hosted.load()
        async with asyncio.timeout(20):
            while self.guests or any(not order.done() for order in self.orders):
                self.check()
                for model in self.hosts:
                    self.finish(model, self.running(model))
                await asyncio.sleep(0.002)


async def play(seed: int, n_events: int) -> Town:
    town = Town(seed)
    try:
        for _ in range(n_events):
            kind = town.rng.choices(KINDS, WEIGHTS)[0]
            town.do(kind, town.rng.choice(list(NEEDS)))
            if kind not in ("leave", "withdraw") or town.rng.random() < 0.5:
                await town.turn()
            town.check()
        await town.settle()
        town.check()
    finally:
        for order in town.orders:
            order.cancel()
        await asyncio.gather(*town.orders, return_exceptions=True)
        with contextlib.suppress(ValueError):
            await town.fleet.close()
    assert town.fleet.keeper.holdings == ()
    assert town.fleet.keeper.waiting == 0
    assert all(instance.unloads == 1 for instance in town.made)
    return town


@pytest.mark.parametrize("seed", range(8))
async def test_memory_slots_and_waiters_are_kept_whatever_happens(seed):
    town = await play(seed, 250)
    assert town.loads > 10


async def test_a_thousand_events(logs):
    town = await play(1234, 1000)
    assert town.loads > 50
    assert town.fleet.keeper.swaps >= 5
    sleepy = [instance for instance in town.made if isinstance(instance, SleepyInstance)]
    assert sum(instance.sleeps for instance in sleepy) >= 10
    assert sum(instance.wakes for instance in sleepy) >= 5

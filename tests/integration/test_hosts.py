"""Hosts of one fleet on loopback, each with a scripted engine of its own; `tests.hosts` has real ones."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.hosts.machines import KEY, Machine, closing, until
from tests.programs import free_port
from tests.siege.client import Answer
from tests.siege.upstream import Upstream, script, upstream

from enginehouse.accounts import hash_secret
from enginehouse.fleet import magic_packet

MAC = "02:00:5e:10:00:01"


class Town:
    """Hosts called after the backend that each has, `paris` and `tokyo`, and their engines."""

    def __init__(self, folder: Path, paris: Upstream, tokyo: Upstream, wake_port: int) -> None:
        self.engines = {"paris": paris, "tokyo": tokyo}
        self.hosts = {
            name: Machine(name, folder / name, ("127.0.0.1", free_port()), [f"scripted-{name}", "upstream"])
            for name in ("paris", "tokyo")
        }
        self.wake_port = wake_port
        self.wakes = ""

    @property
    def config(self) -> str:
        """The file, which is the same on all hosts."""
        parts = [f'[[keys]]\nname = "fleet"\nadmin = true\nsha256 = "{hash_secret(KEY)}"\n']
        for name, host in self.hosts.items():
            parts.append(
                f'[hosts.{name}]\nurl = "http://127.0.0.1:{host.address[1]}"\nkey_env = "FLEET_KEY"\n'
                + (self.wakes if name == "tokyo" else "")
            )
        for model, on in (("of-paris", ["paris"]), ("of-tokyo", ["tokyo"]), ("of-both", ["paris", "tokyo"])):
            placements = ", ".join(
                f'{{ backend = "{name}", source = "x", options = {{ port = {self.engines[name].port} }} }}'
                for name in on
            )
            parts.append(f"[models.{model}]\nplacements = [{placements}]\n")
        return "\n".join(parts)

    async def start(self, *names: str) -> None:
        for name in names or self.hosts:
            self.hosts[name].folder.mkdir(exist_ok=True)
            await self.hosts[name].start(self.config)

    async def settled(self) -> None:
        """Wait until each host knows the other one, and serves all models."""
        every = dict.fromkeys(("of-paris", "of-tokyo", "of-both"), "ready")
        for host in self.hosts.values():

            async def is_ready(host: Machine = host) -> bool:
                return await host.states() == every and sorted((await host.host_states()).values()) == ["self", "up"]

            await until(is_ready, f"{host.name} serves all models\n{host.log()[-3000:]}")


def asking(model: str, number: int, tokens: int = 3, fault: str = "", *, stream: bool = False) -> dict[str, Any]:
    return script(number, tokens, fault, stream=stream) | {"model": model}


def is_whole(answer: Answer, tokens: int) -> bool:
    if answer.events():
        return answer.events()[-1] == "[DONE]" and sum(" tok" in event for event in answer.events()) == tokens
    return answer.status == 200 and answer.json()["choices"][0]["message"]["content"].count("tok") == tokens


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    async with upstream() as paris, upstream() as tokyo:
        built = Town(tmp_path, paris, tokyo, free_port())
        for name in built.hosts:
            (tmp_path / name).mkdir(exist_ok=True)
        async with closing(list(built.hosts.values())):
            yield built


async def test_each_host_is_an_entry_for_all_models_and_answers_come_from_the_right_one(town: Town) -> None:
    await town.start()
    await town.settled()
    number = 0
    for entry in town.hosts.values():
        for model in ("of-paris", "of-tokyo"):
            for stream in (False, True):
                number += 1
                answer = await entry.ask(asking(model, number, 5, stream=stream))
                assert is_whole(answer, 5), answer
                engine = town.engines[model.removeprefix("of-")]
                assert engine.asked.get(number) == 1, (entry.name, model)
    assert sum(len(engine.asked) for engine in town.engines.values()) == number
    paris = town.hosts["paris"]
    other = {"x_enginehouse_host": "tokyo"}
    sent_on = await paris.ask(asking("of-tokyo", 100), **other)
    assert (sent_on.status, sent_on.error_code) == (503, "model_unavailable")  # one hop, and no second
    assert (await paris.ask(asking("of-paris", 101), **other)).status == 200
    told = await paris.ask(asking("of-paris", 102, stream=True), **other)
    assert told.headers["x-enginehouse-load"] == "running=1, waiting=0"
    assert "x-enginehouse-load" not in (await paris.ask(asking("of-paris", 103))).headers
    listed = {one["id"]: one for one in (await paris.get("/admin/instances"))["instances"]}
    assert {"of-paris#0", "of-both#0", "of-tokyo@tokyo", "of-both@tokyo"} == set(listed)
    assert "the host 'tokyo' serves it" in listed["of-tokyo@tokyo"]["placement"]
    async with paris.client() as client:
        assert (await client.get("/hosts/snapshot")).status == 401


async def test_a_host_that_is_killed_ends_its_own_streams_alone_and_is_back_when_it_is(town: Town) -> None:
    """What had begun there gets an error event, what had not goes elsewhere."""
    await town.start()
    await town.settled()
    paris, tokyo = town.hosts["paris"], town.hosts["tokyo"]
    begun = [asyncio.create_task(paris.ask(asking("of-tokyo", n, 100, "slow", stream=True))) for n in range(5)]
    own = asyncio.create_task(paris.ask(asking("of-paris", 50, 40, "slow", stream=True)))
    await until(lambda: asked(town.engines["tokyo"], 5), "they have begun")
    await asyncio.sleep(0.3)
    await tokyo.kill()
    others = await asyncio.gather(*(paris.ask(asking("of-both", 200 + n)) for n in range(20)))
    assert all(is_whole(answer, 3) for answer in others)
    for answer in await asyncio.gather(*begun):
        assert "[DONE]" not in answer.events()
        assert '"error"' in answer.events()[-1], answer.body[-300:]
    assert is_whole(await own, 40)
    await until(lambda: has_state(paris, "tokyo", "down"), "it is noticed")
    refused = await paris.ask(asking("of-tokyo", 300))
    assert (refused.status, refused.error_code) == (503, "model_unavailable")
    await town.start("tokyo")
    await town.settled()
    assert is_whole(await paris.ask(asking("of-tokyo", 301)), 3)


async def test_the_list_of_models_shows_the_instances_of_other_hosts(town: Town) -> None:
    await town.start()
    await town.settled()
    listed = {card["id"]: card for card in (await town.hosts["paris"].get("/v1/models"))["data"]}
    shown = {name: [(one["id"], one["host"]) for one in card["instances"]] for name, card in listed.items()}
    assert shown["of-paris"] == [("of-paris#0", None)]
    assert shown["of-tokyo"] == [("of-tokyo@tokyo", "tokyo")]
    assert sorted(shown["of-both"]) == [("of-both#0", None), ("of-both@tokyo", "tokyo")]
    (there,) = listed["of-tokyo"]["instances"]
    assert "streaming" in there["features"]
    assert (there["state"], there["backend"], there["running"], there["waiting"]) == ("ready", "upstream", 0, 0)


async def test_a_host_that_says_nothing_any_more_is_noticed(town: Town) -> None:
    """As behind a cable that was pulled: no connection ends, and nothing comes."""
    await town.start()
    await town.settled()
    paris, tokyo = town.hosts["paris"], town.hosts["tokyo"]
    begun = asyncio.create_task(paris.ask(asking("of-tokyo", 1, 500, "slow", stream=True)))
    await until(lambda: asked(town.engines["tokyo"], 1), "it has begun")
    await asyncio.sleep(0.3)
    tokyo.signal(signal.SIGSTOP)
    answer = await begun
    assert '"error"' in answer.events()[-1]
    assert "The host 'tokyo' has gone" in answer.events()[-1]
    assert await has_state(paris, "tokyo", "down")
    tokyo.signal(signal.SIGCONT)
    await town.settled()
    assert is_whole(await paris.ask(asking("of-tokyo", 2)), 3)


async def test_a_host_that_sleeps_is_woken_by_what_only_it_serves(town: Town) -> None:
    """The packet comes as bytes to a socket of the test, which then starts the host."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as card:
        card.bind(("127.0.0.1", town.wake_port))
        card.setblocking(False)
        town.wakes = f'wake = "{MAC}"\nwake_to = "127.0.0.1:{town.wake_port}"\n'
        await town.start("paris")
        paris = town.hosts["paris"]
        await until(lambda: has_state(paris, "tokyo", "asleep"), "it is known to sleep")
        assert is_whole(await paris.ask(asking("of-both", 1)), 3)
        with pytest.raises(BlockingIOError):  # another host served that
            card.recv(1000)
        waiting = asyncio.create_task(paris.ask(asking("of-tokyo", 2, stream=True), timeout_s=120))
        async with asyncio.timeout(30):
            packet = await asyncio.get_running_loop().sock_recv(card, 1000)
        assert packet == magic_packet(MAC) == b"\xff" * 6 + bytes.fromhex("02005e100001") * 16
        assert not waiting.done()
        await town.start("tokyo")
        assert is_whole(await waiting, 3)


async def asked(engine: Upstream, number: int) -> bool:
    return len(engine.asked) >= number


async def has_state(host: Machine, name: str, state: str) -> bool:
    return (await host.host_states()).get(name) == state

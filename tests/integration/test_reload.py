"""Another configuration while requests run: none of them is disturbed, and a file that is wrong changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import signal
import sys
from pathlib import Path
from typing import Any

from tests.siege.client import Answer
from tests.siege.house import SERVER, House, house, scripted
from tests.siege.upstream import Upstream, script, upstream

from enginehouse.accounts import hash_secret

STREAMS = 50
RELOADS = 100
TOKENS = 60
OWNER = f'\n[[keys]]\nname = "owner"\nadmin = true\nsha256 = "{hash_secret("owner")}"\n'
BY_OWNER = {"authorization": "Bearer owner"}


def variant(number: int, ports: tuple[int, int]) -> str:
    """The configuration number *number*: each changes most of what can be changed."""
    slots = 200 + number % 7 if number % 5 == 0 else 200  # another placement now and then
    times = f"keep_alive_s = {1 + number % 3}\nfirst_token_timeout_s = {100 + number}\n"
    text = SERVER.replace("port = 0\n", f"port = 0\n{times}")
    text += scripted(ports[number % 2 if number % 10 == 0 else 0], slots=slots)
    text += f"defaults = {{ max_tokens = {1000 + number} }}\nmax_queue = {64 + number % 4}\n"
    if number % 2:
        text += scripted(ports[1]).replace("[models.scripted]", "[models.second]")
        text += '\n[[mounts]]\nprofile = "openai"\npath = "/team"\n\n[agents.guide]\nmodel = "scripted"\n'
    text += OWNER
    if number % 3 == 0:
        text += f'\n[[keys]]\nname = "k{number}"\nsha256 = "{hash_secret(str(number))}"\n'
    return text


async def stream(running: House, number: int) -> Answer:
    async with running.client(timeout_s=120) as client:
        return await client.chat(script(number, TOKENS, "slow", stream=True), **BY_OWNER)


async def reload(running: House, **fields: Any) -> Answer:
    async with running.client() as client:
        return await client.post("/admin/reload", fields, **BY_OWNER)


async def test_a_hundred_reloads_disturb_none_of_fifty_streams() -> None:
    """Models, placements, keys, mounts, agents, defaults and times change under them, by the route and by SIGHUP."""
    async with upstream() as first, upstream() as second, house(variant(0, (first.port, second.port))) as running:
        ports = (first.port, second.port)
        file = running.folder / "house.toml"
        streams = [asyncio.create_task(stream(running, number)) for number in range(STREAMS)]
        await until(lambda: len(first.asked) + len(second.asked) == STREAMS)
        fresh: list[asyncio.Task[Answer]] = []
        for number in range(1, RELOADS + 1):
            file.write_text(variant(number, ports))
            if number % 10 == 9:
                running.process.send_signal(signal.SIGHUP)
                await until(lambda n=number: len(running.events("configuration reloaded")) == n)  # type: ignore[misc]
            else:
                answer = await reload(running)
                assert (answer.status, answer.json()["needs_restart"]) == (200, []), answer.body
                assert answer.json()["changed"]
            if number % 10 == 0:
                fresh.append(asyncio.create_task(stream(running, 1000 + number)))
            await asyncio.sleep(0.02)
        assert_whole(await asyncio.gather(*streams), range(STREAMS), first, second)
        assert_whole(await asyncio.gather(*fresh), range(1010, 1001 + RELOADS, 10), first, second)
        await until(lambda: len(running.events("instance leaving")) <= len(running.events("instance closed")))
        assert not running.events("configuration not reloaded")
        assert not [line for line in running.events("request") if line["error"]]


def assert_whole(answers: list[Answer], numbers: range, *upstreams: Upstream) -> None:
    """Each stream has all its tokens and its end, and was asked for once."""
    for number, answer in zip(numbers, answers, strict=True):
        events = answer.events()
        assert (answer.status, answer.is_whole, events[-1]) == (200, True, "[DONE]"), (number, answer.body[-300:])
        assert sum(" tok" in event for event in events) == TOKENS, number
        assert sum(each.asked.get(number, 0) for each in upstreams) == 1, number


async def test_a_file_that_cannot_be_used_changes_nothing_and_names_its_place() -> None:
    async with upstream() as up, house(variant(0, (up.port, up.port))) as running:
        file = running.folder / "house.toml"
        good = file.read_text()
        streamed = asyncio.create_task(stream(running, 1))
        await until(lambda: 1 in up.asked)
        for wrong, place in (
            (good + "\n[models.scripted", f"line {len(good.splitlines()) + 2}"),
            (good.replace("max_queue", "max_queu"), 'models."scripted".max_queu'),
            (good.replace("port = 0", "port = 0\nport = 1"), "line"),
            (good.replace('backend = "relay"', 'backend = "rely"'), 'models."scripted".placements[0].backend'),
            (good.replace("slots = 200", "slot = 200"), 'models."scripted".placements[0].options.slot'),
        ):
            file.write_text(wrong)
            answer = await reload(running)
            error = answer.json()["error"]
            assert (answer.status, error["code"]) == (400, "invalid_configuration"), wrong
            assert error["param"].startswith(place), error
            assert error["message"].startswith(f"house.toml: {place}")
        without_models = good.split("[models.scripted]")[0] + OWNER
        for lost, place, told in (
            ("", None, "house.toml: it is empty."),
            (without_models, "models", "house.toml: models: the file in force has models"),
            (good.split("\n[[keys]]")[0], "keys", "house.toml: keys: the file in force has keys"),
        ):
            file.write_text(lost)
            answer = await reload(running)
            error = answer.json()["error"]
            assert (answer.status, error["code"], error["param"]) == (400, "invalid_configuration", place), error
            assert error["message"].startswith(told)
        file.write_text("")
        running.process.send_signal(signal.SIGHUP)
        await until(lambda: bool(running.events("configuration not reloaded")))
        assert "it is empty" in str(running.events("configuration not reloaded"))
        file.write_text(good)
        answer = await reload(running)
        assert answer.json() == {"applied": True, "changed": [], "needs_restart": []}
        assert_whole([await streamed], range(1, 2), up)


async def test_what_needs_a_restart_is_named_and_stays() -> None:
    async with upstream() as up, house(variant(0, (up.port, up.port))) as running:
        file = running.folder / "house.toml"
        port = running.address[1]
        file.write_text(file.read_text().replace("port = 0", 'port = 0\nhost = "127.0.0.2"', 1))
        answer = await reload(running, dry_run=True)
        expected = [{"key": "server.host", "change": "changed"}]
        assert answer.json() == {"applied": False, "changed": [], "needs_restart": expected}
        assert (await reload(running)).json()["needs_restart"] == expected
        assert running.address[1] == port


async def test_a_terminal_that_closes_drains_where_it_was_the_terminal_of_the_router(tmp_path: Path) -> None:
    """A process of its own session, on a terminal of its own: while that is there SIGHUP means the configuration."""
    async with upstream() as up:
        (tmp_path / "house.toml").write_text(variant(0, (up.port, up.port)))
        async with on_terminal(tmp_path) as (process, ours, address):
            running = House(process, tmp_path, address)
            streamed = asyncio.create_task(stream(running, 1))
            await until(lambda: 1 in up.asked)
            process.send_signal(signal.SIGHUP)
            await until(lambda: bool(running.events("configuration reloaded")))
            os.close(ours)
            await until(lambda: bool(running.events("draining")))
            answer = await streamed
            assert (answer.is_whole, answer.events()[-1]) == (True, "[DONE]")
            assert await process.wait() == 0


@contextlib.asynccontextmanager
async def on_terminal(folder: Path) -> Any:
    """Start a router as the leader of a session with a terminal; gives its process, the terminal's end, its port."""
    from tests.siege.house import _environment, _port

    ours, theirs = pty.openpty()
    log = folder / "log"
    # The session's leader opens the terminal, which becomes its own.
    starting = (
        "import os, sys; os.setsid(); os.close(os.open(os.ttyname(0), os.O_RDWR));os.execv(sys.argv[1], sys.argv[1:])"
    )
    command = [str(Path(sys.executable).with_name("enginehouse")), "serve", "--config", "house.toml"]
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", starting, *command, "--log-format", "json", cwd=folder, env=_environment(folder),
            stdin=theirs, stdout=asyncio.subprocess.DEVNULL, stderr=errors,
        )  # fmt: skip
    os.close(theirs)
    try:
        yield process, ours, await _port(process, log, 0)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def until(holds: Any) -> None:
    """Wait until *holds*, which the test has made sure will come."""
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110  # another process
            await asyncio.sleep(0.02)

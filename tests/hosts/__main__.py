"""Hosts as network namespaces of this machine, each with a real engine of its own: `python -m tests.hosts`.

The first has llama.cpp, the second MLX, the third vLLM, with tiny weights; all serve one file. Mixed requests go
through each entry; then the second host is killed and the last cut off from the network, and each comes back. Needs
root (namespaces), and for vLLM its Python in ENGINEHOUSE_VLLM_PYTHON; prints what it has measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.hosts.machines import KEY, Machine, closing, until
from tests.siege.client import Answer

from enginehouse.accounts import hash_secret
from tests.weights import tiny_gguf, tiny_hf

_PORT = 8000
_AT_ONCE = 8
_BEGUN_S = 0.5  # after which a request that runs has sent something
_SETTLED_S = 1200.0  # vLLM starts slowly where processors are busy
_BRIDGE = "eh-town"
VLLM_PYTHON = "ENGINEHOUSE_VLLM_PYTHON"


def ip(*words: str, is_needed: bool = True) -> None:
    """Run `ip` with *words*."""
    subprocess.run(["ip", *words], check=is_needed, capture_output=not is_needed)


def make_network(names: list[str]) -> None:
    """A bridge, and a namespace on it for each of *names*: 10.77.0.1 and so on."""
    remove_network(names)
    ip("link", "add", _BRIDGE, "type", "bridge")
    ip("addr", "add", "10.77.0.254/24", "dev", _BRIDGE)
    ip("link", "set", _BRIDGE, "up")
    for number, name in enumerate(names, 1):
        ip("netns", "add", f"eh-{name}")
        ip("link", "add", f"eh-{name}", "type", "veth", "peer", "name", "eth0", "netns", f"eh-{name}")
        ip("link", "set", f"eh-{name}", "master", _BRIDGE, "up")
        ip("-n", f"eh-{name}", "addr", "add", f"10.77.0.{number}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            ip("-n", f"eh-{name}", "link", "set", device, "up")


def remove_network(names: list[str]) -> None:
    """Take it down, as far as it is there."""
    for name in names:
        ip("netns", "del", f"eh-{name}", is_needed=False)
        ip("link", "del", f"eh-{name}", is_needed=False)
    ip("link", "del", _BRIDGE, is_needed=False)


def config(hosts: dict[str, str]) -> str:
    """The file of all hosts, each with its engine in *hosts*."""
    weights = {"llamacpp": tiny_gguf(), "mlx": tiny_hf(), "vllm": tiny_hf()}
    options = {"vllm": "{ cache_gib = 1 }"}
    parts = [f'[[keys]]\nname = "fleet"\nadmin = true\nsha256 = "{hash_secret(KEY)}"\n']
    for number, (name, engine) in enumerate(hosts.items(), 1):
        parts.append(f'[hosts.{name}]\nurl = "http://10.77.0.{number}:{_PORT}"\nkey_env = "FLEET_KEY"\n')
        parts.append(
            f'[models.on-{name}]\ncontext_tokens = 2048\n[[models.on-{name}.placements]]\nbackend = "{engine}"\n'
            f"source = {json.dumps(str(weights[engine]))}\noptions = {options.get(engine, '{}')}\n"
        )
    # The last one has a model of its own alone: vLLM would have to start twice.
    several = ", ".join(
        f'{{ backend = "{engine}", source = {json.dumps(str(weights[engine]))} }}'
        for engine in list(hosts.values())[:2]
    )
    parts.append(f"[models.anywhere]\ncontext_tokens = 2048\nplacements = [{several}]\n")
    return "\n".join(parts)


def asking(model: str, *, stream: bool, tokens: int = 8) -> dict[str, Any]:
    """A chat request."""
    messages = [{"role": "user", "content": f"Say something, number {random.randrange(10**6)}."}]
    return {"model": model, "messages": messages, "stream": stream, "max_tokens": tokens}


def verdict(answer: Answer) -> str:
    """How a request ended: whole, refused, with an error event, or cut."""
    if answer.status != 200:
        return f"refused: {answer.error_code}" if answer.status else "no answer"
    if not answer.events():
        return "whole" if answer.is_whole and answer.json()["choices"][0]["finish_reason"] else "cut"
    last = answer.events()[-1]
    return (
        "whole"
        if last == "[DONE]"
        else f"error event: {json.loads(last)['error']['code']}"
        if "error" in last
        else "cut"
    )


async def mixed(entry: Machine, models: list[str], number: int) -> Counter[str]:
    """Ask *number* mixed requests by *entry*; how they ended, and who answered."""
    counted: Counter[str] = Counter()
    turns = iter(range(number))

    async def ask() -> None:
        for turn in turns:
            model = models[turn % len(models)]
            answer = await entry.ask(asking(model, stream=turn % 2 == 0), timeout_s=300)
            counted[f"{model}: {verdict(answer)} by {answer.headers.get('x-enginehouse-instance', '?')}"] += 1

    await asyncio.gather(*(ask() for _ in range(_AT_ONCE)))
    return counted


async def run(requests: int, engines: dict[str, str]) -> None:
    """The whole campaign, on hosts with these engines."""
    environment = {name: os.environ[name] for name in [VLLM_PYTHON] if name in os.environ}
    models = [f"on-{name}" for name in engines]
    with tempfile.TemporaryDirectory(prefix="hosts-") as place:
        machines = {
            name: Machine(
                name, Path(place) / name, (f"10.77.0.{number}", _PORT), [engine, "upstream"],
                under=("ip", "netns", "exec", f"eh-{name}"),
            )
            for number, (name, engine) in enumerate(engines.items(), 1)
        }  # fmt: skip
        one, two, last = machines["one"], machines["two"], list(machines.values())[-1]
        async with closing(list(machines.values())):
            for machine in machines.values():
                await machine.start(config(engines), **environment)
            await settled(machines)
            for machine in machines.values():
                began_at = time.monotonic()
                print(f"by {machine.name}: {requests} requests", flush=True)
                for line, count in sorted((await mixed(machine, models, requests)).items()):
                    print(f"  {count:4} {line}")
                print(f"  {time.monotonic() - began_at:.1f} s", flush=True)
            for what, other in (("killed", two), ("cut off", last)):
                await lost(what, one, other, config(engines), machines)
        print(one.log()[-2000:] if "Traceback" in one.log() else "no tracebacks")


async def lost(what: str, one: Machine, other: Machine, file: str, machines: dict[str, Machine]) -> None:
    """Lose the host *other* while requests run there and here, and get it back."""
    model, name = f"on-{other.name}", other.name
    begun = [asyncio.create_task(one.ask(asking(model, stream=True, tokens=1500), timeout_s=300)) for _ in range(3)]
    own = [asyncio.create_task(one.ask(asking("on-one", stream=True, tokens=300), timeout_s=300)) for _ in range(2)]
    await until(lambda: runs(one, f"{model}@{name}", 3), "they run")
    await asyncio.sleep(_BEGUN_S)
    gone_at = time.monotonic()
    if what == "killed":
        await other.kill()
    else:
        ip("link", "set", f"eh-{name}", "down")
    anywhere = [asyncio.create_task(one.ask(asking("anywhere", stream=True), timeout_s=300)) for _ in range(30)]
    await until(lambda: has_state(one, name, "down"), "it is noticed")
    print(f"{what}: noticed after {time.monotonic() - gone_at:.1f} s")
    for which, answers in (("begun there", begun), ("begun here", own), ("of a model that two hosts have", anywhere)):
        print(f"  {which}: {dict(Counter(verdict(answer) for answer in await asyncio.gather(*answers)))}")
    print(f"  asked while it is away: {verdict(await one.ask(asking(model, stream=False)))}", flush=True)
    back_at = time.monotonic()
    if what == "killed":
        await other.start(file)
        await until(lambda: listens(other), "it listens")
        print(f"  it listens {time.monotonic() - back_at:.1f} s after its start")
        back_at = time.monotonic()
    else:
        ip("link", "set", f"eh-{name}", "up")
    await until(lambda: has_state(one, name, "up"), "it is back")
    print(f"  back: known after {time.monotonic() - back_at:.1f} s")
    await settled(machines)
    print(f"  served again after {time.monotonic() - back_at:.1f} s: "
          f"{verdict(await one.ask(asking(model, stream=True)))}", flush=True)  # fmt: skip


async def settled(machines: dict[str, Machine]) -> None:
    """Wait until every host serves all models."""
    for machine in machines.values():

        async def is_ready(machine: Machine = machine) -> bool:
            states = await machine.states()
            return len(states) == len(machines) + 1 and set(states.values()) == {"ready"}

        await until(is_ready, f"{machine.name} serves all models", timeout_s=_SETTLED_S)


async def runs(machine: Machine, instance: str, number: int) -> bool:
    """Whether so many requests run on *instance*."""
    listed = (await machine.get("/admin/instances") or {}).get("instances", [])
    return any(one["id"] == instance and one["running"] >= number for one in listed)


async def has_state(machine: Machine, name: str, state: str) -> bool:
    """Whether *machine* takes the host called *name* to be in *state*."""
    return (await machine.host_states()).get(name) == state


async def listens(machine: Machine) -> bool:
    """Whether *machine* is there."""
    return await machine.get("/health") is not None


def main() -> None:
    """Set the network up, run, and take it down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=500, help="through each entry")
    asked = parser.parse_args()
    engines = {"one": "llamacpp", "two": "mlx", "three": "vllm"}
    if VLLM_PYTHON not in os.environ:
        print(f"no third host with vLLM: set {VLLM_PYTHON}, see 'make vllm-env'")
        del engines["three"]
    names = list(engines)
    make_network(names)
    try:
        asyncio.run(run(asked.requests, engines))
    finally:
        remove_network(names)


if __name__ == "__main__":
    main()

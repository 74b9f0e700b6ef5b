"""The files that the chart makes are those of the program: each is read by its own loader, and two serve together."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from tests.hosts.machines import BY_KEY, KEY, Machine, closing, until
from tests.programs import free_port

from enginehouse.cli.shared.setup import load_plugins, read_checked
from enginehouse.config import Config, load_config, refuse_open_listener

from .conftest import NAME, VALUES, Render

MODEL = "smollm2-135m"
BODY = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}


def program(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


@pytest.mark.parametrize("name", list(VALUES))
def test_each_file_can_be_used(render: Render, name: str, tmp_path: Path) -> None:
    plugins = load_plugins()
    files = render(name).files()
    assert f"{NAME}-router" in files
    for of, text in files.items():
        path = tmp_path / f"{of}.toml"
        path.write_text(text)
        checked = read_checked(str(path), plugins)
        refuse_open_listener(
            msgspec.structs.replace(checked, server=msgspec.structs.replace(checked.server, host="::"))
        )


def test_the_program_says_so_too(render: Render, tmp_path: Path) -> None:
    path = tmp_path / "house.toml"
    path.write_text(render("postgresql").files()[f"{NAME}-router"])
    command = [program("enginehouse"), "config", "check", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, f"{path} is fine: 1 models, 1 keys.\n"), done.stderr


def read(text: str, folder: Path) -> Config:
    (folder / "house.toml").write_text(text)
    return load_config(folder / "house.toml")


def test_the_router_knows_each_pod_that_there_may_be(render: Render, tmp_path: Path) -> None:
    fixed = read(render("gpu").files()[f"{NAME}-router"], tmp_path)
    assert sorted(fixed.hosts) == ["cpu-0", "gpu-0", "gpu-1"]
    assert fixed.hosts["gpu-1"].url == f"http://{NAME}-gpu-1.{NAME}-gpu.ml.svc:8000"
    scaled = read(render("autoscaling").files()[f"{NAME}-router"], tmp_path)
    assert len(scaled.hosts) == 6
    assert {host.key_env for host in scaled.hosts.values()} == {"FLEET_KEY"}
    assert read(render("bare").files()[f"{NAME}-router"], tmp_path).hosts == {}


def test_an_engine_has_its_own_models_and_nothing_that_is_for_clients(render: Render, tmp_path: Path) -> None:
    over = {
        "config": {
            "server": {"hang_timeout_s": 45, "metrics_public": True, "cors_origins": ["https://chat.example.org"]},
            "accounts": {"url": "postgresql://enginehouse@db/house", "keys": True},
            "agents": {"helper": {"model": "smollm2-1.7b"}},
            "models": {"far": {"context_tokens": 8, "placements": [{"backend": "upstream", "source": "http://far"}]}},
        },
        "engines": [{"name": "gpu", "models": ["smollm2-1.7b"]}, {"name": "cpu"}],
    }
    files = {name: read(text, tmp_path) for name, text in render("gpu", over).files().items()}
    router, gpu, cpu = (files[f"{NAME}-{name}"] for name in ("router", "gpu", "cpu"))
    assert list(gpu.models) == ["smollm2-1.7b"]
    assert set(cpu.models) == {"smollm2-1.7b", MODEL}  # all but what only an upstream has
    assert set(router.models) == {"smollm2-1.7b", MODEL, "far"}
    assert gpu.models["smollm2-1.7b"].placements == router.models["smollm2-1.7b"].placements
    for engine in (gpu, cpu):
        assert (engine.hosts, engine.agents, engine.accounts.url) == ({}, {}, None)
        assert (engine.server.hang_timeout_s, engine.server.metrics_public, engine.server.console) == (45, False, False)
        assert [key.name for key in engine.keys] == ["fleet"]


def test_the_key_that_is_made_is_the_one_whose_hash_the_files_have(render: Render, tmp_path: Path) -> None:
    rendered = render()
    key = rendered.fleet_key()
    assert re.fullmatch(r"eh-[A-Za-z0-9]{43}", key)
    for text in rendered.files().values():
        assert [one.sha256 for one in read(text, tmp_path).keys] == [hashlib.sha256(key.encode()).hexdigest()]
    assert render().fleet_key() != key


@asynccontextmanager
async def house(render: Render, folder: Path) -> AsyncIterator[tuple[Machine, list[Machine]]]:
    """The pods of a chart as processes, each with the plugins of its image, on loopback in place of their names."""
    rendered = render(
        over={
            "fleetKey": {"existingSecret": "mine", "sha256": hashlib.sha256(KEY.encode()).hexdigest()},
            "config": {
                "models": {
                    MODEL: {
                        "context_tokens": 512,
                        "placements": [{"backend": "llamacpp", "source": f"demo:{MODEL}", "options": {"slots": 1}}],
                    }
                }
            },
            "engines": [{"name": "cpu", "replicas": 2}],
        }
    )
    files = rendered.files()
    engines = []
    for at in range(2):
        (folder / f"cpu-{at}").mkdir()
        engines.append(Machine(f"cpu-{at}", folder / f"cpu-{at}", ("127.0.0.1", free_port()), ["llamacpp"]))
    (folder / "router").mkdir()
    router = Machine("router", folder / "router", ("127.0.0.1", free_port()), ["upstream"])
    text = files[f"{NAME}-router"]
    for engine in engines:
        there = f"http://{NAME}-{engine.name}.{NAME}-cpu.ml.svc:8000"
        assert there in text
        text = text.replace(there, f"http://127.0.0.1:{engine.address[1]}")
    async with closing([router, *engines]):
        await router.start(text)
        for engine in engines:
            await engine.start(files[f"{NAME}-cpu"])
        yield router, engines


@pytest.mark.engine
async def test_the_pods_serve_together_and_one_is_not_missed(render: Render, tmp_path: Path) -> None:
    async with house(render, tmp_path) as (router, engines):

        async def is_ready(count: int) -> bool:
            cards = (await router.get("/v1/models") or {}).get("data", [])
            return [len([one for one in card["instances"] if one["state"] == "ready"]) for card in cards] == [count]

        await until(lambda: is_ready(2), f"both engines are ready\n{router.log()[-2000:]}", timeout_s=120)
        answer = await router.ask(BODY)
        assert answer.status == 200, answer
        assert answer.headers["x-enginehouse-instance"] in (f"{MODEL}@cpu-0", f"{MODEL}@cpu-1")
        async with router.client() as client:
            assert (await client.chat(BODY)).status == 401  # nobody comes in without a key
            metrics = (await client.get("/metrics", **BY_KEY)).body.decode()
        assert f'enginehouse_queued_requests{{model="{MODEL}",instance="{MODEL}@cpu-0"}} 0' in metrics
        await engines[0].close()
        await until(lambda: is_ready(1), "the one that has ended is gone")
        for _ in range(4):
            answer = await router.ask(BODY)
            assert (answer.status, answer.headers["x-enginehouse-instance"]) == (200, f"{MODEL}@cpu-1")
        suite = render().one("Job", f"{NAME}-conformance")["spec"]["template"]["spec"]["containers"][0]
        url = f"http://127.0.0.1:{router.address[1]}/v1"
        command = [
            program(suite["command"][-2]),
            suite["command"][-1],
            url,
            *suite["args"][1:],
            "--rules",
            "ENV1,ENV2,ENV5,S1",
        ]
        run = await asyncio.create_subprocess_exec(
            *command,
            cwd=tmp_path,
            env={**os.environ, "FLEET_KEY": KEY},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(200):
            told, _ = await run.communicate()
        assert run.returncode == 0, told.decode()

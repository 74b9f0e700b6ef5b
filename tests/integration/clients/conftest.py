"""The router with a scripted engine and the embedded model, and clients as `connect` tells them to find it."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.served import MODEL, Served

from enginehouse.cli.recipes import recipes

from .shown import INSTALLED

SCRIPTED = "scripted"
CONFIG = f"""
[server]
port = 0

[models.{SCRIPTED}]
placements = [{{ backend = "scripted", source = "none" }}]

[models."{MODEL}"]
load = "first_request"
context_tokens = 2048
reproducible = true
placements = [{{ backend = "llamacpp", source = "demo:smollm2-135m" }}]
"""
_SCRIPTED_AGENT = Path(__file__).parents[1] / "scripted/scripted_agent.py"
_BIN = Path(sys.executable).parent
_PROGRAMS = (*INSTALLED.glob("**/node_modules/.bin"), *INSTALLED.glob("python/*/bin"))
Connected = Callable[..., "Client"]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    site = tmp_path_factory.mktemp("site")
    info = site / "enginehouse_scripted-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: enginehouse-scripted\nVersion: 0\n")
    (info / "entry_points.txt").write_text("[enginehouse.plugins]\nscripted = scripted_agent\n")
    shutil.copy(_SCRIPTED_AGENT, site)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(site))
        served = Served(CONFIG, tmp_path_factory.mktemp("house"))
    try:
        yield served.wait_ready()
    finally:
        served.close()


class Client:
    """A client with the configuration that `connect` wrote for it, in folders of its own."""

    def __init__(self, house: Served, name: str, model: str, folder: Path) -> None:
        self.house = house
        self.home, self.work = folder / "home", folder / "work"
        for each in (self.home, self.work):
            each.mkdir()
        self.environment = {
            "PATH": os.pathsep.join((*map(str, _PROGRAMS), str(_BIN), os.environ["PATH"])),
            "HOME": str(self.home),
            "TERM": "dumb",
            "IS_SANDBOX": "1",  # Claude Code and root
        }
        told = subprocess.run(
            [
                *(str(_BIN / "enginehouse"), "connect", name, "--url", house.url, "--model", model),
                *("--context", "131072", "--write", "--json"),
            ],
            cwd=self.work,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
        )
        self.told: dict[str, Any] = json.loads(told.stdout)

    def run(self, *arguments: str) -> str:
        """Run the line that `connect` told, with *arguments* behind it; returns what it printed."""
        ended = subprocess.run(
            ["/bin/sh", "-c", f"{self.told['run']} {shlex.join(arguments)}"],
            cwd=self.work,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def requests(self, endpoint: str) -> list[dict[str, Any]]:
        """Lines of the router's log of requests to *endpoint* so far."""
        return [line for line in self.house.log if line.get("event") == "request" and line["endpoint"] == endpoint]


@pytest.fixture
def connected(house: Served, tmp_path: Path) -> Connected:
    """`connected(name, program=…, model=…)` configures a client by its recipe; skips where it is not installed."""

    def connect(name: str, *, program: str | None = None, model: str = SCRIPTED) -> Client:
        if not any(shutil.which(program or name, path=str(folder)) for folder in _PROGRAMS):
            pytest.skip(f"{recipes()[name].title} is not installed: make clients, or make clients-all")
        return Client(house, name, model, tmp_path)

    return connect

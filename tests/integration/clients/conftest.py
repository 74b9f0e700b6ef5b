"""The router with a scripted engine and the embedded model, and clients as `connect` tells them to find it."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.integration.served import MODEL, Served, locked

from enginehouse.cli.recipes import Recipe, Values, filled, recipes

from .shown import INSTALLED

SCRIPTED = "scripted"
KEY = "key-of-these-tests"
VARIABLE = "HOUSE_KEY"
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

[[mounts]]
profile = "ollama"
path = "/ollama"
"""
_SCRIPTED_AGENT = Path(__file__).parents[1] / "scripted/scripted_agent.py"
_BIN = Path(sys.executable).parent
_PROGRAMS = (*INSTALLED.glob("**/node_modules/.bin"), *INSTALLED.glob("python/*/bin"))


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
        served = Served(locked(KEY, CONFIG), tmp_path_factory.mktemp("house"))
    try:
        yield served.wait_ready()
    finally:
        served.close()


class Client:
    """A client with folders of its own, that is configured by what `connect` prints, and nothing else."""

    def __init__(self, house: Served, folder: Path) -> None:
        self.house = house
        self.home, self.work = folder / "home", folder / "work"
        for each in (self.home, self.work):
            each.mkdir()
        self.environment = {
            "PATH": os.pathsep.join((*map(str, _PROGRAMS), str(_BIN), os.environ["PATH"])),
            "HOME": str(self.home),
            "TERM": "dumb",
            "IS_SANDBOX": "1",  # Claude Code and root
            VARIABLE: KEY,
        }

    def connect(self, name: str, model: str, folder: str = ".") -> Recipe:
        """The recipe of the client *name*, followed: its files are written, relative ones into *folder*."""
        told = filled(recipes()[name], Values(url=self.house.url, model=model, context=131_072, variable=VARIABLE))
        for file in told.files:
            at_home = file.path.removeprefix("~/")
            place = self.work / folder / file.path if at_home == file.path else self.home / at_home
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(file.text)
        if told.setup:
            self.run(told.setup)
        return told

    def run(self, line: str, *arguments: str) -> str:
        """Run *line* in a shell, with *arguments* behind it; returns what it printed."""
        return self._run(["/bin/sh", "-c", f"{line} {shlex.join(arguments)}"], self.work)

    def _run(self, command: list[str], folder: Path) -> str:
        ended = subprocess.run(
            command,
            cwd=folder,
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
def client(house: Served, tmp_path: Path) -> Iterator[Client]:
    made = Client(house, tmp_path)
    yield made
    for process in psutil.process_iter(["cmdline"]):
        if any(str(made.work) in word for word in process.info["cmdline"] or ()):
            process.kill()  # Cline leaves a daemon


def needs(name: str, found: object) -> None:
    """Skip where the client *name* is not installed."""
    if not found:
        pytest.skip(f"{recipes()[name].title} is not installed: make clients, or make clients-all")


def program(name: str) -> str | None:
    """The installed program *name*."""
    return next((found for folder in _PROGRAMS if (found := shutil.which(name, path=str(folder)))), None)

"""A host as a process of `enginehouse serve`, with backends of its own, in a network namespace or on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import psutil
from tests.siege.client import Answer, Client

KEY = "eh-a-key-of-all-hosts"
BY_KEY = {"authorization": f"Bearer {KEY}"}
_RELAY = Path(__file__).parents[1] / "relay_backend.py"
_START_S = 60.0

# A host has the plugins that are installed on it: of those of this environment, the ones that are named.
_ONLY = """
import importlib.metadata as metadata, os
_all, _only = metadata.entry_points, os.environ.get("HOST_PLUGINS", "").split()

def _installed(**wanted):
    found = _all(**wanted)
    if wanted.get("group") != "enginehouse.plugins":
        return found
    return metadata.EntryPoints(each for each in found if each.name in _only)

metadata.entry_points = _installed
"""


class Machine:
    """A host; `address` is where it listens. It is started, killed, stopped and started again."""

    def __init__(
        self, name: str, folder: Path, address: tuple[str, int], plugins: Sequence[str], *, under: Sequence[str] = ()
    ) -> None:
        self.name = name
        self.folder = folder
        self.address = address
        self.process: asyncio.subprocess.Process | None = None
        self._under = under
        self._site = _site(folder, name, plugins)
        self._plugins = plugins

    async def start(self, config: str, **environment: str) -> None:
        """Serve *config*."""
        (self.folder / "house.toml").write_text(config)
        own = {name: value for name, value in os.environ.items() if not name.startswith("ENGINEHOUSE_")}
        with (self.folder / "log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self._under, str(Path(sys.executable).with_name("enginehouse")), "serve", "--config", "house.toml",
                "--host", self.address[0], "--port", str(self.address[1]), "--log-format", "json",
                cwd=self.folder, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=log,
                env=own | {
                    "PYTHONPATH": str(self._site), "HOST_PLUGINS": " ".join(self._plugins), "FLEET_KEY": KEY,
                    "XDG_DATA_HOME": str(self.folder / "data"), **environment,
                },
            )  # fmt: skip

    @property
    def router(self) -> psutil.Process:
        """The router's process."""
        assert self.process is not None
        return psutil.Process(self.process.pid)

    def signal(self, number: int) -> None:
        """Send a signal to the router."""
        assert self.process is not None
        self.process.send_signal(number)

    async def kill(self) -> None:
        """End it without a word, as when the power goes."""
        assert self.process is not None
        self.process.kill()
        await self.process.wait()

    async def close(self) -> None:
        """End it, if it runs."""
        if self.process is None or self.process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(signal.SIGTERM)
            self.process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(20):
                await self.process.wait()
        except TimeoutError:
            await self.kill()

    def client(self, *, timeout_s: float = 60.0) -> Client:
        """A client of it; where it is in a namespace, one that reaches it from here."""
        return Client(self.address, timeout_s=timeout_s)

    async def get(self, path: str) -> Any:
        """The answer of the route at *path*; None where there is none."""
        try:
            async with self.client(timeout_s=5) as client:
                return (await client.get(path, **BY_KEY)).json()
        except (OSError, TimeoutError, ValueError):
            return None

    async def ask(self, body: dict[str, Any], *, timeout_s: float = 60.0, **headers: str) -> Answer:
        """The answer to a chat request."""
        async with self.client(timeout_s=timeout_s) as client:
            return await client.chat(body, **BY_KEY, **headers)

    async def states(self) -> dict[str, str]:
        """The state of each model, as this host sees it."""
        models = (await self.get("/v1/models") or {}).get("data", [])
        return {card["id"]: card["state"] for card in models}

    async def host_states(self) -> dict[str, str]:
        """The state of each host, as this one sees it."""
        hosts = (await self.get("/admin/hosts") or {}).get("hosts", [])
        return {host["name"]: host["state"] for host in hosts}

    def log(self) -> str:
        """What it has logged."""
        return (self.folder / "log").read_text(errors="replace")


def _site(folder: Path, name: str, plugins: Sequence[str]) -> Path:
    """A folder for PYTHONPATH: the plugins of *plugins* that are scripted backends, `scripted-NAME`, and the filter."""
    site = folder / "site"
    site.mkdir(parents=True, exist_ok=True)
    (site / "sitecustomize.py").write_text(_ONLY)
    for plugin in plugins:
        if plugin.startswith("scripted-"):
            backend = plugin.removeprefix("scripted-")
            info = site / f"enginehouse_{backend}-0.dist-info"
            info.mkdir(exist_ok=True)
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: enginehouse-{backend}\nVersion: 0\n")
            (info / "entry_points.txt").write_text(f"[enginehouse.plugins]\n{plugin} = relay_{backend}\n")
            text = _RELAY.read_text().replace('name="relay"', f'name="{backend}"')
            (site / f"relay_{backend}.py").write_text(text)
    return site


async def until(holds: Any, what: str, timeout_s: float = _START_S) -> float:
    """Wait until *holds*, a coroutine function, does; returns after how many seconds."""
    loop = asyncio.get_running_loop()
    began_at = loop.time()
    while not await holds():
        if loop.time() - began_at > timeout_s:
            raise AssertionError(f"not within {timeout_s:g} s: {what}")
        await asyncio.sleep(0.05)
    return loop.time() - began_at


@contextlib.asynccontextmanager
async def closing(machines: Sequence[Machine]) -> AsyncIterator[None]:
    """End *machines* when the block does."""
    try:
        yield
    finally:
        await asyncio.gather(*(machine.close() for machine in machines))
        for machine in machines:
            shutil.rmtree(machine.folder / "data", ignore_errors=True)

"""A router under siege: a process of `enginehouse serve`, its log in a file, and what it holds of the machine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sqlite3
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import psutil
from tests.programs import free_port
from tests.siege.client import Client

BLOCKED_MS = 50
"""A loop that computes for so long at a stretch is blocked, the router's watchdog says."""

VLLM_PYTHON = "ENGINEHOUSE_VLLM_PYTHON"
MOST_TO_LOAD_S = 900.0
"""vLLM takes half a minute, and several on a busy machine."""

_START_S = 300.0
_END_S = 60.0
_PLUGIN = Path(__file__).parents[1] / "relay_backend.py"

SERVER = """
[server]
port = 0

[usage]
path = "usage.db"
"""


def scripted(port: int, **options: Any) -> str:
    """A model called `scripted`, answered by a scripted upstream at *port*; *options* of its instance in TOML."""
    given = "".join(f", {name} = {json.dumps(value)}" for name, value in options.items())
    placement = f'{{ backend = "relay", source = "scripted", options = {{ port = {port}{given} }} }}'
    return f"\n[models.scripted]\nplacements = [{placement}]\n"


def tiny(name: str = "tiny", *, backend: str = "llamacpp", **options: Any) -> str:
    """A model of the tiny random weights on a real engine."""
    from tests.weights import tiny_gguf, tiny_hf

    source = tiny_gguf() if backend == "llamacpp" else tiny_hf()
    given = ", ".join(f"{key} = {json.dumps(value)}" for key, value in ({"slots": 4} | options).items())
    return (
        f'\n[models."{name}"]\ncontext_tokens = 2048\n[[models."{name}".placements]]\nbackend = "{backend}"\n'
        f"source = {json.dumps(str(source))}\noptions = {{ {given} }}\n"
    )


def is_here(backend: str) -> bool:
    """Whether the engine can be run: vLLM has an environment of its own, which a variable names."""
    return backend != "vllm" or VLLM_PYTHON in os.environ


def of_engine(backend: str) -> str:
    """The model `tiny` on this engine."""
    if backend != "vllm":
        return tiny(backend=backend)
    placed = tiny(backend="vllm", max_sequences=4, cache_gib=1).replace('"slots" = 4, ', "").replace("slots = 4, ", "")
    return placed.replace("options =", f'python = "{os.environ[VLLM_PYTHON]}"\noptions =')


# The clock of a house can be set: what time it is there is off by the seconds in a file, where there is one.
# And it can be asked how many tasks are on its loop.
_INSIDE = """
import os, signal, time
_time, _file = time.time, os.environ["SIEGE_CLOCK"]

def _set_time():
    try:
        with open(_file) as steps:
            return _time() + float(steps.read())
    except (OSError, ValueError):
        return _time()

def _tell_tasks(*_):
    import asyncio
    with open(_file + ".tasks", "w") as told:
        told.write(f"{len(asyncio.all_tasks())}\\n")

time.time = _set_time
signal.signal(signal.SIGUSR1, _tell_tasks)
"""


class House:
    """A running router; `folder` holds its configuration, usage and log."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path, port: int, *, has_log: bool = True) -> None:
        self.process = process
        self.folder = folder
        self.has_log = has_log
        self.key = ""
        self.address = ("127.0.0.1", port)

    @property
    def router(self) -> psutil.Process:
        """The router's process."""
        return psutil.Process(self.process.pid)

    @property
    def is_there(self) -> bool:
        """Whether its process runs."""
        return self.process.returncode is None

    async def kill(self) -> None:
        """End it without a word."""
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    def below(self) -> list[psutil.Process]:
        """The processes below it: guardians and engines."""
        return self.router.children(recursive=True)

    def engines(self) -> list[psutil.Process]:
        """The engines alone: what a guardian watches."""
        found = []
        for process in self.below():
            with contextlib.suppress(psutil.NoSuchProcess):  # it may end meanwhile
                if not process.children():
                    found.append(process)
        return found

    def descriptors(self) -> int:
        """How many the router has open."""
        return int(self.router.num_fds())

    async def tasks(self) -> int:
        """How many there are on the router's event loop."""
        told = self.folder / "clock.tasks"
        told.unlink(missing_ok=True)
        self.process.send_signal(signal.SIGUSR1)
        async with asyncio.timeout(_START_S):
            while not told.exists() or not told.read_text().endswith("\n"):  # noqa: ASYNC110  # it has no event of its own
                await asyncio.sleep(0.01)
        return int(told.read_text())

    def resident_mib(self) -> float:
        """The router's own memory."""
        return float(self.router.memory_info().rss) / 2**20

    def engines_mib(self) -> float:
        """Memory of all below it."""
        total = 0.0
        for process in self.below():
            with contextlib.suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss / 2**20
        return total

    def client(self, *, timeout_s: float = 60.0) -> Client:
        """A client of it."""
        return Client(self.address, timeout_s=timeout_s, key=self.key)

    def set_clock(self, off_s: float) -> None:
        """Let the router's clock be *off_s* seconds off from now on."""
        (self.folder / "clock").write_text(str(off_s))

    def log(self) -> str:
        """What it has logged."""
        return (self.folder / "log").read_text(errors="replace")

    def events(self, name: str) -> list[dict[str, Any]]:
        """Its log's lines of this event."""
        found = []
        with (self.folder / "log").open(errors="replace") as lines:
            for line in lines:
                if name in line:  # a soak's log has a million lines
                    with contextlib.suppress(ValueError):
                        parsed = json.loads(line)
                        if parsed["event"] == name:
                            found.append(parsed)
        return found

    def usage(self, columns: str = "*") -> list[dict[str, Any]]:
        """Its rows of usage so far, or some *columns* of them."""
        with contextlib.closing(sqlite3.connect(f"file:{self.folder / 'usage.db'}?mode=ro", uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(f"SELECT {columns} FROM usage")]

    async def metrics(self) -> dict[str, float]:
        """Its metrics, by name and labels as they are written."""
        async with self.client() as client:
            lines = (await client.get("/metrics")).body.decode().splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}

    async def wait_listening(self) -> None:
        """Wait until it takes connections."""
        async with asyncio.timeout(_START_S):
            while self.process.returncode is None:
                with contextlib.suppress(ConnectionError):
                    _, writer = await asyncio.open_connection(*self.address)
                    writer.close()
                    return
                await asyncio.sleep(0.02)

    async def wait_ready(self, timeout_s: float = _START_S) -> None:
        """Wait until its models have loaded.

        Raises:
            TimeoutError: they have not in this time.
        """
        async with asyncio.timeout(timeout_s), self.client() as client:
            while (await client.get("/ready")).status != 200:  # noqa: ASYNC110  # another process
                await asyncio.sleep(0.05)

    async def end(self) -> int:
        """Ask it to end and wait; returns its exit code."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(_END_S):
            return await self.process.wait()


@contextlib.asynccontextmanager
async def house(
    config: str, *, folder: Path | None = None, under: Sequence[str] = (), ready: bool = True, has_log: bool = True
) -> AsyncIterator[House]:
    """Run a router with *config* in *folder* (one of its own without), its command behind the words of *under*.

    Without *has_log* those send its log elsewhere. Whatever is left of it is ended on leaving.
    """
    with contextlib.ExitStack() as stack:
        place = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="siege-")))
        port = 0 if has_log else free_port()
        (place / "house.toml").write_text(config.replace("port = 0", f"port = {port}", 1))
        log = place / "log"
        command = [str(Path(sys.executable).with_name("enginehouse")), "serve", "--config", "house.toml"]
        with log.open("ab") as errors:
            start = errors.tell()
            process = await asyncio.create_subprocess_exec(
                *under, *command, "--log-format", "json", cwd=place, env=_environment(place),
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=errors,
            )  # fmt: skip
        below: list[psutil.Process] = []
        try:
            running = House(process, place, port or await _port(process, log, start), has_log=has_log)
            await running.wait_listening()
            if ready:
                await running.wait_ready()
            yield running
            with contextlib.suppress(psutil.NoSuchProcess):  # a scenario may have killed it
                below = running.below()
            await running.end()
        finally:
            if process.returncode is None:
                with contextlib.suppress(psutil.NoSuchProcess):
                    below = psutil.Process(process.pid).children(recursive=True)
                process.kill()
                await process.wait()
            for left in below:
                with contextlib.suppress(psutil.NoSuchProcess):
                    left.kill()


async def _port(process: asyncio.subprocess.Process, log: Path, start: int) -> int:
    """Where it listens, as its log tells."""
    async with asyncio.timeout(_START_S):
        while True:
            with log.open("rb") as written:
                written.seek(start)
                for line in written:
                    if b'"event":"listening"' in line:
                        return int(json.loads(line)["url"].rpartition(":")[2].removesuffix("/v1"))
            if process.returncode is not None:
                raise RuntimeError(f"it ended with {process.returncode}; its log is {log}")
            await asyncio.sleep(0.02)


def _environment(place: Path) -> dict[str, str]:
    """Nothing of the owner's own settings, and the plugin of the scripted upstream as if it were installed."""
    site = place / "site"
    info = site / "enginehouse_siege-0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: enginehouse-siege\nVersion: 0\n")
    (info / "entry_points.txt").write_text("[enginehouse.plugins]\nsiege = relay_backend\n")
    shutil.copy(_PLUGIN, site)
    (site / "sitecustomize.py").write_text(_INSIDE)
    own = {name: value for name, value in os.environ.items() if not name.startswith("ENGINEHOUSE_")}
    return own | {
        "PYTHONPATH": str(site),
        "XDG_DATA_HOME": str(place / "data"),
        "SIEGE_CLOCK": str(place / "clock"),
        "ENGINEHOUSE_BLOCKED_LOOP_MS": str(BLOCKED_MS),
    }

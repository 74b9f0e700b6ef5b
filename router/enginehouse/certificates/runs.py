"""Runs of the conformance suite that an owner starts at a running server: `enginehouse certify`, one at a time.

Each is a process of its own, as the suite computes for minutes; its reports lie beside the certificates.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import signal
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final, Literal

import msgspec

from enginehouse.weights.leash import on_leash
from enginehouse_plugin.errors import RequestError
from enginehouse_plugin.threadsafe import threadsafe

from .files import make_private

_COMMAND: Final = "import sys; from enginehouse.cli import main; sys.exit(main())"
_MOST_REPORTS: Final = 20
_MOST_LINES: Final = 40
_LONGEST_LINE: Final = 300
_END_S: Final = 10.0
_STOP_S: Final = 30.0
"""A run that is stopped has this long to unload what it has loaded; then it is ended, and its engine with it."""
_POSITION = re.compile(r"\[ *(\d+)/(\d+)\]")
_NAME = re.compile(r"[0-9]{8}T[0-9]{6}-[0-9a-f]{4}")
FILES: Final = ("report.json", "report.html", "report.md", "badge.svg", "junit.xml", "requirements.json")

RunState = Literal["running", "certified", "failed", "stopped"]


class RunNotPossible(RequestError):
    """No run can be started now; the message says why."""

    code = "run_not_possible"


class ReportNotFound(RequestError):
    """There is no such report, or no such file of it."""

    code = "report_not_found"


class Run(msgspec.Struct, kw_only=True):
    """A run: of `total` rules `done` have ended. `lines` are the last that it said, `started_at` Unix time."""

    model: str
    selection: Literal["all", "quick"]
    started_at: float
    state: RunState = "running"
    done: int = 0
    total: int = 0
    report: str | None = None
    lines: list[str] = []


class KeptReport(msgspec.Struct, frozen=True, kw_only=True):
    """A report that is kept: by its `name`, what it is of, and its summary as the suite has it."""

    name: str
    model: str
    started_at: str
    duration_s: float
    selection: str
    summary: msgspec.Raw


class _Target(msgspec.Struct, frozen=True):
    model: str = ""


@threadsafe
class _Head(msgspec.Struct, frozen=True):
    started_at: str
    duration_s: float
    selection: str
    summary: msgspec.Raw
    target: _Target = _Target()


class Runs:
    """Starts runs with the configuration in *config_file* and keeps their reports in *folder*.

    *ended* is called when one has ended; without a file there is no run.
    """

    def __init__(self, config_file: str | None, folder: Path, ended: Callable[[], Awaitable[None]]) -> None:
        self._config_file = config_file
        self._folder = folder
        self._ended = ended
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_starting = False
        self._closed = asyncio.Event()
        self.last: Run | None = None

    async def start(self, model: str, *, quick: bool) -> Run:
        """Begin a run of *model*, of the suite's *quick* core or all rules.

        Raises:
            RunNotPossible: another one runs, or there is no configuration for it.
        """
        if self._closed.is_set():
            raise RunNotPossible("The server ends.")
        if self._is_starting or (self._task is not None and not self._task.done()):
            raise RunNotPossible("A run is under way: wait for its end, or stop it.")
        self._is_starting = True  # a second order may come before the process is there
        try:
            name, process = await self._spawn(model, quick=quick)
        finally:
            self._is_starting = False
        self._process = process
        self.last = run = Run(model=model, selection="quick" if quick else "all", started_at=time.time())
        self._task = asyncio.create_task(self._follow(run, process, name))
        if self._closed.is_set():  # meanwhile
            self.stop()
        return run

    async def _spawn(self, model: str, *, quick: bool) -> tuple[str, asyncio.subprocess.Process]:
        name = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{time.time_ns() & 0xFFFF:04x}"
        await asyncio.to_thread(make_private, self._folder)
        command = [sys.executable, "-c", _COMMAND, "certify", model, "--report", str(self._folder / name)]
        command += ["--quick"] if quick else []
        command += ["--config", self._config_file] if self._config_file is not None else []
        process = await asyncio.create_subprocess_exec(
            *on_leash(command, signal.SIGINT, _STOP_S),  # it ends with this server, however that ends
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # a signal for the server is none for it
        )
        return name, process

    def stop(self) -> None:
        """End the run that is under way, if one is; nothing of it is stored."""
        if self.last is not None and self.last.state == "running" and self._process is not None:
            self.last.state = "stopped"
            _tell(self._process)

    async def close(self) -> None:
        """End what runs; nothing is begun any more."""
        self._closed.set()
        self.stop()
        if self._task is None or self._task.done():
            return
        await asyncio.wait([self._task], timeout=_END_S)
        if self._process is not None and not self._task.done():
            _tell(self._process)  # for the second time: at once
            await asyncio.wait([self._task], timeout=_END_S)
            self._task.cancel()  # if something that it has started keeps its error stream open

    async def _follow(self, run: Run, process: asyncio.subprocess.Process, name: str) -> None:
        said: deque[str] = deque(maxlen=_MOST_LINES)
        assert process.stderr is not None  # noqa: S101  # it was asked for
        async for line in _lines(process.stderr):
            said.append(line)
            run.lines = list(said)
            if found := _POSITION.match(line):
                run.done, run.total = int(found[1]), int(found[2])
        code = await process.wait()
        has_report = await asyncio.to_thread((self._folder / name / "report.json").is_file)
        run.report = name if has_report else None
        await asyncio.to_thread(self._forget_old)
        try:
            await self._ended()
        finally:
            if run.state == "running":  # told last: who hears of it asks for what it has changed
                run.state = "certified" if code == 0 else "failed"

    def _forget_old(self) -> None:
        for old in self._names()[_MOST_REPORTS:]:
            shutil.rmtree(self._folder / old, ignore_errors=True)

    def _names(self) -> list[str]:
        """The names of reports, the newest first."""
        try:
            return sorted((one.name for one in self._folder.iterdir() if _NAME.fullmatch(one.name)), reverse=True)
        except OSError:
            return []

    def reports(self) -> list[KeptReport]:
        """The reports that are kept, the newest first. Blocks: call it in a thread."""
        found = []
        for name in self._names():
            with contextlib.suppress(OSError, msgspec.MsgspecError):
                head = msgspec.json.decode((self._folder / name / "report.json").read_bytes(), type=_Head)
                found.append(
                    KeptReport(
                        name=name,
                        model=head.target.model,
                        started_at=head.started_at,
                        duration_s=head.duration_s,
                        selection=head.selection,
                        summary=head.summary,
                    )
                )
        return found

    def file(self, name: str, file: str) -> bytes:
        """A *file* of the report called *name*. Blocks: call it in a thread.

        Raises:
            ReportNotFound: there is none.
        """
        if _NAME.fullmatch(name) and file in FILES:
            with contextlib.suppress(OSError):
                return (self._folder / name / file).read_bytes()
        raise ReportNotFound("There is no such report.")


def _tell(process: asyncio.subprocess.Process) -> None:
    """Tell the leash of *process* that it is to end."""
    if process.stdin is not None and not process.stdin.is_closing():
        process.stdin.write(b".")


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    """The lines of *stream*, each cut where it is long."""
    rest = b""
    while part := await stream.read(65_536):
        *whole, rest = (rest + part).split(b"\n")
        for line in whole:
            yield line.decode("utf-8", "replace")[:_LONGEST_LINE]
        rest = rest[:_LONGEST_LINE]
    if rest:
        yield rest.decode("utf-8", "replace")[:_LONGEST_LINE]

"""A supervised engine process: its own socket folder, its log, its end.

Between the router and the engine stands a guardian (see `guardian.py`) that ends the engine's whole
group when the router is gone, even by SIGKILL. It tells of the engine's end. Where the system tells of that too
(Linux), a guardian that has been stopped is let go on then, or killed, so that the end is known all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from enginehouse_plugin.backend import ExitReport
from enginehouse_plugin.errors import EngineError, LoadFailed

from . import guardian
from .activity import activity_of
from .folders import SocketFolder
from .logs import LogLine, LogPipe, level_of

__all__ = ["Child", "LogLine"]

LAST_WORDS = 40  # lines kept
_LOG_DRAIN_S = 1.0  # a process that outlived its group may hold the pipe open for ever
_GUARDIAN_SLACK_S = 2.0
_START_S = 60.0
"""A guardian takes milliseconds to start an engine; one that has told nothing for so long will not."""
INERT_S = 60.0
"""An engine that loads and does next to nothing for this long is taken for hung."""
_LOOK_S = 5.0


def _refuse_missing(cwd: str | None, name: str) -> None:
    if cwd is not None and not os.path.isdir(cwd):
        raise LoadFailed(f"{name}: the working folder '{cwd}' does not exist.", retryable=False)


class Child:
    """A running engine process. Make one with `Child.start`."""

    def __init__(self, name: str, folder: SocketFolder, on_log: Callable[[LogLine], None] | None) -> None:
        self.name = name
        self.socket_path = folder.socket_path
        self.pid = 0
        """The engine's own process id."""
        self._folder = folder
        self._on_log = on_log
        self._lines: deque[str] = deque(maxlen=LAST_WORDS)
        self._is_stopping = False
        loop = asyncio.get_running_loop()
        self._started: asyncio.Future[str | None] = loop.create_future()  # why it did not start, or None
        self._report: asyncio.Future[ExitReport] = loop.create_future()
        self._log_closed: asyncio.Future[None] = loop.create_future()
        self._control, self._guardian_end = socket.socketpair()
        self._control.setblocking(False)
        self._log_transport: asyncio.ReadTransport | None = None
        self._watch: asyncio.Task[None] | None = None
        self._guardian_pid = 0
        self._engine_end = -1  # a descriptor that becomes readable when the engine's own process has ended
        self._hurrying: asyncio.Task[None] | None = None

    @classmethod
    async def start(
        cls,
        name: str,
        argv: Callable[[str], Sequence[str]],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        socket_name: str = "engine.sock",
        on_log: Callable[[LogLine], None] | None = None,
    ) -> Child:
        """Start `argv(socket_path)` and return once the process runs; it need not be ready yet.

        *env* is added to the router's own environment. The socket lies in a new folder that only this
        user may enter. *on_log* gets each line of stdout and stderr.

        Raises:
            LoadFailed: the program cannot be started, or no short enough path for the socket exists.
        """
        _refuse_missing(cwd, name)
        folder = SocketFolder(socket_name)
        child = cls(name, folder, on_log)
        spawning: asyncio.Task[None] | None = None
        try:
            command = list(argv(child.socket_path))
            # Not to be cancelled inside: asyncio and uvloop then leave pipes and processes half made.
            spawning = asyncio.create_task(child._spawn(command, {**os.environ, **(env or {})}, cwd))
            await asyncio.shield(spawning)
            async with asyncio.timeout(_START_S):
                problem = await asyncio.shield(child._started)
        except BaseException as error:
            if spawning is not None:
                await asyncio.wait([spawning])
            await child._abandon()
            if isinstance(error, TimeoutError):
                raise LoadFailed(f"{name}: its guardian did not start it within {_START_S:g} s.") from error
            raise
        if problem is not None:
            await asyncio.shield(child._report)
            raise LoadFailed(f"{name}: '{command[0]}' cannot be started: {problem}", retryable=False)
        return child

    @property
    def last_words(self) -> tuple[str, ...]:
        """The last lines of output."""
        return tuple(self._lines)

    @property
    def is_stopping(self) -> bool:
        """Somebody has asked for its end: what it complains about from now on is no news."""
        return self._is_stopping

    async def wait_ready(
        self, is_ready: Callable[[], Awaitable[bool]], *, timeout_s: float, poll_s: float = 0.05
    ) -> None:
        """Ask *is_ready* every *poll_s* seconds until it says yes; an `EngineError` from it means "not yet".

        Whatever ends the waiting otherwise, cancellation too, ends the process.

        Raises:
            LoadFailed: the process ended first, or did nothing for `INERT_S`, or *timeout_s* passed; with its last
                words.
        """
        inert = asyncio.ensure_future(self.wait_inert())
        try:
            async with asyncio.timeout(timeout_s):
                while not await self._answers(is_ready, inert):
                    await asyncio.wait([self._report], timeout=poll_s)
        except TimeoutError as error:
            last_words = self.last_words
            await self.stop(0)
            raise LoadFailed(f"{self.name} was not ready after {timeout_s:g} s.", last_words=last_words) from error
        except BaseException:
            await self.stop(0)
            raise
        finally:
            inert.cancel()

    async def wait_inert(self) -> None:
        """Return once the engine's processes have done next to nothing for `INERT_S`; never where nobody can tell."""
        before = await asyncio.to_thread(activity_of, self.pid)
        idle_s = 0.0
        while True:
            await asyncio.sleep(_LOOK_S)
            now = await asyncio.to_thread(activity_of, self.pid)
            idle_s += _LOOK_S  # not what the clock says, which a suspended machine lets jump
            if now is None or before is None or not now.is_idle_since(before, idle_s):
                before, idle_s = now, 0.0
            elif idle_s >= INERT_S:
                return

    def inert(self) -> LoadFailed:
        """What to say of a load that `wait_inert` has ended."""
        told = f"{self.name} did nothing for {INERT_S:g} s while loading; it is taken for hung."
        return LoadFailed(told, last_words=self.last_words)

    async def stop(self, grace_s: float = 5.0) -> None:
        """End the process group: SIGTERM, after *grace_s* seconds SIGKILL; remove the folder. Idempotent."""
        self._is_stopping = True
        with contextlib.suppress(OSError):  # the guardian is gone: it has ended, or `_watch` ends the group
            self._control.send(f"stop {grace_s}\n".encode())
        await self._see_to_end(grace_s + _GUARDIAN_SLACK_S)

    async def wait_closed(self) -> ExitReport:
        """Wait for the end, and tell how it came."""
        return await asyncio.shield(self._report)

    # ---- inside ----

    async def _spawn(self, command: list[str], env: Mapping[str, str], cwd: str | None) -> None:
        log_read, log_write = os.pipe()
        try:
            reader = os.fdopen(log_read, "rb", buffering=0)
            self._log_transport, _ = await asyncio.get_running_loop().connect_read_pipe(
                lambda: LogPipe(self._log, self._log_closed), reader
            )
            control = self._guardian_end.fileno()
            # -I -S: no site, no environment, no folder of this file on the path (it holds an `http.py`)
            guardian_argv = [sys.executable, "-I", "-S", str(Path(guardian.__file__)), str(control), self._folder.path]
            try:
                process = await asyncio.create_subprocess_exec(
                    *guardian_argv,
                    *command,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log_write,
                    stderr=log_write,
                    env=env,
                    cwd=cwd,
                    pass_fds=(control,),
                    start_new_session=True,
                )
            except OSError as error:
                raise LoadFailed(f"{self.name} cannot be started: {error}", retryable=False) from error
        finally:
            os.close(log_write)
            self._guardian_end.close()
        self._guardian_pid = process.pid
        self._watch = asyncio.create_task(self._follow(process), name=f"watch {self.name}")

    async def _follow(self, process: asyncio.subprocess.Process) -> None:
        """Read what the guardian tells until it ends; then set the report."""
        loop = asyncio.get_running_loop()
        heard = b""
        with contextlib.suppress(OSError):
            while data := await loop.sock_recv(self._control, 4096):
                heard += data
                self._hear_start(heard)
        await process.wait()
        self._guardian_pid = 0
        end = heard.decode("utf-8", "replace").strip().rpartition("\n")[2]
        kind, _, value = end.partition(" ")
        if kind not in {"exited", "killed"}:  # the guardian itself was killed
            self._end_group()
        await self._drain_log()
        self._close()
        if not self._started.done():
            self._started.set_result("its guardian ended before it")
        self._report.set_result(self._make_report(kind, value))

    def _hear_start(self, heard: bytes) -> None:
        if self._started.done():
            return
        line, is_whole, _ = heard.decode("utf-8", "replace").partition("\n")
        kind, _, value = line.partition(" ")
        if not is_whole:
            return
        if kind == "started":
            self.pid = int(value)
            self._watch_engine()
        self._started.set_result(None if kind == "started" else value)

    def _make_report(self, kind: str, value: str) -> ExitReport:
        exit_code = int(value) if kind == "exited" else None
        number = int(value) if kind == "killed" else None
        if exit_code is not None:
            reason = f"{self.name} ended with exit code {exit_code}"
        elif number is not None:
            reason = f"{self.name} was ended by {_signal_name(number)}"
        else:
            reason = f"the guardian of {self.name} was ended, and {self.name} with it"
        if self._is_stopping:
            reason += ", as asked"
        return ExitReport(
            is_expected=self._is_stopping,
            reason=reason,
            exit_code=exit_code,
            signal=number,
            last_words=self.last_words,
        )

    async def _answers(self, is_ready: Callable[[], Awaitable[bool]], inert: asyncio.Future[None]) -> bool:
        question = asyncio.ensure_future(is_ready())
        either: set[asyncio.Future[Any]] = {question, self._report, inert}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if self._report.done():
                report = self._report.result()
                raise LoadFailed(f"{report.reason} while loading.", last_words=report.last_words)
            if inert.done():
                raise self.inert()
            return question.result()
        except (EngineError, TimeoutError):
            return False
        finally:
            if not question.done():
                question.cancel()
            await asyncio.gather(question, return_exceptions=True)

    def _end_group(self) -> None:
        if self.pid:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def _signal_guardian(self, number: int) -> None:
        if self._guardian_pid and not self._report.done():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._guardian_pid, number)

    def _watch_engine(self) -> None:
        """Hear of the engine's end from the system, too: a guardian that is stopped does not tell of it."""
        if sys.platform == "linux":
            with contextlib.suppress(OSError):  # it has ended already, which the guardian knows
                self._engine_end = os.pidfd_open(self.pid)
                asyncio.get_running_loop().add_reader(self._engine_end, self._hear_end)

    def _hear_end(self) -> None:
        self._watch_engine_no_more()
        self._hurrying = asyncio.create_task(self._hurry_guardian(), name=f"end of {self.name}")

    def _watch_engine_no_more(self) -> None:
        descriptor, self._engine_end = self._engine_end, -1
        if descriptor >= 0:
            asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)

    async def _hurry_guardian(self) -> None:
        done, _ = await asyncio.wait([self._report], timeout=_GUARDIAN_SLACK_S)
        if not done:
            await self._see_to_end(_GUARDIAN_SLACK_S)

    async def _see_to_end(self, most_s: float) -> None:
        """Wait for the end that has begun: a guardian that was stopped goes on, one that does not end it is killed."""
        self._signal_guardian(signal.SIGCONT)
        done, _ = await asyncio.wait([self._report], timeout=most_s)
        if not done:
            self._end_group()
            self._signal_guardian(signal.SIGKILL)
            await asyncio.shield(self._report)

    async def _abandon(self) -> None:
        """End what `start` has begun; closing the control socket makes the guardian end the group."""
        self._is_stopping = True
        if self._watch is not None:
            self._control.shutdown(socket.SHUT_WR)
            await self._see_to_end(_GUARDIAN_SLACK_S)
        else:
            await self._drain_log()
            self._close()

    async def _drain_log(self) -> None:
        if self._log_transport is not None:
            await asyncio.wait([self._log_closed], timeout=_LOG_DRAIN_S)
            self._log_transport.close()

    def _close(self) -> None:
        self._watch_engine_no_more()
        self._control.close()
        self._guardian_end.close()
        self._folder.remove()

    def _log(self, text: str) -> None:
        self._lines.append(text)
        if self._on_log is not None:
            try:
                self._on_log(LogLine(level_of(text), text))
            except Exception:  # an observer's fault must not stop the draining of the log
                logging.getLogger(__name__).exception("log observer failed")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"

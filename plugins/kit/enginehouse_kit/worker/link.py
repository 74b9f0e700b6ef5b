"""A worker process and the router's connection to it; `worker.WorkerBackend` makes backends of it."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

import enginehouse_kit
import enginehouse_plugin
from enginehouse_kit.process.child import Child
from enginehouse_kit.process.logs import LogLine
from enginehouse_plugin.backend import ExitReport, OnProgress
from enginehouse_plugin.errors import (
    EngineDied,
    EnginehouseError,
    EngineUnavailable,
    InvalidRequest,
    LoadFailed,
)
from enginehouse_plugin.events import EVENTS_VERSION, AnyEvent
from enginehouse_plugin.hooks import API_VERSION
from enginehouse_plugin.request import GenerationRequest
from enginehouse_plugin.run import Run, Sink

from .frames import (
    RESULTS,
    Call,
    Cancel,
    Closed,
    Emitted,
    Failure,
    Frame,
    FrameConnection,
    Generate,
    Hello,
    Pause,
    Progressed,
    Resume,
    Return,
    Welcome,
    encode,
    received_error,
)

START_TIMEOUT_S = 120.0
"""For the interpreter to start and the engine's modules to be imported."""
_GRACE_S = 0.5
_UNSENDABLE = (OverflowError, UnicodeEncodeError, RecursionError)
"""What encoding may raise: for integers of more than 64 bits, which JSON may hold, for halves of characters, and for
values that are nested too deeply."""

# The engine's interpreter may lack the contract and the plugin: it then gets these packages, and nothing
# else, from where the router has them. (PYTHONPATH would put all of the router's packages before the engine's.)
_BOOTSTRAP = """
import importlib.util, json, sys
packages, socket_path, target = json.loads(sys.argv[1])
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name in packages:
            origin, folders = packages[name]
            return importlib.util.spec_from_file_location(name, origin, submodule_search_locations=folders)
sys.path[:] = [entry for entry in sys.path if entry]
sys.meta_path.append(Finder)
for needed in ("msgspec", "pluggy"):
    if importlib.util.find_spec(needed) is None:
        sys.exit(f"This interpreter lacks '{needed}': {sys.executable} -m pip install msgspec pluggy")
from enginehouse_kit.worker.guest import serve
serve(socket_path, target)
"""


class _WorkerRun(Run):
    """A generation in the worker, from its sink's side."""

    __slots__ = ("_identity", "_is_over", "_is_released", "_link", "_released", "_sink")

    def __init__(self, link: WorkerLink, identity: int, sink: Sink) -> None:
        self._sink = sink
        self._link = link
        self._identity = identity
        self._is_over = False  # for the sink
        self._is_released = False
        self._released: asyncio.Future[None] | None = None

    def pause(self) -> None:
        """See `Run.pause`; the worker's other streams go on."""
        if not self._is_over:
            self._link.send(Pause(self._identity))

    def resume(self) -> None:
        """See `Run.resume`."""
        if not self._is_over:
            self._link.send(Resume(self._identity))

    def cancel(self) -> None:
        """See `Run.cancel`."""
        if not self._is_over:
            self._is_over = True
            self._link.send(Cancel(self._identity))

    async def wait_released(self) -> None:
        """See `Run.wait_released`."""
        if not self._is_released:
            if self._released is None:
                self._released = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._released)

    def take(self, events: Sequence[AnyEvent]) -> None:
        """Pass *events* on (for the link)."""
        if not self._is_over:
            self._sink.events(events)

    def end(self, error: Exception | None) -> None:
        """The worker is done with it, and its slot is free (for the link)."""
        self._is_released = True
        if self._released is not None:
            self._released.set_result(None)
        if not self._is_over:
            self._is_over = True
            self._sink.end(error)


class WorkerLink:
    """A worker process and the connection to it."""

    def __init__(self, name: str, child: Child) -> None:
        self.name = name
        self.child = child
        self._last_id = 0
        self._calls: dict[int, asyncio.Future[msgspec.Raw]] = {}
        self._progress: dict[int, OnProgress] = {}
        self._runs: dict[int, _WorkerRun] = {}
        self._welcome: asyncio.Future[Welcome] = asyncio.get_running_loop().create_future()
        self._connection = FrameConnection(self._take, self._lose)
        self._is_open = False
        self._ending: asyncio.Task[None] | None = None
        self._own_report: ExitReport | None = None

    @classmethod
    async def start(
        cls,
        name: str,
        target: str,
        python: str,
        *,
        env: Mapping[str, str],
        on_log: Callable[[LogLine], None] | None,
    ) -> WorkerLink:
        """Start a worker and greet it.

        Raises:
            LoadFailed: it ended before it answered, or speaks another version.
        """
        packages = _offered_packages(target)
        child = await Child.start(
            name,
            lambda path: [python, "-u", "-c", _BOOTSTRAP, json.dumps([packages, path, target])],
            env=env,
            on_log=on_log,
        )
        link = cls(name, child)
        await child.wait_ready(link._connects, timeout_s=START_TIMEOUT_S, poll_s=0.02)
        try:
            link._check_versions(await link._welcomed())
        except BaseException:
            await link.stop()
            raise
        return link

    async def call(self, method: str, *arguments: object, on_progress: OnProgress | None = None) -> Any:
        """Call *method* in the worker; its result has the type that `RESULTS` says."""
        self._refuse_if_closed()
        identity = self._next_id()
        with _refusing_the_unsendable(arguments):
            call = Call(identity, method, msgspec.Raw(encode(arguments)))
        answer: asyncio.Future[msgspec.Raw] = asyncio.get_running_loop().create_future()
        self._calls[identity] = answer
        if on_progress is not None:
            self._progress[identity] = on_progress
        self._connection.send(call)
        try:
            value = await answer
        except asyncio.CancelledError:
            self._connection.send(Cancel(identity))
            raise
        finally:
            self._calls.pop(identity, None)
            self._progress.pop(identity, None)
        kind = RESULTS.get(method)
        return msgspec.msgpack.decode(value, type=kind) if kind is not None else None

    def generate(self, request: GenerationRequest, sink: Sink) -> Run:
        """Generate in the worker, the events pushed into *sink*.

        Raises:
            InvalidRequest: a frame cannot hold a value of the request.
            EngineUnavailable: the worker has ended.
        """
        self._refuse_if_closed()
        identity = self._next_id()
        with _refusing_the_unsendable((request,)):
            self._connection.send(Generate(identity, request))
        run = self._runs[identity] = _WorkerRun(self, identity, sink)
        return run

    def send(self, frame: Frame) -> None:
        """Send *frame* (for runs)."""
        self._connection.send(frame)

    async def stop(self) -> None:
        """End the worker. Idempotent."""
        self._connection.close()
        await self.child.stop(_GRACE_S)
        if self._ending is not None:
            await asyncio.shield(self._ending)

    async def wait_closed(self) -> ExitReport:
        """Wait for the end; the instance's own reason goes before the process's."""
        report = await self.child.wait_closed()
        own = self._own_report
        return report if own is None else msgspec.structs.replace(own, last_words=own.last_words or report.last_words)

    # ---- inside ----

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def _refuse_if_closed(self) -> None:
        if not self._is_open:
            raise EngineUnavailable(f"The {self.name} has ended.")

    async def _connects(self) -> bool:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_unix_connection(lambda: self._connection, self.child.socket_path)
        except OSError:
            return False
        self._is_open = True
        self._connection.send(Hello(API_VERSION, EVENTS_VERSION))
        return True

    async def _welcomed(self) -> Welcome:
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                return await self._welcome
        except TimeoutError as error:
            raise LoadFailed(f"The {self.name} did not answer.", last_words=self.child.last_words) from error
        except EngineDied as error:
            raise LoadFailed(error.message, last_words=error.last_words) from error

    def _check_versions(self, welcome: Welcome) -> None:
        """Refuse a worker that speaks another major version of the contract.

        Raises:
            LoadFailed: it does; not retryable.
        """
        if welcome.api_version.split(".")[0] != API_VERSION.split(".")[0] or welcome.events_version < EVENTS_VERSION:
            raise LoadFailed(
                f"The {self.name} speaks version {welcome.api_version} of the plugin contract (events "
                f"{welcome.events_version}), this router {API_VERSION} (events {EVENTS_VERSION}). Install the same "
                "major version of enginehouse-plugin in the worker's environment.",
                retryable=False,
            )

    def _take(self, frames: list[Frame]) -> None:
        """Take the frames of one read: the events of each stream in it make one batch."""
        batches: dict[int, list[AnyEvent]] = {}
        for frame in frames:
            if type(frame) is Emitted:  # one for each token: `isinstance` is slow on structs
                batches.setdefault(frame.id, []).extend(frame.events)
            elif isinstance(frame, Return | Failure):
                self._push(frame.id, batches.pop(frame.id, ()))
                self._finish(frame)
            elif isinstance(frame, Progressed):
                if frame.id in self._progress:
                    self._progress[frame.id](frame.progress)
            elif isinstance(frame, Welcome):
                if not self._welcome.done():
                    self._welcome.set_result(frame)
            elif isinstance(frame, Closed):
                self._own_report = frame.report
                self._connection.close()
        for identity, events in batches.items():
            self._push(identity, events)

    def _push(self, identity: int, events: Sequence[AnyEvent]) -> None:
        run = self._runs.get(identity)
        if run is not None and events:
            run.take(events)

    def _finish(self, frame: Return | Failure) -> None:
        call = self._calls.get(frame.id)
        if isinstance(frame, Failure):
            self._fail(frame.id, received_error(frame.error))
        elif frame.id in self._runs:
            self._runs.pop(frame.id).end(None)
        elif call is not None and not call.done():
            call.set_result(frame.value)

    def _fail(self, identity: int, error: EnginehouseError) -> None:
        if identity in self._runs:
            self._runs.pop(identity).end(error)
        elif identity in self._calls and not self._calls[identity].done():
            self._calls[identity].set_exception(error)

    def _lose(self, exc: Exception | None) -> None:
        self._is_open = False
        self._ending = asyncio.get_running_loop().create_task(self._end(exc))

    async def _end(self, exc: Exception | None) -> None:
        """Tell all who wait why the worker ended; one that lives without its connection is of no use."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_GRACE_S):
                await self.child.wait_closed()
        await self.child.stop(_GRACE_S)
        report = await self.wait_closed()
        message = f"{report.reason}." if exc is None else f"The connection to the {self.name} broke: {exc}"
        for identity in (*self._runs, *self._calls):
            self._fail(identity, EngineDied(message, last_words=report.last_words))
        if not self._welcome.done():
            self._welcome.set_exception(EngineDied(message, last_words=report.last_words))
            self._welcome.exception()  # it counts as seen: perhaps nobody waits for it


@contextmanager
def _refusing_the_unsendable(arguments: tuple[object, ...]) -> Iterator[None]:
    """Turn what a frame cannot hold into the error that names the field of the request among *arguments*."""
    try:
        yield
    except _UNSENDABLE as error:
        for request in arguments:
            if isinstance(request, GenerationRequest):
                param = _unsendable_field(request)
                raise InvalidRequest(
                    f"'{param}' holds what cannot be passed to this engine: {error}.", param=param
                ) from error
        raise


def _unsendable_field(request: GenerationRequest) -> str | None:
    for name in request.__struct_fields__:
        try:
            encode(getattr(request, name))
        except _UNSENDABLE:
            return {"output": "response_format", "prompt": "messages"}.get(name, name)
    return None


def _offered_packages(target: str) -> dict[str, tuple[str, list[str] | None]]:
    packages: dict[str, tuple[str, list[str] | None]] = {}
    for package in (enginehouse_plugin, enginehouse_kit):
        origin = Path(str(package.__file__))
        packages[package.__name__] = (str(origin), [str(origin.parent)])
    top = target.partition(":")[0].partition(".")[0]
    spec = importlib.util.find_spec(top)
    if spec is not None and spec.has_location and spec.origin is not None:
        packages[top] = (spec.origin, list(spec.submodule_search_locations or ()) or None)
    return packages

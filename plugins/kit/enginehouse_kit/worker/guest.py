"""The inside of a worker: hosts any ordinary `Backend` and serves one router over a Unix socket.

Started by `worker.WorkerBackend` as `serve(socket_path, "module:Class")` in the engine's interpreter.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import os
import sys
import traceback
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

import enginehouse_plugin
from enginehouse_plugin import backend as contract
from enginehouse_plugin.backend import Backend, BackendType, Instance, LoadProgress, Placement
from enginehouse_plugin.errors import EnginehouseError, EngineUnavailable
from enginehouse_plugin.events import EVENTS_VERSION, AnyEvent
from enginehouse_plugin.hooks import API_VERSION
from enginehouse_plugin.run import Run

from .frames import (
    ABILITIES,
    ARGUMENTS,
    Call,
    Cancel,
    Closed,
    Emitted,
    Failure,
    Frame,
    FrameConnection,
    Generate,
    Hello,
    Loaded,
    Pause,
    Progressed,
    Resume,
    Return,
    SentPlacement,
    Welcome,
    encode,
    sent_error,
)


def found(target: str) -> Any:  # Any: whatever stands there
    """Return what `module:name` names."""
    module, _, name = target.partition(":")
    value: Any = importlib.import_module(module)
    for part in name.split("."):
        value = getattr(value, part)
    return value


def serve(socket_path: str, target: str) -> None:
    """Make the backend that *target* names (a `Backend` class or a `BackendType`) and serve until the router leaves."""
    made = found(target)
    backend = made.create() if isinstance(made, BackendType) else made()
    if not isinstance(backend, Backend):
        raise TypeError(f"'{target}' makes no Backend but {type(backend).__name__}.")
    asyncio.run(_Guest(backend).run(socket_path))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # threads of the engine must not keep the process


class _Guest:
    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._instance: Instance | None = None
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._watch: asyncio.Task[None] | None = None
        self._is_over = asyncio.Event()
        self._generations: dict[int, _Generation] = {}
        self._is_writable = True
        self._connection = FrameConnection(self._take, lambda _: self._is_over.set(), self._set_writable)

    async def run(self, socket_path: str) -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(lambda: self._connection, socket_path)
        await self._is_over.wait()
        server.close()
        for task in self._tasks.values():
            task.cancel()
        runs = [generation.run for generation in self._generations.values()]
        for run in runs:
            run.cancel()
        await asyncio.gather(*self._tasks.values(), *(run.wait_released() for run in runs), return_exceptions=True)
        if self._instance is not None:
            await self._instance.unload()

    def _take(self, frames: list[Frame]) -> None:
        for frame in frames:
            if isinstance(frame, Generate):
                self._generate(frame)
            elif isinstance(frame, Call):
                self._begin(frame.id, functools.partial(self._call, frame))
            elif isinstance(frame, Hello):
                self._connection.send(Welcome(API_VERSION, EVENTS_VERSION))
            elif isinstance(frame, Cancel) and frame.id in self._tasks:
                self._tasks[frame.id].cancel()
            elif isinstance(frame, Cancel | Pause | Resume) and frame.id in self._generations:
                self._steer(frame, self._generations[frame.id])

    def _steer(self, frame: Cancel | Pause | Resume, generation: _Generation) -> None:
        if isinstance(frame, Cancel):
            del self._generations[frame.id]
            generation.run.cancel()
            self._begin(frame.id, generation.run.wait_released)
        else:
            generation.is_paused = isinstance(frame, Pause)
            generation.flow(is_writable=self._is_writable)

    def _set_writable(self, is_writable: bool) -> None:
        self._is_writable = is_writable
        for generation in list(self._generations.values()):  # one may end in the call
            generation.flow(is_writable=is_writable)

    def _begin(self, identity: int, work: Callable[[], Awaitable[object]]) -> None:
        task = asyncio.create_task(self._answer(identity, work))
        self._tasks[identity] = task
        task.add_done_callback(lambda _: self._tasks.pop(identity))

    async def _answer(self, identity: int, work: Callable[[], Awaitable[object]]) -> None:
        try:
            value = await work()
        except Exception as error:  # noqa: BLE001  # outermost handler: whatever went wrong is the router's to know
            self._fail(identity, error)
        else:
            self._connection.send(Return(identity, msgspec.Raw(encode(value))))

    def _fail(self, identity: int, error: Exception) -> None:
        if not isinstance(error, EnginehouseError):
            traceback.print_exception(error)
        self._connection.send(Failure(identity, sent_error(error)))

    def _generate(self, frame: Generate) -> None:
        try:
            generation = _Generation(self, frame.id)
            generation.run = self._loaded().start(frame.request, generation)
        except Exception as error:  # noqa: BLE001  # outermost handler, as in `_answer`
            self._fail(frame.id, error)
            return
        self._generations[frame.id] = generation
        if not self._is_writable:
            generation.flow(is_writable=False)

    def emit(self, identity: int, events: Sequence[AnyEvent]) -> None:
        """Send *events* of a generation."""
        self._connection.send(Emitted(identity, tuple(events)))

    def end(self, identity: int, error: Exception | None) -> None:
        """Send the end of a generation."""
        self._generations.pop(identity, None)
        if error is None:
            self._connection.send(Return(identity))
        else:
            self._fail(identity, error)

    async def _call(self, call: Call) -> object:
        arguments = msgspec.msgpack.decode(call.arguments, type=ARGUMENTS[call.method])
        if call.method == "probe":
            return await self._backend.probe()
        if call.method == "fit":
            return await self._backend.fit(_placement(arguments[0]), arguments[1])
        if call.method == "recommended":
            return await self._backend.recommended(_placement(arguments[0]))
        if call.method == "load":
            return await self._load(call.id, _placement(arguments[0]), arguments[1])
        result: object = await getattr(self._loaded(), call.method)(*arguments)
        return result

    async def _load(self, identity: int, placement: Placement, devices: tuple[contract.Device, ...]) -> Loaded:
        loop = asyncio.get_running_loop()

        def progress(step: LoadProgress) -> None:  # engines load in threads
            loop.call_soon_threadsafe(self._connection.send, Progressed(identity, step))

        instance = self._instance = await self._backend.load(placement, devices, progress)
        await asyncio.sleep(0)  # steps that were told just now go before the result
        self._watch = asyncio.create_task(self._report_the_end(instance))
        abilities = frozenset(name for name in ABILITIES if isinstance(instance, getattr(enginehouse_plugin, name)))
        return Loaded(instance.capabilities, abilities)

    async def _report_the_end(self, instance: Instance) -> None:
        self._connection.send(Closed(await instance.wait_closed()))

    def _loaded(self) -> Instance:
        if self._instance is None:
            raise EngineUnavailable("Nothing is loaded in this worker.")
        return self._instance


class _Generation:
    """The sink of one generation: sends what comes; paused by its reader, or while the socket is full."""

    run: Run

    def __init__(self, guest: _Guest, identity: int) -> None:
        self.is_paused = False
        self._guest = guest
        self._identity = identity

    def events(self, batch: Sequence[AnyEvent]) -> None:
        self._guest.emit(self._identity, batch)

    def end(self, error: Exception | None) -> None:
        self._guest.end(self._identity, error)

    def flow(self, *, is_writable: bool) -> None:
        if self.is_paused or not is_writable:
            self.run.pause()
        else:
            self.run.resume()


def _placement(sent: SentPlacement) -> Placement:
    kind = found(sent.options_type) if sent.options_type else Any
    options = msgspec.msgpack.decode(sent.options, type=kind)
    return msgspec.structs.replace(sent.placement, options=options)

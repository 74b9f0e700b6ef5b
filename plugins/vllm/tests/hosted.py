"""One loaded model that all tests share, kept by a thread of its own: its log is read whatever the tests do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

from enginehouse_kit.process.child import Child
from enginehouse_plugin import Backend, BackendType, Device, ExitReport, OnProgress, Placement, ProbeReport
from enginehouse_vllm import enginehouse_backends
from enginehouse_vllm.backend import VllmBackend
from enginehouse_vllm.instance import VllmInstance
from enginehouse_vllm.options import VllmOptions
from enginehouse_vllm.server import Server

_T = TypeVar("_T")


class Hosted:
    """The engine. `attach` gives an instance of it for the caller's own event loop."""

    def __init__(self, placement: Placement, devices: tuple[Device, ...]) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="vllm of the tests")
        self._thread.start()
        try:
            self._instance: VllmInstance = self._run(VllmBackend().load(placement, devices, lambda _: None))
        except BaseException:
            self._end()
            raise

    @property
    def pid(self) -> int:
        """The API server's process."""
        return self._instance._child.pid

    @property
    def socket_path(self) -> str:
        """Where it listens."""
        return self._instance._child.socket_path

    def attach(self) -> VllmInstance:
        """An instance whose unloading closes its connections and leaves the engine."""
        model = self._instance._model
        server = Server(self.socket_path, self._instance._server.model)
        return VllmInstance(cast("Child", _Borrowed()), server, model)

    def backend(self) -> BackendType:
        """A backend whose instances are attached ones."""
        (offered,) = enginehouse_backends()
        attach = self.attach
        return BackendType(
            name=offered.name,
            version=offered.version,
            create=lambda: _Attaching(attach),
            options=VllmOptions,
            kinds=offered.kinds,
        )

    def close(self) -> None:
        """End the engine and the thread."""
        try:
            self._run(self._instance.unload())
        finally:
            self._end()

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:  # an interrupted test run must not leave the engine
            future.cancel()
            asyncio.run_coroutine_threadsafe(_rest(), self._loop).result()
            raise

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _rest() -> None:
    """Wait until the other tasks of this loop have ended, those that keep the engine apart."""
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    await asyncio.wait(others) if others else None


class _Borrowed:
    """Stands for the engine's process, which somebody else ends."""

    async def stop(self, grace_s: float = 0.0) -> None:
        """Nothing."""

    async def wait_closed(self) -> ExitReport:
        """For ever."""
        return await asyncio.get_running_loop().create_future()


class _Attaching(Backend):
    def __init__(self, attach: Callable[[], VllmInstance]) -> None:
        self._attach = attach

    async def probe(self, python: str | None = None) -> ProbeReport:
        return await VllmBackend().probe(python)

    async def load(self, placement: Placement, devices: tuple[Device, ...], progress: OnProgress) -> VllmInstance:
        return self._attach()

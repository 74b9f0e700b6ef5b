"""What runs on each node: says what the node has, and runs engines there, each in a process of its own.

One actor of Ray for each node, which all routers share. An engine's process ends when its standard input does: so with
the actor, however that ends. Engines that no router has wanted for `LINGER_S` are ended.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import Final

import msgspec

from enginehouse import __version__, hardware
from enginehouse.plugins import Plugins
from enginehouse.weights import resolve
from enginehouse_plugin import Device
from enginehouse_plugin.errors import EnginehouseError

from .messages import Answer, EngineHere, EngineTold, NodeTold, Order, Problem, Said, Spec, encode, engine_key
from .node import token_file
from .tables import bound, on_node, those

LINGER_S: Final = 600.0
_SETTLED_S: Final = 10.0
"""A router that began to want an engine so long ago, and does not name it any more, wants it no more."""
_BEAT_S: Final = 1.0
_SURVEY_S: Final = 5.0
_SURVEYS_BETWEEN: Final = 12
"""Engines are asked for so much less often than devices."""
_END_S: Final = 20.0
_ENGINE: Final = ("-c", "from enginehouse.cli import main; main()", "cluster", "engine")

_decode_spec = msgspec.json.Decoder(Spec).decode
_decode_said = msgspec.json.Decoder(Said).decode


class _Engine:
    """One engine and its process; `wanted` says since when and until when each router has wanted it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.told = EngineTold()
        self.wanted: dict[str, tuple[float, float]] = {}
        self.settled = asyncio.Event()
        self.process = process
        self.task: asyncio.Task[None] | None = None

    def want(self, router: str) -> None:
        now = time.monotonic()
        self.wanted[router] = (self.wanted.get(router, (now, now))[0], now)


class Agent:
    """The agent of the node at *address*. Its methods are called by bridges, through Ray."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._plugins = Plugins.load()
        self._engines: dict[str, _Engine] = {}
        self._devices: tuple[Device, ...] = ()
        self._backends: dict[str, EngineHere] = {}
        self._looking: asyncio.Task[None] | None = None
        self._has_looked = asyncio.Event()
        self._news = asyncio.Event()
        self._version = 0
        self._beginning = asyncio.Lock()
        self._ending: set[asyncio.Task[None]] = set()

    async def beat(self, router: str, wanted: list[str], version: int) -> tuple[int, bytes]:
        """Hear that *router* wants the engines *wanted*; returns what the node tells, once that is not *version*, or
        soon after.
        """
        self._keep(router, wanted)
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        await self._has_looked.wait()
        if version == self._version:
            try:
                async with asyncio.timeout(_BEAT_S):
                    await self._news.wait()
            except TimeoutError:
                pass
        engines = {key: engine.told for key, engine in self._engines.items()}
        told = NodeTold(enginehouse=__version__, devices=self._devices, backends=self._backends, engines=engines)
        return self._version, encode(told)

    async def fit(self, number: int, encoded: bytes) -> bytes:
        """What a spec would take of this node's devices, in an `Answer`; its weights are fetched for that."""
        spec = _decode_spec(encoded)
        try:
            config = bound(spec, self._plugins.backends)
            kind = self._plugins.backends[config.models[spec.model].placements[0].backend]
            source = config.models[spec.model].placements[0].source
            path = str(await asyncio.to_thread(resolve, source)) if kind.needs_weights else None
            fit = await kind.create().fit(on_node(spec, config, path), those(self._devices, spec.devices))
        except EnginehouseError as error:
            problem = Problem(message=error.message, code=error.code, retryable=error.retryable)
            return encode(Answer(number, problem=problem))
        except Exception as error:  # noqa: BLE001  # a plugin's fault costs no other engine here
            return encode(Answer(number, problem=Problem(message=f"{type(error).__name__}: {error}", retryable=False)))
        return encode(Answer(number, footprint=fit.footprint_bytes))

    async def start(self, number: int, router: str, key: str, encoded: bytes) -> bytes:
        """Run a spec under *key*, unless that runs already; answers when requests may go there, or it has ended."""
        async with self._beginning:
            engine = self._engines.get(key)
            if engine is None or engine.told.state == "ended":
                engine = await self._begin(key, _decode_spec(encoded))
        engine.want(router)
        await engine.settled.wait()
        told = engine.told
        if told.state == "ready":
            return encode(Answer(number, engine=told))
        return encode(Answer(number, problem=Problem(message=told.reason, last_words=told.last_words)))

    async def stop(self, number: int, router: str, key: str) -> bytes:
        """End the engine *key* unless another router wants it; answers when it has ended."""
        engine = self._engines.get(key)
        if engine is not None:
            engine.wanted.pop(router, None)
            if not engine.wanted:
                await self._end(key, "no router wants it any more")
        return encode(Answer(number))

    # ---- engines ----

    async def _begin(self, key: str, spec: Spec) -> _Engine:
        token = await asyncio.to_thread(token_file().read_text, "utf-8")
        digest = hashlib.sha256(engine_key(token).encode()).hexdigest()
        process = await asyncio.create_subprocess_exec(
            sys.executable, *_ENGINE,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env=dict(os.environ), limit=1 << 20, start_new_session=True,
        )  # fmt: skip
        engine = self._engines[key] = _Engine(process)
        if process.stdin is not None:  # it is a pipe
            process.stdin.write(encode(Order(spec=spec, host=self._address, key_sha256=digest)) + b"\n")
        engine.task = asyncio.create_task(self._follow(engine))
        self._tell()
        return engine

    async def _follow(self, engine: _Engine) -> None:
        """Hear what *engine* says until it ends."""
        process, words = engine.process, deque[str](maxlen=20)
        drained = asyncio.create_task(_drain(process.stderr, words))
        url = ""
        reason = ""
        async for line in _lines(process.stdout):
            said = _decode_said(line)
            url = said.url or url
            reason = said.reason if said.state == "failed" else reason
            if said.state == "ready" and await self._is_healthy(url):
                engine.told = EngineTold(state="ready", url=url, capacity=said.capacity)
                engine.settled.set()
                self._tell()
        code = await process.wait()
        await drained
        reason = reason or f"its process has ended with status {code}"
        engine.told = EngineTold(state="ended", reason=reason, last_words=tuple(words))
        engine.settled.set()
        self._tell()

    async def _is_healthy(self, url: str) -> bool:
        """Whether what listens at *url* answers /health, which is what ready means."""
        host, _, port = url.removeprefix("http://").rpartition(":")
        try:
            async with asyncio.timeout(_END_S):
                reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
                try:
                    writer.write(f"GET /health HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n".encode())
                    return (await reader.readline()).split()[1:2] == [b"200"]
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return False

    async def _end(self, key: str, reason: str) -> None:
        engine = self._engines.pop(key, None)
        if engine is None:
            return
        process = engine.process
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(_END_S):
                await process.wait()
        except TimeoutError:
            process.kill()
        print(f"engine {key} ended: {reason}", file=sys.stderr, flush=True)
        self._tell()

    def _keep(self, router: str, wanted: list[str]) -> None:
        now = time.monotonic()
        for key, engine in list(self._engines.items()):
            if key in wanted:
                engine.want(router)
            elif router in engine.wanted and now - engine.wanted[router][0] > _SETTLED_S:
                del engine.wanted[router]
            lately = [last for _, last in engine.wanted.values() if now - last < LINGER_S]
            if not lately and engine.settled.is_set():
                task = asyncio.create_task(self._end(key, "no router wants it any more"))
                self._ending.add(task)
                task.add_done_callback(self._ending.discard)

    def _tell(self) -> None:
        self._version += 1
        self._news.set()
        self._news = asyncio.Event()

    # ---- what there is ----

    async def _look(self) -> None:
        """Look at devices and engines again and again, beside everything else: engines may take seconds to say."""
        while True:
            self._backends = await self._probed()
            for _ in range(_SURVEYS_BETWEEN):
                self._devices = await asyncio.to_thread(self._survey)
                self._has_looked.set()
                await asyncio.sleep(_SURVEY_S)

    def _survey(self) -> tuple[Device, ...]:
        return hardware.merged(hardware.devices(), self._plugins.devices())

    async def _probed(self) -> dict[str, EngineHere]:
        found: dict[str, EngineHere] = {}
        for name, kind in self._plugins.backends.items():
            try:
                report = await kind.create().probe()
            except Exception as error:  # noqa: BLE001  # a plugin's fault costs its own engine alone
                found[name] = EngineHere(problem=f"it cannot be asked: {type(error).__name__}: {error}")
                continue
            problem = None if report.available else f"{report.engine} is not installed there"
            if problem is not None and report.fix:
                problem += f"; there: {report.fix}"
            found[name] = EngineHere(version=report.engine_version, problem=problem)
        return found


async def _lines(stream: asyncio.StreamReader | None) -> AsyncIterator[bytes]:
    """The lines of *stream*; one that is too long to be a message is left out."""
    while stream is not None:
        try:
            line = await stream.readline()
        except ValueError:
            continue
        if not line:
            return
        yield line


async def _drain(stream: asyncio.StreamReader | None, words: deque[str]) -> None:
    """Keep the last lines of *stream* in *words*, and hand all on to Ray's log of this node."""
    async for line in _lines(stream):
        text = line.decode("utf-8", "replace").rstrip()
        words.append(text)
        print(text, file=sys.stderr, flush=True)

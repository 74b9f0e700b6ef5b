"""`python -m tests.bench.in_process`: what a request costs in the router's own code, without sockets.

The house of the bench, with keys, usage, metrics and log, answers on connections whose transports keep what is
written; its engine's connections are fed the upstream's answers. Sixteen requests are under way at a time. Prints the
processor time of the event loop's thread and of the whole process, and the calls of Python functions, each per
request. Compiled functions are no calls of Python's. `--instances 64 --prefer fastest` has the model served by so many:
what it takes more than one is the choice, and the memory that it goes through.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import hashlib
import json
import os
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import uvloop
from tests.bench import accounts, instances, load, peers, upstream
from tests.bench.figures import spread

from enginehouse import assembly
from enginehouse.config import Prefer, bind, load_config
from enginehouse.http import connection
from enginehouse.http.connection import Connection
from enginehouse.http.limits import Limits
from enginehouse.http.shared import Shared
from enginehouse.plugins import Plugins
from enginehouse.telemetry import configure_logging
from enginehouse_kit.http.connection import Connection as EngineConnection
from tests import relay_backend

CONNECTIONS = 16
PREFERENCES = get_args(Prefer)


class Kept(asyncio.Transport):
    """A transport to nowhere."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.written = 0

    def write(self, data: Any) -> None:
        self.written += len(data)

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def abort(self) -> None:
        pass

    def close(self) -> None:
        pass


class Asked(Kept):
    """One of a connection to an engine, which is in *asked* once it was written to."""

    def __init__(self, connection: EngineConnection, asked: list[EngineConnection]) -> None:
        super().__init__()
        self._connection = connection
        self._asked = asked

    def write(self, data: Any) -> None:
        super().write(data)
        self._asked.append(self._connection)


def request(*, stream: bool, key: str = load.KEY) -> bytes:
    """What a client of the bench sends."""
    body = json.dumps(load.BODY | ({"stream": True} if stream else {}), separators=(",", ":")).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {key}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Bench:
    """A house with connections of clients and of an engine, all of them to nowhere."""

    def __init__(self, house: assembly.House, loop: asyncio.AbstractEventLoop, connections: int) -> None:
        self.house = house
        self.shared = Shared(house.app.handle, Limits())
        self.asked: list[EngineConnection] = []
        self.clients: list[Connection] = []
        self.taken: list[Kept] = []  # what clients are written
        self._to_nowhere: list[tuple[Any, list[EngineConnection]]] = []  # engines' clients with their connections

        async def is_ready() -> None:
            """Be asked on no connection."""

        for hosted in house.fleet.model("m").instances:
            instance: Any = hosted.instance
            instance.check_ready = is_ready
            engines = [EngineConnection(instance._client, loop) for _ in range(connections)]
            for engine in engines:
                engine.connection_made(Asked(engine, self.asked))
            self._to_nowhere.append((instance._client, engines))
        for _ in range(connections):
            place = self.shared.doors.admit("127.0.0.1")
            assert place is not None
            client = Connection(self.shared, place)
            self.taken.append(Kept())
            client.connection_made(self.taken[-1])
            self.clients.append(client)

    async def lease(self, sent: bytes) -> None:
        """Have real requests answered first, one on each connection: the first of a key waits for its credit."""
        for _ in range(2):
            for client in self.clients:
                client.data_received(sent)
            await self.answered()
        for client, engines in self._to_nowhere:
            for opened in client._open.difference(engines):
                opened.abort()
            client._idle[:] = engines

    async def answered(self) -> None:
        """Wait for all answers; those that are paid for are held back until it is written down."""
        while any(client._current is not None for client in self.clients):  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.001)

    async def round(self, sent: bytes, reads: list[bytes]) -> None:
        """One request on each connection, to its end."""
        for client in self.clients:
            client.data_received(sent)
        await asyncio.sleep(0)
        while len(self.asked) < len(self.clients):  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0)
        for data in reads:
            for engine in self.asked:
                engine.data_received(data)
            await asyncio.sleep(0)
        self.asked.clear()
        await self.answered()


async def built(config_file: Path) -> assembly.House:
    """The house of *config_file*, not started."""
    plugins = Plugins()
    plugins.add(relay_backend, "bench")
    return assembly.build(bind(load_config(str(config_file)), plugins.backends, {}), plugins, devices=())


async def warm(bench: Bench, sent: bytes, reads: list[bytes]) -> None:
    """Answer some requests, and see that each is answered whole."""
    for _ in range(20):
        await bench.round(sent, reads)
    await asyncio.sleep(0.2)
    before = [taken.written for taken in bench.taken]
    await bench.round(sent, reads)
    if any(taken.written - old < 200 for taken, old in zip(bench.taken, before, strict=True)):
        raise RuntimeError("A request has no answer.")


async def times_of(bench: Bench, sent: bytes, reads: list[bytes], rounds: int, number: int) -> tuple[str, str]:
    """Microseconds per request: of the loop's thread, and of all threads with what comes after the answers."""
    loop_us, all_us = [], []
    for _ in range(rounds):
        thread_s, process_s = time.thread_time(), time.process_time()
        for _ in range(number // len(bench.clients)):
            await bench.round(sent, reads)
        loop_us.append(1e6 * (time.thread_time() - thread_s) / number)
        await asyncio.sleep(0.1)
        all_us.append(1e6 * (time.process_time() - process_s) / number)
    return spread(loop_us, 1), spread(all_us, 1)


async def calls_of(bench: Bench, sent: bytes, reads: list[bytes]) -> Counter[str]:
    """How often each function of Python is called for one round."""
    counts: Counter[str] = Counter()

    def see(frame: Any, event: str, _: Any) -> None:
        if event == "call":
            code = frame.f_code
            counts[f"{code.co_filename.rpartition('enginehouse')[2]}:{code.co_name}"] += 1

    sys.setprofile(see)
    try:
        await bench.round(sent, reads)
    finally:
        sys.setprofile(None)
    return counts


async def measure(options: argparse.Namespace, config_file: Path, key: str) -> None:
    house = await built(config_file)
    async with house.app.lifespan():
        model = house.fleet.model("m")
        async with asyncio.timeout(30):
            while not model.instances or not all(hosted.instance for hosted in model.instances):  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0.01)
        bench = Bench(house, asyncio.get_running_loop(), options.connections)
        await bench.lease(request(stream=False, key=key))
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        sys.setswitchinterval(50e-6)
        for name, number in (("plain request", options.requests), ("stream of 64 chunks", options.streams)):
            is_stream = name != "plain request"
            sent, reads = request(stream=is_stream, key=key), upstream.reads(stream=is_stream)
            await warm(bench, sent, reads)
            loop_us, all_us = await times_of(bench, sent, reads, options.rounds, number)
            counts = await calls_of(bench, sent, reads)
            calls = counts.total() / len(bench.clients)
            print(f"{name}: loop {loop_us} µs, all threads {all_us} µs, {calls:.0f} calls", flush=True)
            if options.calls:
                print(
                    *(f"  {count / len(bench.clients):6.1f} {called}" for called, count in counts.most_common()),
                    sep="\n",
                )
    house.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.in_process", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=3200, help="plain ones, in each round")
    parser.add_argument("--streams", type=int, default=480, help="in each round")
    parser.add_argument("--connections", type=int, default=CONNECTIONS, help="with a request each at a time")
    parser.add_argument("--instances", type=int, default=1, help="of the model")
    parser.add_argument("--prefer", choices=PREFERENCES, default=PREFERENCES[0], help="of the model")
    parser.add_argument("--accounts", choices=accounts.LEVELS, help="those of the bench of accounts")
    parser.add_argument("--calls", action="store_true", help="list what is called")
    options = parser.parse_args()
    is_compiled = not str(connection.__file__).endswith(".py")
    print("compiled" if is_compiled else "not compiled")
    with tempfile.TemporaryDirectory() as name, peers.upstream(Path(name)) as (port, _):
        folder = Path(name)
        config_file, key = folder / "enginehouse.toml", load.KEY
        if options.accounts is not None:
            config_file, key = accounts.prepare(folder, options.accounts, 8000, port)
        else:
            digest = hashlib.sha256(key.encode()).hexdigest()
            model = instances.model(port, options.instances, options.prefer)
            config_file.write_text(peers.SERVER.format(port=8000, sha256=digest) + model)
        with (folder / "log").open("wb") as log:
            os.dup2(log.fileno(), 2)  # the log's lines
        configure_logging("json", "info")
        try:
            uvloop.run(measure(options, config_file, key))
        except BaseException:
            print(traceback.format_exc(), (folder / "log").read_text()[-2000:])
            raise


if __name__ == "__main__":
    main()

"""An engine for tests of the worker host; it does what the text of the request says."""

import asyncio
import os
import signal
import time

import msgspec

from enginehouse_plugin import (
    Backend,
    BackendType,
    Capabilities,
    EngineLoad,
    ExitReport,
    Finished,
    Fit,
    Instance,
    LoadProgress,
    ProbeReport,
    Started,
    TextDelta,
    UsageReport,
)
from enginehouse_plugin.errors import ContextTooLong, EngineOverloaded, SourceNotFound


class Options(msgspec.Struct, frozen=True):
    greeting: str = "hello"


class OutOfMemory(EngineOverloaded):
    code = "out_of_memory"
    retryable = False


class GuestInstance(Instance):
    capabilities = Capabilities(context_tokens=99, max_concurrent_requests=4, features=frozenset({"streaming"}))

    def __init__(self, greeting):
        self.greeting = greeting
        self.active = 0
        self.cancelled = 0
        self.made = 0
        self.unloaded = asyncio.Event()
        self.reason = "unloaded"

    async def generate(self, request):
        words = request.prompt.text.split()
        self.refuse_unsupported(request)
        self.active += 1
        try:
            yield Started(len(words))
            if words[0] == "flood":
                for count in range(int(words[1])):
                    self.made = count
                    yield TextDelta(0, "x", count + 1)
            elif words[0] == "wait":
                yield TextDelta(0, "waiting", 1)
                await asyncio.Event().wait()
            elif words[0] == "block":
                yield TextDelta(0, "blocking", 1)
                await asyncio.sleep(0)
                time.sleep(60)  # noqa: ASYNC251  # a call that blocks is what this is about
            elif words[0] == "die":
                yield TextDelta(0, "dying", 1)
                print("engine says goodbye", flush=True)
                await asyncio.sleep(0.05)
                os.kill(os.getpid(), signal.SIGKILL)
            elif words[0] == "leave":
                self.reason = "the engine had enough"
                self.unloaded.set()
                await asyncio.Event().wait()
            elif words[0] == "too-long":
                raise ContextTooLong(prompt_tokens=7, limit_tokens=5)
            elif words[0] == "oom":
                raise OutOfMemory("no memory", retry_after_s=2.5)
            elif words[0] == "bug":
                raise KeyError("bug")
            else:
                yield TextDelta(0, f"{self.greeting} {request.prompt.text}", 1)
            yield Finished(0, "stop")
            yield UsageReport(len(words), 1)
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled += 1
            raise
        finally:
            self.active -= 1

    async def count_tokens(self, request):
        told = {"cancelled": self.cancelled, "made": self.made}
        return told.get(request.prompt.text, len(request.prompt.text))

    async def check_ready(self):
        return None

    async def unload(self):
        self.unloaded.set()

    async def wait_closed(self):
        await self.unloaded.wait()
        return ExitReport(is_expected=self.reason == "unloaded", reason=self.reason)

    async def measure(self):
        return EngineLoad(running=self.active, waiting=0)

    async def tokenize(self, text):
        return [ord(char) for char in text]

    async def active_requests(self):
        return self.active


class GuestBackend(Backend):
    async def probe(self, python=None):
        return ProbeReport(available=True, engine="guest", engine_version="1", detail=str(os.getpid()))

    async def fit(self, placement, devices):
        return Fit(footprint_bytes={device.id: 10 for device in devices})

    async def load(self, placement, devices, progress):
        progress(LoadProgress(stage="loading", fraction=0.5))
        if placement.source == "missing":
            raise SourceNotFound("missing", fix="Pull it.")
        if placement.source == "crash":
            print("cannot map the weights", flush=True)
            os.kill(os.getpid(), signal.SIGSEGV)
        if placement.source == "hang":
            await asyncio.Event().wait()
        return GuestInstance(placement.options.greeting if placement.options else "hello")


BACKEND = BackendType(name="guest", version="1", create=GuestBackend, options=Options)
NOT_A_BACKEND = dict

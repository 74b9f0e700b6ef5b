"""A managed child: the engine is a program that serves HTTP on a socket of its own."""

import asyncio
import sys

import enginehouse_markov as markov

import enginehouse_plugin as eh
from enginehouse_kit.http.client import LocalClient
from enginehouse_kit.http.openai import OpenAIDialect
from enginehouse_kit.process.child import Child
from enginehouse_kit.process.instance import Begin, ProcessInstance
from enginehouse_plugin.errors import EngineError, LoadFailed

DIALECT = OpenAIDialect()


class Server:
    """What a `ProcessInstance` asks of the engine's server."""

    def __init__(self, socket_path: str) -> None:
        self.client = LocalClient(socket_path, keep_alive=False)

    async def is_healthy(self) -> bool:
        try:
            return (await self.client.request("GET", "/health")).status == 200
        except EngineError:
            return False

    async def close(self) -> None:
        await self.client.close()


class ChildInstance(ProcessInstance):
    engine = "The chain"

    def __init__(self, child: Child, server: Server, context_tokens: int) -> None:
        super().__init__(child, server)
        self._client = server.client
        features = frozenset({"streaming", "seed"})
        self.capabilities = eh.Capabilities(context_tokens=context_tokens, max_concurrent_requests=8, features=features)

    async def prepare(self, request: eh.GenerationRequest) -> Begin:
        return lambda sink: DIALECT.start(self._client, request, "parrot", sink)

    async def count_tokens(self, request: eh.GenerationRequest) -> int:
        return len(markov.words_of(request))


class ChildBackend(eh.Backend):
    async def probe(self, python=None) -> eh.ProbeReport:
        return eh.ProbeReport(available=True, engine="markov", engine_version="1.0.0")

    async def load(self, placement, devices, progress) -> ChildInstance:
        context_tokens = placement.context_tokens or 512
        program = [placement.python or sys.executable, "-m", "enginehouse_markov_hosted.server"]
        options = [placement.path, str(context_tokens), str(placement.options.step_s)]
        child = await Child.start("the chain's server", lambda socket: [*program, *options, socket])
        server = Server(child.socket_path)
        ended = asyncio.ensure_future(child.wait_closed())
        try:
            while not await server.is_healthy():
                if ended.done():
                    report = ended.result()
                    raise LoadFailed(f"The chain's server ended: {report.reason}", last_words=report.last_words)
                await asyncio.sleep(0.05)
        except BaseException:  # also when loading is cancelled: nothing stays behind
            await server.close()
            await child.stop(1.0)
            raise
        finally:
            ended.cancel()
        return ChildInstance(child, server, context_tokens)

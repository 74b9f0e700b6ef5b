"""A plugin for the bench: a backend that relays to the instant upstream through the kit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import msgspec

from enginehouse_kit.http.client import LocalClient
from enginehouse_kit.http.openai import OpenAIDialect
from enginehouse_plugin import (
    AnyEvent,
    Backend,
    BackendType,
    Capabilities,
    Device,
    ExitReport,
    GenerationRequest,
    Instance,
    OnProgress,
    Placement,
    ProbeReport,
    Run,
    Sink,
    hookimpl,
    pulled,
)

enginehouse_api = "2.0"


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the upstream listens on loopback."""

    port: int


class InstantInstance(Instance):
    capabilities = Capabilities(context_tokens=4096, max_concurrent_requests=32768, features=frozenset({"streaming"}))

    def __init__(self, port: int) -> None:
        self._client = LocalClient(("127.0.0.1", port), max_idle=512)
        self._dialect = OpenAIDialect()
        self._closed = asyncio.Event()

    def generate(self, request: GenerationRequest) -> AsyncGenerator[AnyEvent, None]:
        return pulled(self.start, request)

    def start(self, request: GenerationRequest, sink: Sink) -> Run:
        self.refuse_unsupported(request)
        return self._dialect.start(self._client, request, "m", sink)

    async def count_tokens(self, request: GenerationRequest) -> int:
        return 30

    async def check_ready(self) -> None:
        await self._client.request("GET", "/v1/models")

    async def unload(self) -> None:
        await self._client.close()
        self._closed.set()

    async def wait_closed(self) -> ExitReport:
        await self._closed.wait()
        return ExitReport(is_expected=True, reason="unloaded")


class InstantBackend(Backend):
    async def probe(self, python: str | None = None) -> ProbeReport:
        return ProbeReport(available=True, engine="instant")

    async def load(self, placement: Placement, devices: tuple[Device, ...], progress: OnProgress) -> Instance:
        instance = InstantInstance(placement.options.port)
        await instance.check_ready()
        return instance


@hookimpl
def enginehouse_backends() -> list[BackendType]:
    return [
        BackendType(name="instant", version="0", create=InstantBackend, options=Options, kinds=(), needs_weights=False)
    ]

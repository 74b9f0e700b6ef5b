"""A plugin for siege and bench: a backend that relays to an upstream on loopback through the kit, as real ones do."""

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
_MOST_IDLE = 512


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the upstream listens on loopback, and how many requests it takes at a time."""

    port: int
    slots: int = 256


class RelayInstance(Instance):
    def __init__(self, options: Options) -> None:
        self.capabilities = Capabilities(
            context_tokens=1 << 20, max_concurrent_requests=options.slots, features=frozenset({"streaming"})
        )
        self._client = LocalClient(("127.0.0.1", options.port), max_idle=min(options.slots, _MOST_IDLE))
        self._dialect = OpenAIDialect()
        self._closed = asyncio.Event()

    def generate(self, request: GenerationRequest) -> AsyncGenerator[AnyEvent, None]:
        return pulled(self.start, request)

    def start(self, request: GenerationRequest, sink: Sink) -> Run:
        self.refuse_unsupported(request)
        return self._dialect.start(self._client, request, "relay", sink)

    async def count_tokens(self, request: GenerationRequest) -> int:
        return 1

    async def check_ready(self) -> None:
        await self._client.request("GET", "/v1/models")

    async def unload(self) -> None:
        await self._client.close()
        self._closed.set()

    async def wait_closed(self) -> ExitReport:
        await self._closed.wait()
        return ExitReport(is_expected=True, reason="unloaded")


class RelayBackend(Backend):
    async def probe(self, python: str | None = None) -> ProbeReport:
        return ProbeReport(available=True, engine="relay")

    async def load(self, placement: Placement, devices: tuple[Device, ...], progress: OnProgress) -> Instance:
        instance = RelayInstance(placement.options)
        await instance.check_ready()
        return instance


@hookimpl
def enginehouse_backends() -> list[BackendType]:
    return [BackendType(name="relay", version="0", create=RelayBackend, options=Options, kinds=(), needs_weights=False)]

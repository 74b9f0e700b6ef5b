"""A plain OpenAI server, behind the kit's dialect, is a backend under the contract: the stub's own server shows it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import msgspec
import pytest

from conformance_stub import Behaviour, StubServer
from conformance_stub.engine import CONTEXT_TOKENS
from conformance_stub.trial import by_verdict
from enginehouse_conformance.runner import Options, run_suite
from enginehouse_conformance.targets import BackendTarget
from enginehouse_conformance.verdicts import Verdict
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
    pulled,
)


class NoOptions(msgspec.Struct, frozen=True):
    """None."""


class UpstreamInstance(Instance):
    capabilities = Capabilities(
        context_tokens=CONTEXT_TOKENS,
        max_concurrent_requests=4,
        features=frozenset({"streaming", "n"}),
        limits={"n": 8},
    )

    def __init__(self, port: int, model: str) -> None:
        self._client = LocalClient(("127.0.0.1", port))
        self._dialect = OpenAIDialect()
        self._model = model
        self._closed = asyncio.Event()

    def start(self, request: GenerationRequest, sink: Sink) -> Run:
        self.refuse_unsupported(request)
        return self._dialect.start(self._client, request, self._model, sink)

    def generate(self, request: GenerationRequest) -> AsyncGenerator[AnyEvent, None]:
        return pulled(self.start, request)

    async def count_tokens(self, request: GenerationRequest) -> int:
        return 0

    async def check_ready(self) -> None:
        await self._client.request("GET", "/v1/models")

    async def unload(self) -> None:
        await self._client.close()
        self._closed.set()

    async def wait_closed(self) -> ExitReport:
        await self._closed.wait()
        return ExitReport(is_expected=True, reason="unloaded")


class UpstreamBackend(Backend):
    def __init__(self, port: int, model: str) -> None:
        self._port = port
        self._model = model

    async def probe(self, python: str | None = None) -> ProbeReport:
        return ProbeReport(available=True, engine="upstream")

    async def load(self, placement: Placement, devices: tuple[Device, ...], progress: OnProgress) -> Instance:
        return UpstreamInstance(self._port, self._model)


@pytest.mark.parametrize("rule", ["S1", "S2", "S3", "C1", "C2", "C3"])
async def test_a_plain_server_behind_the_dialect_keeps_the_contract(rule: str) -> None:
    """Usage comes last there, and an error of the context carries no numbers."""
    async with StubServer(Behaviour()) as server:
        port = int(server.url.split(":")[2].split("/")[0])
        kind = BackendType(
            name="upstream",
            version="1",
            create=lambda: UpstreamBackend(port, server.behaviour.model),
            options=NoOptions,
            kinds=(),
            needs_weights=False,
        )
        target = BackendTarget(kind, Placement(model="stub-1", backend="upstream", source="stub"))
        report = await run_suite(target, Options(only=frozenset({rule}), check_timeout_s=60.0))
    assert by_verdict(report, Verdict.PASS).keys() == {rule}, [(one.verdict, one.message) for one in report.results]

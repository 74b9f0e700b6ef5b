"""Every rule of the suite that needs no HTTP, on the real engine, and nothing that passes by being undeclared."""

from __future__ import annotations

import pytest

from enginehouse_conformance import ConformanceSuite, read_declared
from enginehouse_llamacpp.backend import LlamaCppBackend
from enginehouse_plugin import Placement

from .conftest import FEATURES


@pytest.mark.engine
class TestConformance(ConformanceSuite):
    check_timeout_s = 300.0
    time_scale = 5.0
    must_judge = True


@pytest.mark.engine
async def test_everything_that_every_engine_must_declare_is_declared(embedded: Placement) -> None:
    wanted = read_declared(FEATURES)
    assert wanted.features
    instance = await LlamaCppBackend().load(embedded, (), lambda _: None)
    try:
        capabilities = instance.capabilities
    finally:
        await instance.unload()
    assert wanted.features - capabilities.features == set()
    assert all(capabilities.limits[name] >= least for name, least in wanted.limits.items())
    assert wanted.context_tokens is not None
    assert capabilities.context_tokens >= wanted.context_tokens

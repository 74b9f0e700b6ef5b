"""`reproducible` of a model is the option of its backend, where that can promise it."""

from __future__ import annotations

import msgspec
import pytest

from enginehouse.config import Config, ConfigError, ModelConfig, PlacementConfig, bind
from enginehouse_plugin import Backend, BackendType


class Able(msgspec.Struct, frozen=True, kw_only=True):
    """Options of a backend that can promise it."""

    reproducible: bool = False


class Unable(msgspec.Struct, frozen=True, kw_only=True):
    """Options of one that cannot."""


def bound(options: type[msgspec.Struct], **model: bool) -> PlacementConfig:
    backend = BackendType(name="b", version="1", create=Backend, options=options)  # type: ignore[type-abstract]
    placement = PlacementConfig(backend="b", source="w")
    config = Config(models={"m": ModelConfig(placements=(placement,), **model)})  # type: ignore[arg-type]
    (made,) = bind(config, {"b": backend}, {}).models["m"].placements
    return made


def test_it_is_the_option_of_the_backend() -> None:
    assert bound(Able, reproducible=True).options == Able(reproducible=True)
    assert bound(Able).options == Able()
    assert bound(Unable).options == Unable()


def test_a_backend_that_cannot_promise_it_stops_the_start() -> None:
    with pytest.raises(ConfigError, match="the backend 'b' cannot promise it"):
        bound(Unable, reproducible=True)

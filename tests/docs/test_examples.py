from __future__ import annotations

import importlib

import pytest

from enginehouse.config import bind, load_config
from enginehouse.plugins import Plugins

from .fenced import ROOT

CONFIGURATIONS = sorted(path.name for path in (ROOT / "examples").glob("*.toml"))


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_each_example_of_a_configuration_can_be_used(name: str) -> None:
    plugins = Plugins()
    for module in ("enginehouse_llamacpp", "enginehouse_markov"):
        plugins.add(importlib.import_module(module), module)
    assert plugins.quarantined == []
    assert bind(load_config(ROOT / "examples" / name), plugins.backends, {}).models


def test_there_are_examples() -> None:
    assert {"markov.toml", "one-machine.toml", "shared-server.toml"} <= set(CONFIGURATIONS)

from __future__ import annotations

import pytest
from tests.unit.config.reading import a_backend

from enginehouse.config import Config, bind, load_config


@pytest.fixture
def read(tmp_path):
    """Load a text as a configuration file."""

    def load(text: str | bytes, **binding) -> Config:
        path = tmp_path / "house.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        config = load_config(path)
        return bind(config, **{"backends": {"toy": a_backend()}, "quarantined": {}, **binding}) if binding else config

    return load

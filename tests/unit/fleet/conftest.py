from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from enginehouse.fleet import lookout

from .answering import Engine, Street


@pytest.fixture
async def street(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """`street(*engines, **model)`: a fleet of them, which is closed after the test."""
    monkeypatch.setenv("ENGINEHOUSE_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(lookout, "_LOOK_S", 0.001)
    streets: list[Street] = []

    def make(*engines: Engine, **model: Any) -> Street:
        streets.append(Street(tmp_path, *engines, **model))
        return streets[-1]

    yield make
    for each in streets:
        await each.close()

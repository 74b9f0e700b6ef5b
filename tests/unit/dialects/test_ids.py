"""Ids."""

from __future__ import annotations

from enginehouse.dialects.ids import unique_hex


def test_ids_differ() -> None:
    assert len({unique_hex() for _ in range(1000)}) == 1000

"""How full the cache is, by what the engine's slots tell."""

from __future__ import annotations

import pytest

from enginehouse_llamacpp.instance import cache_used
from enginehouse_llamacpp.server import Slot


@pytest.mark.parametrize(
    ("slots", "share"),
    [
        ([Slot(False, 100, 90), Slot(False, 100)], 0.0),  # what is only kept is free
        ([Slot(True, 100, 50), Slot(False, 100, 90)], 0.25),
        ([Slot(True, 100, 100), Slot(True, 100, 101)], 1.0),
        ([Slot(True, 100, 50), Slot(True, 100)], None),  # a build that does not tell
        ([], None),
    ],
)
def test_the_share_is_of_all_slots_and_of_those_at_work(slots: list[Slot], share: float | None) -> None:
    assert cache_used(slots) == share

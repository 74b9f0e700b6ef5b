"""What a host tells of its devices, and who can read it."""

from __future__ import annotations

from typing import Any

import msgspec

from enginehouse.fleet import read_told
from enginehouse.fleet.hosts.told import encode


def told(**device: Any) -> bytes:
    known = {"version": 1, "enginehouse": "9", "router": "other", "state": "ready"}
    return msgspec.json.encode(known | {"devices": [{"id": "cpu", "name": "CPU", "memory_bytes": 8, **device}]})


async def test_a_host_tells_how_its_memory_is_divided(house: Any) -> None:
    fleet = house.build(house.config())
    (device,) = read_told(encode(fleet.hosts.told())).devices
    assert (device.budget,) == fleet.snapshot().budgets


def test_an_older_host_does_not_and_what_a_newer_one_adds_does_no_harm() -> None:
    assert [one.budget for one in read_told(told()).devices] == [None]
    (device,) = read_told(told(memory={"free_bytes": 5, "swapped_bytes": 1})).devices
    assert device.budget is not None
    assert (device.budget.size_bytes, device.budget.free_bytes) == (8, 5)

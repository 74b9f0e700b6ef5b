"""Bytes of devices: what is left for one more instance, and who gives way for it."""

from __future__ import annotations

import msgspec
import pytest

from enginehouse.config import BudgetConfig
from enginehouse.fleet.budget import (
    Guest,
    Holding,
    Limit,
    budgets,
    give_way,
    in_words,
    lacking,
    limits,
    others_on,
    worth,
)
from enginehouse_plugin import Device

GIB = 1 << 30
CPU = Device(id="cpu", kind="cpu", name="CPU", memory_bytes=64 * GIB)
GPU = Device(id="cuda:0", kind="cuda", name="GPU", memory_bytes=24 * GIB)
MAC = (
    Device(id="apple", kind="apple", name="M4", memory_bytes=48 * GIB),
    msgspec.structs.replace(CPU, name="M4"),
)
NO_RESERVE = {"cpu": "0", "cuda": "0", "apple": "0"}


def settings(**more: object) -> BudgetConfig:
    return BudgetConfig(reserve=NO_RESERVE, **more)


def held(instance: str, **gib: float) -> Holding:
    return Holding(instance=instance, estimated={name.replace("_", ":"): int(n * GIB) for name, n in gib.items()})


@pytest.mark.parametrize(
    ("config", "others", "gib"),
    [
        (settings(), {}, 24),
        (settings(), {"cuda:0": 4 * GIB}, 20),
        (settings(limits={"cuda": "10GiB"}), {"cuda:0": 4 * GIB}, 10),
        (settings(limits={"cuda:0": "8GiB", "cuda": "10GiB"}), {}, 8),
        (settings(limits={"cuda": "22GiB"}), {"cuda:0": 4 * GIB}, 20),
        (BudgetConfig(reserve={"cuda": "2GiB"}), {"cuda:0": 4 * GIB}, 18),
        (BudgetConfig(), {}, 23.75),
        (settings(), {"cuda:0": 40 * GIB}, 0),
    ],
)  # fmt: skip
def test_instances_may_hold_what_others_the_reserve_and_the_owner_leave(config, others, gib):
    assert limits([GPU], config, others) == (Limit(("cuda:0",), int(gib * GIB)),)


def test_unified_memory_counts_once():
    bounds = limits(MAC, settings(), {"cpu": 8 * GIB})
    assert bounds == (
        Limit(("apple",), 48 * GIB),
        Limit(("cpu",), 56 * GIB),
        Limit(("apple", "cpu"), 56 * GIB),
    )
    holdings = [held("a#0", apple=40), held("b#0", cpu=10)]
    assert lacking({"apple": 7 * GIB}, bounds, holdings) == {("apple", "cpu"): GIB}
    assert lacking({"cpu": 7 * GIB}, bounds, holdings) == {("apple", "cpu"): GIB}
    assert lacking({"apple": 6 * GIB}, bounds, holdings) == {}
    assert in_words(lacking({"apple": 9 * GIB}, bounds, holdings)) == (
        "1.00 GiB on apple and 3.00 GiB on apple with cpu"
    )


def test_what_others_use_is_what_is_used_and_not_by_instances():
    holdings = [held("a#0", apple=10, cpu=2)]
    assert others_on(MAC, {"cpu": 20 * GIB, "apple": 0}, holdings) == {"cpu": 8 * GIB}
    measured = Holding(instance="b#0", estimated={"cpu": 9 * GIB}, measured={"cpu": 5 * GIB}, private={"cpu": GIB})
    assert others_on([CPU], {"cpu": 20 * GIB}, [measured]) == {"cpu": 19 * GIB}, "the pages of files count as free"
    assert others_on([CPU], {}, [measured]) == {}
    assert others_on([GPU], {"cuda:0": GIB}, [held("a#0", cuda_0=4)]) == {"cuda:0": 0}


def test_the_larger_of_estimate_and_measure_is_reserved():
    (shown,) = budgets(
        [CPU],
        settings(limits={"cpu": "32GiB"}),
        {"cpu": 4 * GIB},
        [
            Holding(instance="a#0", estimated={"cpu": 4 * GIB}, measured={"cpu": 6 * GIB}),
            Holding(instance="b#0", estimated={"cpu": 4 * GIB}, measured={"cpu": 1 * GIB}),
        ],
    )
    assert (shown.reserved_bytes, shown.measured_bytes, shown.others_bytes) == (10 * GIB, 7 * GIB, 4 * GIB)
    assert (shown.size_bytes, shown.cap_bytes, shown.free_bytes) == (64 * GIB, 32 * GIB, 22 * GIB)


@pytest.mark.parametrize(
    ("needed", "values", "leave"),
    [
        (4, {"a#0": 1, "b#0": 2, "c#0": 3}, ()),
        (8, {"a#0": 1, "b#0": 2, "c#0": 3}, ("a#0",)),
        (8, {"a#0": 3, "b#0": 2, "c#0": 1}, ("c#0",)),
        (12, {"a#0": 1, "b#0": 2, "c#0": 3}, ("b#0",)),  # beside b, which has to go, a may stay
        (14, {"a#0": 1, "b#0": 2, "c#0": 3}, ("b#0",)),
        (16, {"a#0": 1, "b#0": 2, "c#0": 3}, ("a#0", "b#0")),
        (24, {"a#0": 1, "b#0": 2, "c#0": 3}, ("a#0", "b#0", "c#0")),
        (12, {"a#0": 1, "c#0": 3}, ("a#0", "c#0")),
        (16, {"a#0": 1, "c#0": 3}, None),
    ],
)  # fmt: skip
def test_those_of_least_value_give_way_and_no_more_than_is_necessary(needed, values, leave):
    bounds = limits([GPU], settings(), {})
    holdings = [held("a#0", cuda_0=4), held("b#0", cuda_0=9), held("c#0", cuda_0=5)]
    guests = [Guest(name, value) for name, value in values.items()]
    chosen = give_way({"cuda:0": needed * GIB}, bounds, holdings, guests)
    assert (chosen if chosen is None else tuple(sorted(chosen))) == leave


def test_nobody_gives_way_on_a_device_that_has_room():
    bounds = limits([GPU, CPU], settings(), {})
    holdings = [held("a#0", cpu=60), held("b#0", cuda_0=20)]
    guests = [Guest("a#0", 1), Guest("b#0", 100)]
    assert give_way({"cuda:0": 20 * GIB}, bounds, holdings, guests) == ("b#0",)


def test_what_is_used_much_and_costs_much_to_load_is_worth_more_than_what_idles():
    often = worth(idle_s=10, load_s=20, uses=50)
    assert often > worth(idle_s=10, load_s=20, uses=1)
    assert often > worth(idle_s=10, load_s=1, uses=50)
    assert often > worth(idle_s=500, load_s=20, uses=50)

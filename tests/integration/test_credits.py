"""Credit in both databases: granted once, leased to routers, charged with rows of usage, and always adding up."""

from __future__ import annotations

import calendar
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from tests.postgres import NEEDED, PostgreSQL, binaries
from tests.unit.accounts.facts import ended, facts_of

from enginehouse.accounts import Facts, StoreError, totals
from enginehouse.accounts.credit_desk import CreditDesk, NotCovered, ReferenceUsed
from enginehouse.accounts.credits import Purse, Reservation
from enginehouse.accounts.desk import KeyNotFound
from enginehouse.accounts.prices import PerToken
from enginehouse.accounts.store import Store, open_store, postgresql, sqlite
from enginehouse.accounts.store.audit import Audit
from enginehouse.accounts.store.columns import HOST, row
from enginehouse.config import UNITS, AccountsConfig, Config, KeyConfig
from enginehouse_plugin.errors import InvalidRequest

PRICES = PerToken(input=UNITS, cached=UNITS // 2, output=2 * UNITS, text=f"{UNITS}/{UNITS // 2}/{2 * UNITS}")
COST = 6 + 2 + 40  # of an ended request in credits: 6 tokens of a prompt, 4 cached ones, 20 of an answer
NOTED = 6 + 2 + 14


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL | None]:
    server = None if binaries() is None else PostgreSQL()
    yield server
    if server is not None:
        server.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def config(
    request: pytest.FixtureRequest, server: PostgreSQL | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Config:
    monkeypatch.setattr(sqlite, "ENTER_S", 0.0)
    if request.param == "postgresql":
        if server is None:
            pytest.skip(NEEDED)
        url = server.new_database()
    else:
        url = f"sqlite:///{tmp_path}/a.db"
    names = ("alice", "bob", "carol")
    keys = tuple(KeyConfig(name=name, sha256=str(at) * 64) for at, name in enumerate(names))
    return Config(accounts=AccountsConfig(url=url), keys=keys)


@pytest.fixture
def desk(config: Config) -> CreditDesk:
    return CreditDesk(config)


@pytest.fixture
def store(config: Config) -> Iterator[Store]:
    store = open_store(config)
    assert store is not None
    yield store
    store.close()


def paid(make: Callable[..., Facts] = ended, key: str = "alice", reserved: int = 10**6) -> Facts:
    """A request of *key* that pays, and has reserved so many credits; one that has ended has paid."""
    facts = make(key=key, prices=PRICES)
    facts.credit = Reservation(Purse(key), reserved * UNITS, None)
    if facts.is_ended:
        facts.charged, facts.credit = facts.cost, None
    return facts


def balances(desk: CreditDesk) -> dict[str, tuple[str, str]]:
    return {one.key: (one.balance, one.leased) for one in desk.all_keys()}


def audited(desk: CreditDesk) -> Audit:
    found = desk.audit()
    assert found.problems == ()
    assert found.agrees
    return found


def execute(config: Config, statement: str) -> None:
    url = str(config.accounts.url).replace("postgresql:", "postgresql+pg8000:")
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


def test_grants_and_withdrawals_are_entries_whose_sum_is_the_balance(desk: CreditDesk) -> None:
    desk.grant("alice", "12.500000000001", reference="invoice 1")
    desk.grant("alice", "0.25")
    standing = desk.withdraw("alice", "2", reference="refund")
    assert (standing.balance, standing.leased, standing.spent) == ("10.750000000001", "0", "0")
    newest, _, oldest = desk.history("alice")
    assert (newest.kind, newest.amount, newest.reference) == ("withdrawal", "-2", "refund")
    assert (oldest.kind, oldest.amount, oldest.reference) == ("grant", "12.500000000001", "invoice 1")
    (key,) = audited(desk).keys
    assert (key.granted, key.withdrawn, key.charged) == ("12.750000000001", "2", "0")


def test_what_is_said_again_with_its_reference_is_done_once(desk: CreditDesk) -> None:
    for _ in range(3):
        assert desk.grant("alice", "5", reference="invoice 1").balance == "5"
    assert desk.grant("bob", "5", reference="invoice 1").balance == "5"
    for change in (
        lambda: desk.grant("alice", "6", reference="invoice 1"),
        lambda: desk.withdraw("alice", "5", reference="invoice 1"),
    ):
        with pytest.raises(ReferenceUsed):
            change()
    assert balances(desk)["alice"] == ("5", "0")


def test_what_cannot_be_is_refused_and_changes_nothing(desk: CreditDesk) -> None:
    with pytest.raises(KeyNotFound):
        desk.grant("nobody", "1")
    with pytest.raises(KeyNotFound):
        desk.history("alice")
    for amount in ("0", "-1", "1e5", "1.5 USD", "9000001"):
        with pytest.raises(InvalidRequest, match="amount"):
            desk.grant("alice", amount)
    desk.grant("alice", "9000000")
    with pytest.raises(InvalidRequest, match="at most"):
        desk.grant("alice", "0.000000000001")
    with pytest.raises(NotCovered):
        desk.withdraw("bob", "1")
    assert balances(desk) == {"alice": ("9000000", "0")}
    audited(desk)


def test_routers_learn_who_was_granted_credit_in_its_order(desk: CreditDesk, store: Store) -> None:
    desk.grant("bob", "1")
    ((number, key),) = store.known_credits(0)
    desk.grant("alice", "1")
    desk.grant("bob", "1")
    assert key == "bob"
    assert [name for _, name in store.known_credits(number)] == ["alice"]


def test_what_is_leased_is_nobody_elses_and_a_lease_is_no_more_than_there_is(desk: CreditDesk, store: Store) -> None:
    desk.grant("alice", "100")
    first = store.lease({"alice": 60 * UNITS}, {})["alice"]
    assert first == 60 * UNITS
    assert store.lease({"alice": 60 * UNITS}, {}) == {"alice": 40 * UNITS}
    assert store.lease({"alice": 1, "bob": 1}, {}) == {"alice": 0}
    assert balances(desk) == {"alice": ("100", "100")}
    with pytest.raises(NotCovered, match="leased to routers"):
        desk.withdraw("alice", "1")
    store.lease({}, {"alice": 30 * UNITS})
    assert desk.withdraw("alice", "30").balance == "70"
    assert store.lease({}, {"alice": 10**18, "bob": 5}) == {}
    assert balances(desk) == {"alice": ("70", "0")}
    audited(desk)


def test_a_lease_is_larger_than_what_is_wanted_where_there_is_plenty(desk: CreditDesk, store: Store) -> None:
    desk.grant("alice", "1000")
    assert store.lease({"alice": UNITS}, {}) == {"alice": 64 * UNITS}


def test_a_row_and_its_charge_are_one_and_are_kept_once(desk: CreditDesk, store: Store) -> None:
    desk.grant("alice", "1000")
    desk.grant("bob", "1000")
    store.lease({"alice": 200 * UNITS, "bob": 100 * UNITS}, {})
    rows = {1: row(paid()), 2: row(paid()), 3: row(paid(key="bob")), 4: row(ended(key="carol", prices=PRICES))}
    for again in (False, True):  # the answer to a commit may be lost
        store.commit(rows, {}, again=again)
    store.commit({}, {5: row(paid(facts_of))})
    store.commit({5: row(paid())}, {})
    found = audited(desk)
    assert [(key.key, key.charged) for key in found.keys] == [("alice", str(3 * COST)), ("bob", str(COST))]
    assert found.requests == 4
    assert [(entry.kind, entry.amount, entry.requests) for entry in desk.history("alice")] == [
        ("charge", str(-COST), 1), ("charge", str(-2 * COST), 2), ("grant", "1000", None),
    ]  # fmt: skip


def test_credit_that_the_router_has_not_leased_is_charged_as_far_as_there_is_any(
    desk: CreditDesk, store: Store
) -> None:
    desk.grant("alice", str(COST + 10))
    store.commit({1: row(paid()), 2: row(paid())}, {})
    assert balances(desk) == {"alice": ("0", "0")}
    assert audited(desk).uncollected == str(COST - 10)
    store.commit({3: row(paid(key="bob"))}, {})  # it never had any
    assert audited(desk).uncollected == str(2 * COST - 10)


def test_a_month_has_its_budget_whatever_the_clock_does(
    desk: CreditDesk, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = [float(calendar.timegm((2026, 11, 30, 23, 59, 0)))]
    monkeypatch.setattr(time, "time", lambda: at[0])
    desk.grant("alice", "10000")
    assert desk.bound("alice", "100").monthly == "100"

    def spend(serial: int) -> int:
        granted = store.lease({"alice": COST * UNITS}, {})["alice"]
        if granted >= COST * UNITS:
            store.commit({serial: row(paid())}, {})
        store.lease({}, {"alice": granted})  # the rest
        return min(granted // UNITS, COST)

    assert [spend(1), spend(2), spend(3)] == [COST, COST, 100 - 2 * COST]
    at[0] += 120  # December
    assert [spend(4), spend(5), spend(6)] == [COST, COST, 100 - 2 * COST]
    (standing,) = desk.all_keys()
    assert (standing.month, standing.spent) == ("2026-12", str(2 * COST))
    at[0] -= 120  # and November again: what was spent then is spent
    assert spend(7) == 100 - 2 * COST
    at[0] += 10 * 366 * 86_400  # far ahead, and back: no month is open for ever, and none is locked
    assert spend(8) == COST
    at[0] -= 10 * 366 * 86_400 - 120
    assert spend(9) == 100 - 2 * COST
    assert desk.bound("alice", None).monthly is None
    assert spend(10) == COST
    audited(desk)


KILLED: dict[str, Any] = {"alice": (1000, 100), "bob": (NOTED + 5, NOTED + 5)}


def test_what_a_dead_router_left_is_charged_once_at_its_last_note_and_its_lease_returned(
    config: Config, desk: CreditDesk, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, (granted, leased) in KILLED.items():
        desk.grant(key, str(granted))
        store.lease({key: leased * UNITS}, {})
    running = {2: row(paid(facts_of)), 3: row(paid(facts_of, key="bob")), 4: row(paid(facts_of, reserved=1))}
    store.commit({1: row(paid())}, running)
    if os.fspath(str(config.accounts.url)).startswith("sqlite"):
        store._release()  # type: ignore[attr-defined]  # as its death would
        other = open_store(config)
    else:
        passed = [1000.0]
        monkeypatch.setattr(postgresql.time, "monotonic", lambda: passed[0])
        other = open_store(config)
        assert other is not None
        for _ in range(10):
            other.commit({}, {})
            other.settle()
            passed[0] += postgresql.BEAT_S
    assert other is not None
    found = audited(desk)
    assert [(key.key, key.charged, key.leased) for key in found.keys] == [
        ("alice", str(COST + NOTED + 1), "0"), ("bob", str(NOTED), "0"),
    ]  # fmt: skip
    assert found.requests == 4
    other.close()
    if not str(config.accounts.url).startswith("sqlite"):  # it was only stopped: what has ended takes the note's place
        with pytest.raises(StoreError, match="noted anew"):
            store.commit({2: row(paid())}, {})
        store.commit({2: row(paid()), 3: row(paid(key="bob"))}, {})
        found = audited(desk)
        assert [(key.key, key.charged) for key in found.keys] == [
            ("alice", str(2 * COST + 1)), ("bob", str(NOTED + 5)),
        ]  # fmt: skip
        assert found.uncollected == str(COST - (NOTED + 5) + NOTED - 1)


def test_a_router_that_ends_returns_its_lease(config: Config, desk: CreditDesk) -> None:
    desk.grant("alice", "10")
    store = open_store(config)
    assert store is not None
    store.lease({"alice": 8 * UNITS}, {})
    assert balances(desk) == {"alice": ("10", "8")}
    store.close()
    assert balances(desk) == {"alice": ("10", "0")}


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        ("UPDATE balances SET balance = balance + 1", "the sum of its entries"),
        ("DELETE FROM entries WHERE kind = 'charge'", "were charged differ"),
        ("UPDATE usage SET charge = charge - 1, cost = cost - 1", "its cost is not that of its tokens"),
        ("UPDATE usage SET charge = charge + 1", "charged more than it cost"),
        ("DELETE FROM usage", "were charged differ"),
        ("DELETE FROM leases", "its routers have differ"),
        ("UPDATE balances SET spent = spent + 1", "in its month"),
        ("DELETE FROM balances", "and no balance"),
    ],
)
def test_an_audit_tells_of_what_does_not_add_up(
    config: Config, desk: CreditDesk, store: Store, harm: str, told: str
) -> None:
    desk.grant("alice", "1000")
    store.lease({"alice": 100 * UNITS}, {})
    store.commit({1: row(paid())}, {})
    audited(desk)
    execute(config, harm)
    found = desk.audit()
    assert not found.agrees
    assert any(told in problem for problem in found.problems), found.problems


def test_usage_is_told_apart_by_key_model_host_and_day(config: Config, store: Store) -> None:
    rows = [row(ended(key="alice", prices=PRICES)), row(ended(key="bob")), row(ended(key="bob", model="n"))]
    day_before = tuple((value - 86_400 if at == 0 else value) for at, value in enumerate(rows[0]))
    store.commit(dict(enumerate([*rows, day_before])), {})
    (whole,) = totals(config, by=())
    assert (whole.requests, whole.cost) == (4, str(2 * COST))
    assert [(one.key, one.requests, one.cost) for one in totals(config, by=("key",))] == [
        ("alice", 2, str(2 * COST)), ("bob", 2, "0"),
    ]  # fmt: skip
    assert [(one.host, one.requests) for one in totals(config, by=("host",))] == [(HOST, 4)]
    yesterday, today = totals(config, by=("day",))
    at = [time.strftime("%Y-%m-%d", time.gmtime(float(each[0] or 0))) for each in (day_before, rows[0])]
    assert [(yesterday.day, yesterday.requests), (today.day, today.requests)] == [(at[0], 1), (at[1], 3)]
    assert len(totals(config, by=("day", "host", "model", "key"))) == 4

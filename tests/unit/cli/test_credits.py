"""`enginehouse credits` and the cost in `enginehouse usage`."""

from __future__ import annotations

from pathlib import Path

import pytest

from enginehouse.accounts import Ledger
from enginehouse.accounts.prices import PerToken
from enginehouse.accounts.store.sqlite import SQLiteStore

from .conftest import Run
from .test_usage import ended


@pytest.fixture
def config(tmp_path: Path) -> str:
    (tmp_path / "c.toml").write_text(
        f'[accounts]\nurl = "sqlite:///accounts.db"\n[[keys]]\nname = "bob"\nsha256 = "{"0" * 64}"\n'
    )
    return str(tmp_path / "c.toml")


def test_credit_is_granted_withdrawn_bounded_and_told_of(enginehouse: Run, config: str) -> None:
    assert "has 12.5 credits" in enginehouse("credits", "grant", "bob", "12.50", "--config", config).out
    granted = enginehouse("credits", "grant", "bob", "1", "--reference", "r", "--json", "--config", config).json
    assert (granted["balance"], granted["leased"], granted["monthly"]) == ("13.5", "0", None)
    enginehouse("credits", "grant", "bob", "1", "--reference", "r", "--config", config)
    enginehouse("credits", "withdraw", "bob", "0.5", "--config", config)
    assert "may spend 5 in a month" in enginehouse("credits", "budget", "bob", "--monthly", "5", "--config", config).out
    (one,) = enginehouse("credits", "list", "--json", "--config", config).json
    assert (one["key"], one["balance"], one["monthly"], one["spent"]) == ("bob", "13", "5", "0")
    heading, row = enginehouse("credits", "list", "--config", config).out.splitlines()
    assert heading.split() == ["KEY", "BALANCE", "LEASED", "MONTH", "SPENT", "MONTHLY"]
    assert row.split()[:3] == ["bob", "13", "0"]
    entries = enginehouse("credits", "history", "bob", "--json", "--config", config).json
    assert [(entry["kind"], entry["amount"]) for entry in entries] == [
        ("withdrawal", "-0.5"), ("grant", "1"), ("grant", "12.5"),
    ]  # fmt: skip
    assert len(enginehouse("credits", "history", "bob", "--last", "1", "--config", config).out.splitlines()) == 2
    audit = enginehouse("credits", "audit", "--json", "--config", config)
    assert (audit.code, audit.json["agrees"], audit.json["problems"]) == (0, True, [])
    assert "3 entries and 0 requests agree" in enginehouse("credits", "audit", "--config", config).out
    assert enginehouse("credits", "budget", "bob", "--none", "--json", "--config", config).json["monthly"] is None


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("grant", "nobody", "1"), 1, "no key 'nobody'"),
        (("grant", "bob", "1,5"), 1, "write a decimal number"),
        (("withdraw", "bob", "1"), 1, "0 can be withdrawn"),
        (("history", "bob"), 1, "never had credit"),
        (("budget", "bob"), 2, "--monthly AMOUNT and --none"),
    ],
)
def test_what_cannot_be_is_a_line(
    enginehouse: Run, config: str, arguments: tuple[str, ...], code: int, told: str
) -> None:
    enginehouse("credits", "list", "--config", config)  # the database is made
    done = enginehouse("credits", *arguments, "--config", config)
    assert (done.code, done.out) == (code, "")
    assert told in done.err


def test_an_audit_that_finds_something_says_so_and_exits_with_1(enginehouse: Run, config: str, tmp_path: Path) -> None:
    enginehouse("credits", "grant", "bob", "1", "--config", config)
    store = SQLiteStore(str(tmp_path / "accounts.db"))
    assert store._connection is not None
    with store._connection.begin():
        store._connection.exec_driver_sql("UPDATE balances SET balance = 5")
    store.close()
    done = enginehouse("credits", "audit", "--config", config)
    assert done.code == 1
    assert "Problem: key 'bob': its balance and the sum of its entries differ" in done.out
    assert "do not agree" in done.out
    assert enginehouse("credits", "audit", "--json", "--config", config).code == 1


def test_usage_has_its_cost_and_is_told_apart_as_asked(enginehouse: Run, config: str, tmp_path: Path) -> None:
    ledger = Ledger(SQLiteStore(str(tmp_path / "accounts.db")))
    facts = ended("bob", "m", 3)
    facts.prices = PerToken(input=1_000_000, cached=500_000, output=2_000_000, text="1000000/500000/2000000")
    ledger.add(facts, ended("alice", "m", 1))
    ledger.close()
    by_key = enginehouse("usage", "--by", "key", "--json", "--config", config).json
    assert [(row["key"], row["cost"], "model" in row) for row in by_key] == [
        ("alice", "0", False), ("bob", "0.0000355", False),
    ]  # fmt: skip
    heading, first = enginehouse("usage", "--by", "day", "--by", "host", "--config", config).out.splitlines()
    assert heading.split() == ["DAY", "HOST", "REQUESTS", "PROMPT", "CACHED", "COMPLETION", "REASONING", "COST"]
    assert first.split()[2:] == ["2", "40", "2", "4", "4", "0.0000355"]

from __future__ import annotations

from pathlib import Path

import pytest

from enginehouse.accounts import Facts, Ledger
from enginehouse.accounts.store.sqlite import SQLiteStore
from enginehouse_plugin import UsageReport

from .conftest import Run


def ended(key: str, model: str, tokens: int) -> Facts:
    facts = Facts("r")
    facts.key, facts.model, facts.instance_id = key, model, f"{model}#0"
    facts.note([UsageReport(prompt_tokens=10 * tokens, cached_tokens=1, completion_tokens=tokens, reasoning_tokens=2)])
    facts.end(200)
    return facts


@pytest.fixture
def config(tmp_path: Path) -> str:
    (tmp_path / "c.toml").write_text('[usage]\npath = "usage.db"\n')
    ledger = Ledger(SQLiteStore(str(tmp_path / "usage.db")))
    for key, model, tokens in (("alice", "m", 3), ("alice", "m", 4), ("bob", "m", 5), ("alice", "other", 6)):
        ledger.add(ended(key, model, tokens))
    ledger.close()
    return str(tmp_path / "c.toml")


def test_usage_is_added_up_by_key_and_model(enginehouse: Run, config: str) -> None:
    rows = enginehouse("usage", "--config", config, "--json").json
    assert [
        (row["key"], row["model"], row["requests"], row["prompt_tokens"], row["completion_tokens"]) for row in rows
    ] == [
        ("alice", "m", 2, 70, 7),
        ("alice", "other", 1, 60, 6),
        ("bob", "m", 1, 50, 5),
    ]


def test_the_table_shows_the_same(enginehouse: Run, config: str) -> None:
    heading, first, *_ = enginehouse("usage", "--config", config).out.splitlines()
    assert heading.split() == ["KEY", "MODEL", "REQUESTS", "PROMPT", "CACHED", "COMPLETION", "REASONING"]
    assert first.split() == ["alice", "m", "2", "70", "2", "7", "4"]


def test_days_leave_out_what_is_older(enginehouse: Run, config: str) -> None:
    assert len(enginehouse("usage", "--config", config, "--days", "1", "--json").json) == 3
    assert enginehouse("usage", "--config", config, "--days", "0.000000001", "--json").json == []
    for odd in ("0", "-1", "nan"):
        assert enginehouse("usage", "--config", config, "--days", odd).code == 2


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[log]\n", "accounts.url"),
        ('[usage]\npath = "nothing.db"\n', "usage.path"),
        ('[accounts]\nurl = "sqlite:///nothing.db"\n', "accounts.url"),
    ],
)
def test_without_usage_the_command_says_so(enginehouse: Run, tmp_path: Path, text: str, where: str) -> None:
    (tmp_path / "c.toml").write_text(text)
    done = enginehouse("usage", "--config", str(tmp_path / "c.toml"))
    assert done.code == 2
    assert where in done.err

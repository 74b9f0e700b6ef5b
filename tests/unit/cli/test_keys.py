from __future__ import annotations

import hashlib
import time
import tomllib
from pathlib import Path

import pytest

from enginehouse.accounts.keys import KeyRing
from enginehouse.config import load_config

from .conftest import Run

MODEL = "smollm2-135m"
"""The embedded model."""


def test_a_new_key_is_shown_once_with_the_lines_for_the_configuration(enginehouse: Run, tmp_path: Path) -> None:
    """The printed lines, pasted into a configuration, let the printed secret in."""
    done = enginehouse("keys", "new", 'alice "the" \\ first')
    assert done.code == 0
    secret = next(line.strip() for line in done.out.splitlines() if line.startswith("  eh-"))
    toml = done.out[done.out.index("[[keys]]") :]
    assert tomllib.loads(toml)["keys"][0]["name"] == 'alice "the" \\ first'
    (tmp_path / "c.toml").write_text(toml)
    ring = KeyRing(load_config(tmp_path / "c.toml").keys)
    assert ring.check(f"Bearer {secret}") == 'alice "the" \\ first'


def test_json_holds_the_secret_and_its_hash(enginehouse: Run) -> None:
    key = enginehouse("keys", "new", "bob", "--json").json
    assert key["name"] == "bob"
    assert hashlib.sha256(key["secret"].encode()).hexdigest() == key["sha256"]


def test_two_keys_differ(enginehouse: Run) -> None:
    assert (
        enginehouse("keys", "new", "a", "--json").json["secret"]
        != enginehouse("keys", "new", "a", "--json").json["secret"]
    )


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 201])
def test_a_name_that_the_configuration_would_refuse_is_refused(enginehouse: Run, name: str) -> None:
    done = enginehouse("keys", "new", name)
    assert done.code == 2
    assert done.out == ""
    assert "cannot be called" in done.err


@pytest.fixture
def config(tmp_path: Path) -> str:
    (tmp_path / "c.toml").write_text('[accounts]\nurl = "sqlite:///a.db"\nkeys = true\nkey_prefix = "dos_sk_"\n')
    return str(tmp_path / "c.toml")


def test_a_key_of_the_database_is_made_listed_rotated_and_revoked(enginehouse: Run, config: str) -> None:
    made = enginehouse("keys", "create", "bob", "--model", MODEL, "--expires-days", "2", "--config", config)
    assert "  dos_sk_" in made.out
    row = enginehouse("keys", "list", "--config", config).out.splitlines()[1].split()
    assert (row[:2], row[-2:]) == (["bob", "good"], ["models", MODEL])
    key = enginehouse("keys", "rotate", "bob", "--overlap-hours", "1", "--config", config, "--json").json
    assert key["secret"].startswith("dos_sk_")
    assert key["old_until"] > key["created_at"]
    assert enginehouse("keys", "revoke", "bob", "--config", config).code == 0
    (listed,) = enginehouse("keys", "list", "--config", config, "--json").json
    assert listed["revoked_at"] > 0
    assert "secret" not in listed


@pytest.mark.parametrize(
    ("option", "wrong", "said"),
    [
        ("--model", "m", f"Known here: {MODEL}."),
        ("--endpoint", "chatt", "Did you mean 'chat'?"),
        ("--profile", "dos-ai", "Known here: openai."),
    ],
)
def test_a_key_for_what_is_not_served_is_refused_by_option_unless_it_is_to_come(
    enginehouse: Run, config: str, option: str, wrong: str, said: str
) -> None:
    done = enginehouse("keys", "create", "bob", option, wrong, "--config", config)
    assert done.code == 2
    assert f"{option}: no {option[2:]} '{wrong}' is served here. {said}" in done.err
    assert enginehouse("keys", "list", "--config", config, "--json").json == []
    made = enginehouse("keys", "create", "bob", option, wrong, "--allow-unknown", "--config", config, "--json")
    assert made.json[f"{option[2:]}s"] == [wrong]


def test_the_expiry_of_a_key_is_changed_and_must_be_said(enginehouse: Run, config: str) -> None:
    enginehouse("keys", "create", "bob", "--expires-days", "0.0000001", "--config", config)
    time.sleep(0.1)  # it is good for 9 ms, in which a fast machine could ask

    def state() -> str:
        return enginehouse("keys", "list", "--config", config).out.splitlines()[1].split()[1]

    assert state() == "expired"
    assert "is good until 2" in enginehouse("keys", "expire", "bob", "--days", "2", "--config", config).out
    assert state() == "good"
    key = enginehouse("keys", "expire", "bob", "--never", "--config", config, "--json").json
    assert "expires_at" not in key
    for said in ((), ("--days", "1", "--never"), ("--days", "0")):
        assert enginehouse("keys", "expire", "bob", *said, "--config", config).code == 2
    enginehouse("keys", "revoke", "bob", "--config", config)
    assert enginehouse("keys", "expire", "bob", "--never", "--config", config).code == 1


def test_what_cannot_be_done_is_said_in_a_line(enginehouse: Run, config: str) -> None:
    done = enginehouse("keys", "revoke", "nobody", "--config", config)
    assert done.code == 1
    assert "no key 'nobody'" in done.err
    assert enginehouse("keys", "create", "a\nb", "--config", config).code == 2


def test_limits_are_set_and_listed(enginehouse: Run, config: str) -> None:
    enginehouse("keys", "create", "bob", "--config", config)
    done = enginehouse(
        "limits", "set", "bob", "--requests-per-minute", "60", "--tokens-per-day", "9", "--config", config
    )
    assert "60 requests per minute, 9 tokens per day" in done.out
    row = enginehouse("limits", "list", "--config", config).out.splitlines()[1].split()
    assert row == ["bob", "60", "-", "9", "-"]
    (listed,) = enginehouse("limits", "list", "--config", config, "--json").json
    assert listed["limits"] == {"requests_per_minute": 60, "tokens_per_day": 9}
    assert enginehouse("limits", "set", "bob", "--requests-per-minute", "0", "--config", config).code == 2
    assert enginehouse("limits", "set", "nobody", "--config", config).code == 1

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path

import pytest

from enginehouse.accounts.keys import KeyRing
from enginehouse.config import load_config

from .conftest import Run


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

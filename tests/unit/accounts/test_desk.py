"""The desk: keys made, rotated and revoked in the database, beside a router that runs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from enginehouse.accounts import Desk, KeyExists, KeyNotFound, KeyRing, Ledger, Scope, Unauthorized, ledger, open_store
from enginehouse.config import AccountsConfig, Config, ConfigError, KeyConfig


@pytest.fixture
def config(tmp_path):
    accounts = AccountsConfig(url=f"sqlite:///{tmp_path}/a.db", keys=True, key_prefix="dos_sk_")
    return Config(accounts=accounts, keys=(KeyConfig(name="owner", sha256="0" * 64),))


@pytest.fixture
def desk(config):
    return Desk(config)


SCOPE = Scope(models=("m", "n"), endpoints=("chat",), profiles=(), admin=True)


def test_a_key_is_kept_by_its_hash_alone_with_its_scope(desk, tmp_path):
    key, secret = desk.create("alice", SCOPE, expires_in_s=60)
    assert secret.startswith("dos_sk_")
    assert desk.all_keys() == [key]
    assert key.scope == SCOPE
    assert abs(key.expires_at - time.time() - 60) < 30
    for file in tmp_path.iterdir():
        assert secret.encode() not in file.read_bytes()
        assert secret.removeprefix("dos_sk_").encode() not in file.read_bytes()


def test_a_name_is_given_once_also_after_its_key_was_revoked(desk):
    desk.create("alice", Scope())
    desk.revoke("alice")
    for name in ("alice", "owner"):
        with pytest.raises(KeyExists):
            desk.create(name, Scope())


def test_what_is_not_there_or_revoked_can_be_neither_rotated_nor_revoked(desk):
    desk.create("alice", Scope())
    desk.revoke("alice")
    for name in ("alice", "bob"):
        for change in (desk.rotate, desk.revoke):
            with pytest.raises(KeyNotFound):
                change(name)


def test_a_router_that_runs_learns_of_every_change(desk, config, monkeypatch):
    monkeypatch.setattr(ledger, "CHECKPOINT_S", 0.02)
    ring = KeyRing(is_closed=True)
    book = Ledger(open_store(config), keys=ring)

    def wait_known(secret: str, is_known: bool) -> None:
        for _ in range(1000):
            try:
                found = ring.check(f"Bearer {secret}")
            except Unauthorized:
                found = None
            if found == ("alice" if is_known else None):
                return
            time.sleep(0.01)
        pytest.fail("it did not learn of it within 10 s")

    try:
        _, first = desk.create("alice", Scope())
        wait_known(first, True)
        _, second = desk.rotate("alice", overlap_s=600)
        wait_known(second, True)
        wait_known(first, True)
        _, third = desk.rotate("alice")
        wait_known(third, True)
        wait_known(second, False)
        desk.revoke("alice")
        wait_known(third, False)
    finally:
        book.close()


def test_without_a_database_there_is_no_desk():
    with pytest.raises(ConfigError, match=r"accounts\.url"):
        Desk(Config())


def test_a_desk_at_a_folder_that_is_not_there_says_so(tmp_path: Path):
    with pytest.raises(ConfigError, match="absent"):
        Desk(Config(accounts=AccountsConfig(url=f"sqlite:///{tmp_path}/absent/a.db")))

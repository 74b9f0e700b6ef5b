"""Accounts in a real PostgreSQL server: shared by routers, dead ones settled once, the server itself killed."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from sqlalchemy import NullPool, create_engine, text
from tests.postgres import NEEDED, PostgreSQL, binaries
from tests.unit.accounts.facts import ended, facts_of

from enginehouse import accounts
from enginehouse.accounts import (
    Desk,
    Facts,
    KeyExists,
    Limiter,
    RateLimited,
    Scope,
    StoreError,
    Undecided,
    hash_secret,
)
from enginehouse.accounts.parts import Ask
from enginehouse.accounts.store import Store, open_store, postgresql
from enginehouse.accounts.store.columns import row
from enginehouse.accounts.store.postgresql import PostgreSQLStore, totals
from enginehouse.assembly import build
from enginehouse.config import AccountsConfig, Config, ConfigError, Limits
from enginehouse.plugins import Plugins

pytestmark = pytest.mark.skipif(binaries() is None, reason=NEEDED)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    server = PostgreSQL()
    yield server
    server.close()


@pytest.fixture
def url(server: PostgreSQL) -> str:
    return server.new_database()


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    store = PostgreSQLStore(url)
    yield store
    store.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that have passed, as the store sees them."""
    passed = [1000.0]
    monkeypatch.setattr(postgresql.time, "monotonic", lambda: passed[0])
    return passed


def requests(url: str) -> int:
    return sum(total.requests for total in totals(url))


def watch(clock: list[float], for_s: float, *living: Store) -> int:
    """Let *living* routers beat and look at the others as ledgers do; returns how many requests they settled."""
    settled = 0
    for _ in range(int(for_s / postgresql.BEAT_S) + 1):
        for store in living:
            store.commit({}, {})
            settled += store.settle()
        clock[0] += postgresql.BEAT_S
    return settled


def test_routers_share_a_database_and_their_serials(url: str, store: Store) -> None:
    other = PostgreSQLStore(url)
    for each in (store, other):
        each.commit({1: row(ended()), 2: row(ended())}, {3: row(facts_of())})
        each.commit({1: row(ended())}, {})
    assert requests(url) == 4
    other.close()
    assert requests(url) == 5  # what ran
    (total,) = totals(url)
    assert (total.prompt_tokens, total.cached_tokens, total.completion_tokens, total.reasoning_tokens) == (
        50, 20, 87, 20,
    )  # fmt: skip


def test_hundreds_of_rows_of_every_kind_are_kept_in_one_commit(url: str, store: Store) -> None:
    lying, odd = ended(model="lies"), ended(model="odd\0")
    lying.prompt_tokens = 10**30
    odd.error_code = "bad \ud800"
    rows = {serial: row(ended()) for serial in range(1000)} | {1000: row(lying), 1001: row(odd)}
    store.commit(rows, {})
    assert requests(url) == 1002


KILLED = """
import os, signal, sys
from enginehouse.accounts.store.columns import row
from enginehouse.accounts.store.postgresql import PostgreSQLStore
from tests.unit.accounts.facts import ended, facts_of
store = PostgreSQLStore(sys.argv[1])
store.commit({1: row(ended())}, {2: row(facts_of()), 3: row(facts_of())})
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_router_left_is_settled_once_at_its_last_note(
    url: str, store: Store, clock: list[float], request: pytest.FixtureRequest
) -> None:
    child = subprocess.run([sys.executable, "-c", KILLED, url], cwd=request.config.rootpath, timeout=120)
    assert child.returncode == -signal.SIGKILL
    other = PostgreSQLStore(url)
    assert watch(clock, postgresql.GONE_S - postgresql.BEAT_S, store, other) == 0
    assert watch(clock, postgresql.GONE_S, store, other) == 2
    (total,) = totals(url)
    assert (total.requests, total.completion_tokens) == (3, 20 + 7 + 7)
    other.close()


def test_a_router_that_lives_is_not_settled_also_after_nobody_looked_for_long(
    url: str, store: Store, clock: list[float]
) -> None:
    other = PostgreSQLStore(url)
    other.commit({}, {1: row(facts_of())})
    assert store.settle() == 0
    clock[0] += 10 * postgresql.GONE_S  # the database was away, or the machine suspended
    assert store.settle() == 0
    for _ in range(20):
        clock[0] += postgresql.BEAT_S
        other.commit({}, {})
        assert store.settle() == 0
    other.close()


def test_a_router_thought_gone_finds_out_before_it_writes_and_counts_nothing_twice(
    url: str, store: Store, clock: list[float]
) -> None:
    stopped = PostgreSQLStore(url)
    stopped.commit({}, {1: row(facts_of()), 2: row(facts_of())})
    assert watch(clock, postgresql.GONE_S, store) == 2
    with pytest.raises(StoreError, match="noted anew"):
        stopped.commit({1: row(ended())}, {2: row(facts_of())})
    stopped.commit({1: row(ended())}, {2: row(facts_of())})
    stopped.close()
    (total,) = totals(url)
    assert (total.requests, total.completion_tokens) == (2, 20 + 7)


def test_a_server_that_is_killed_loses_nothing_that_was_kept_and_takes_rows_again(
    url: str, store: Store, server: PostgreSQL
) -> None:
    store.commit({1: row(ended())}, {2: row(facts_of())})
    server.kill()
    try:
        for _ in range(2):
            with pytest.raises(StoreError):
                store.commit({2: row(ended()), 3: row(ended())}, {})
    finally:
        server.start()
    for attempt in range(2):  # what was in the pool is found dead once
        try:
            store.commit({2: row(ended()), 3: row(ended())}, {})
            break
        except StoreError:
            assert attempt == 0
    assert requests(url) == 3


@pytest.mark.parametrize("use", [open_store, accounts.totals])
def test_a_database_out_of_reach_is_an_error_that_names_it_without_its_password(use) -> None:
    config = Config(accounts=AccountsConfig(url="postgresql://someone:secret@127.0.0.1:1/accounts"))
    with pytest.raises(ConfigError, match=r"accounts\.url") as caught:
        use(config)
    assert "127.0.0.1:1" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("query", "told"),
    [("sslmode=maybe", "disable, prefer, require, verify-full"), ("options=-c", "there are sslmode and host")],
)
def test_an_option_that_is_none_is_refused_with_those_that_are(query: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        PostgreSQLStore(f"postgresql://owner@127.0.0.1:1/accounts?{query}")


def test_a_socket_of_the_host_and_a_password_of_the_environment_are_used(
    server: PostgreSQL, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "not asked for")
    name = url.rpartition("/")[2]
    assert totals(f"postgresql://owner@:{server.port}/{name}?host={server.data}") == []


def test_a_database_that_a_later_version_made_is_left_alone(url: str, store: Store) -> None:
    engine = create_engine(url.replace("postgresql:", "postgresql+pg8000:"), poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for use in (PostgreSQLStore, totals):
        with pytest.raises(ConfigError, match="version 9999"):
            use(url)


def test_keys_are_shared_and_routers_see_each_change_in_its_order(url: str, store: Store) -> None:
    desk = Desk(Config(accounts=AccountsConfig(url=url, keys=True)))
    scope = Scope(models=("m",), admin=True)
    alice, secret = desk.create("alice", scope)
    assert store.changed_keys(0) == desk.all_keys() == [alice]
    bob, _ = desk.create("bob", Scope())
    rotated, _ = desk.rotate("alice", overlap_s=60)
    assert store.changed_keys(alice.changed) == [bob, rotated]
    assert (rotated.scope, rotated.old_sha256) == (scope, hash_secret(secret))
    with pytest.raises(KeyExists):
        desk.create("bob", Scope())


def test_routers_know_how_many_they_are_and_what_was_had_within_a_day(
    url: str, store: Store, clock: list[float]
) -> None:
    other = PostgreSQLStore(url)
    other.commit({1: row(ended())}, {})
    watch(clock, postgresql.BEAT_S, store, other)
    assert sorted((store.share, other.share)) == [(0, 2), (1, 2)]
    other.close()
    watch(clock, postgresql.BEAT_S, store)
    assert store.share == (0, 1)
    ((key, model, at, tokens),) = store.had(time.time() - 86_400)
    assert (key, model, tokens) == ("k", "m", 30)
    assert time.time() - 5 < at <= time.time() + 3600
    assert store.had(time.time() + 60) == []


async def test_a_house_is_built_on_the_database_with_its_keys_and_what_they_had(url: str) -> None:
    before = PostgreSQLStore(url)
    before.commit({1: row(ended(key="alice"))}, {})
    before.close()
    config = Config(accounts=AccountsConfig(url=url, keys=True))
    desk = Desk(config)
    for name, tokens in (("alice", 30), ("bob", 31)):
        desk.create(name, Scope(), limits=Limits(tokens_per_day=tokens))
    house = build(config, Plugins(), devices=[])
    try:
        assert not await passes(house.service.limiter, "alice")
        assert await passes(house.service.limiter, "bob")
    finally:
        house.close()


async def passes(limiter: Limiter, key: str) -> bool:
    """Whether *limiter* lets in a request of *key*, when it has asked the database."""
    facts = Facts("r")
    facts.key = key
    while True:
        known = asyncio.Event()
        try:
            limiter.enter(facts, 1)
        except RateLimited:
            return False
        except Undecided:
            limiter.when_known(known.set)
            await asyncio.wait_for(known.wait(), 30)
        else:
            return True


def asked(kind: str, *, used: int = 0, wanted: int = 1, subject: str = "key:k") -> Ask:
    return Ask(subject=subject, kind=kind, limit=100, used=used, unused=0, wanted=wanted, frees_s=5.0)


def test_what_a_router_that_is_gone_held_of_a_minute_is_free_a_minute_later(
    url: str, store: Store, clock: list[float]
) -> None:
    other = PostgreSQLStore(url)
    minute, running = asked("requests_per_minute", used=90), asked("concurrent_requests", used=90)
    other.hand_out([minute, running])
    other.close()
    wanted = [asked("requests_per_minute", wanted=50), asked("concurrent_requests", wanted=50)]
    assert [told.is_short for told in store.hand_out(wanted)] == [True, True]
    watch(clock, postgresql.BEAT_S, store)
    assert [told.is_short for told in store.hand_out(wanted)] == [True, False]
    watch(clock, 60, store)
    assert [told.is_short for told in store.hand_out(wanted)] == [False, False]


def test_what_a_router_that_is_gone_used_of_a_day_is_counted_on(url: str, store: Store, clock: list[float]) -> None:
    day = asked("tokens_per_day", wanted=71)
    assert not store.hand_out([day])[0].is_short
    other = PostgreSQLStore(url)
    other.hand_out([asked("tokens_per_day", wanted=20)])
    other.commit({1: row(ended())}, {})  # 30 tokens
    other.close()
    watch(clock, postgresql.BEAT_S, store)
    assert store.hand_out([day])[0].is_short
    assert not store.hand_out([asked("tokens_per_day", wanted=70)])[0].is_short
    assert store.hand_out([asked("tokens_per_day", wanted=71, subject="model:m")])[0].is_short


@pytest.mark.parametrize("off_s", [-(10.0**9), -90_000.0, 90_000.0, 10.0**9])
def test_what_was_used_while_the_time_of_day_was_wrong_locks_nothing_for_long(
    url: str, store: Store, monkeypatch: pytest.MonkeyPatch, off_s: float
) -> None:
    """What looks as if it had been used another day, past or to come, is not counted for this one."""
    other = PostgreSQLStore(url)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + off_s)
    other.commit({1: row(ended())}, {})
    other.close()
    monkeypatch.undo()
    assert not store.hand_out([asked("tokens_per_day", wanted=100)])[0].is_short


def test_a_shortage_that_nobody_asks_about_any_more_holds_up_nobody(url: str, store: Store, clock: list[float]) -> None:
    other = PostgreSQLStore(url)
    store.hand_out([asked("requests_per_minute", used=100)])
    assert not other.hand_out([asked("requests_per_minute")])[0].is_full  # what the one said may be old
    store.hand_out([asked("requests_per_minute", used=100, wanted=0)])
    assert other.hand_out([asked("requests_per_minute")])[0].is_full
    assert store.wanted() == [("key:k", "requests_per_minute")]
    assert other.wanted() == [("key:k", "requests_per_minute")]  # that one wanted more as well
    watch(clock, 2 * postgresql.BEAT_S, store, other)
    assert store.wanted() == other.wanted() == []
    other.close()

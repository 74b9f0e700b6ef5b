"""What keys and limits cost: `python -m tests.bench.keys`. Processor time in the same process, by rounds in turns.

The first table is the time to find, or to refuse, a key with few keys and with 100,000: a wrong, a nearly right and a
revoked one must not differ beyond the noise, which the same key measured twice shows. The second is what scopes,
limits and their headers, and credit add to a request on the event loop. The third is what the ledger's thread takes for
a row, with and without a charge, where so many are committed together.
"""

from __future__ import annotations

import contextlib
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable

from enginehouse.accounts import Credits, Facts, Key, KeyRing, Limiter, Scope, Unauthorized, hash_secret, new_secret
from enginehouse.accounts.credit_desk import CreditDesk
from enginehouse.accounts.prices import PerToken
from enginehouse.accounts.store.columns import row
from enginehouse.accounts.store.sqlite import SQLiteStore
from enginehouse.config import AccountsConfig, Config, KeyConfig, Limits
from enginehouse.http.limit_headers import LIMIT_LINES

_ROUNDS = 41
_CALLS = 2000
_RIGHT, _REVOKED = new_secret("dos_sk_"), new_secret("dos_sk_")
_LIMITS = Limits(
    requests_per_minute=10**9, tokens_per_minute=10**12, tokens_per_day=10**12, concurrent_requests=10**6
)  # fmt: skip
_SCOPE = Scope(models=("m",), endpoints=("chat",), profiles=("openai",))


def _ring(keys: int, limiter: Limiter | None = None) -> KeyRing:
    """A ring of so many keys beside the right one and the revoked one."""
    ring = KeyRing(is_closed=True, limiter=limiter)
    known = [
        Key(name="right", sha256=hash_secret(_RIGHT), created_at=0.0, changed=1, limits=_LIMITS, scope=_SCOPE),
        Key(name="revoked", sha256=hash_secret(_REVOKED), created_at=0.0, revoked_at=1.0, changed=2),
    ]
    others = [Key(name=str(at), sha256=hash_secret(str(at)), created_at=0.0, changed=3 + at) for at in range(keys)]
    ring.follow(known + others)
    return ring


def _measure(work: dict[str, Callable[[], None]], calls: int = _CALLS) -> dict[str, list[float]]:
    """Microseconds of processor time of one call of each, round by round."""
    found: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(_ROUNDS):
        for name, call in work.items():
            began = time.thread_time()
            for _ in range(calls):
                call()
            found[name].append((time.thread_time() - began) / calls * 1e6)
    return found


def _check(ring: KeyRing, secret: str) -> Callable[[], None]:
    header = f"Bearer {secret}"

    def call() -> None:
        with contextlib.suppress(Unauthorized):
            ring.check(header)

    return call


def _credits() -> Credits:
    """A purse of the right key that never ends, and a model with prices."""
    credits_ = Credits()
    credits_.prices["m"] = PerToken.of("150000/75000/600000")
    credits_.learn([(1, "right")])
    credits_.purses["right"].free = 10**18
    return credits_


def _request(ring: KeyRing, limiter: Limiter, credit: Credits) -> Callable[[], None]:
    def call() -> None:
        facts = Facts("r")
        facts.key, facts.model = "right", "m"
        facts.instance_id, facts.prompt_tokens = "m#0", 10
        if (prices := credit.prices.get("m")) is not None:
            facts.prices = prices
            if (purse := credit.purse(facts.key)) is not None:
                credit.reserve(facts, purse, choices=1, said_tokens=100, most_tokens=4096, again=_never)
        if (scope := ring.bounded.get(facts.key)) is not None:
            scope.check(endpoint="chat", model="m", profile="openai")
        limiter.enter(facts, 100)
        if facts.held is not None:
            for told in limiter.told(facts):
                _ = LIMIT_LINES[told[0]] % told[1:]
        limiter.leave(facts)
        credit.settle(facts)

    return call


def _never() -> None:
    raise AssertionError("the purse has enough")


def _commit(path: str, rows: int, *, is_paid: bool) -> Callable[[], None]:
    """Commits so many rows to a new file, those of one key."""
    key = KeyConfig(name="right", sha256="0" * 64)
    desk = CreditDesk(Config(accounts=AccountsConfig(url=f"sqlite:///{path}"), keys=(key,)))
    desk.grant("right", "9000000")
    store = SQLiteStore(path)
    store.lease({"right": 10**18}, {})
    facts = Facts("r")
    facts.key, facts.model, facts.instance_id = "right", "m", "m#0"
    facts.prices = PerToken.of("150000/75000/600000")
    facts.prompt_tokens, facts.charged = 10, 1_500_000 if is_paid else None
    facts.end(200)
    serials = itertools.count()

    def call() -> None:
        store.commit({next(serials): row(facts) for _ in range(rows)}, {})

    return call


def main() -> None:
    """Measure, and print."""
    rings = {"3 keys": _ring(1), "100,000 keys": _ring(100_000)}
    secrets = {
        "right": _RIGHT,
        "wrong": new_secret("dos_sk_"),
        "nearly right": _RIGHT[:-1] + ("A" if _RIGHT[-1] != "A" else "B"),
        "revoked": _REVOKED,
        "wrong, once more": new_secret("dos_sk_"),
    }
    print("µs of processor time to find or refuse a key: median, and the middle half of the rounds\n")
    for size, ring in rings.items():
        for name, times in _measure({name: _check(ring, secret) for name, secret in secrets.items()}).items():
            low, middle, high = statistics.quantiles(times, n=4)
            print(f"{size:>14}  {name:<18}{middle:7.2f}   {low:.2f} to {high:.2f}")
    began = time.thread_time()
    rings["100,000 keys"].learn([Key(name="new", sha256="0" * 64, created_at=0.0, changed=10**6)])
    print(f"\nto learn of one key beside 100,000: {(time.thread_time() - began) * 1e3:.0f} ms, in a thread")
    limited = Limiter()
    plain = Limiter()
    work = {
        "without limits": _request(KeyRing(), plain, Credits()),
        "credit": _request(KeyRing(), plain, _credits()),
        "scope, four limits of a key, headers": _request(_ring(1, limited), limited, Credits()),
        "all of it": _request(_ring(1, limited), limited, _credits()),
    }
    print("\nµs of processor time that they add to a request\n")
    for name, times in _measure(work).items():
        print(f"{name:>38}{statistics.median(times):7.2f}")
    print("\nµs of processor time of the ledger's thread for a row, with SQLite\n")
    with tempfile.TemporaryDirectory() as folder:
        for rows in (1, 16, 256):
            commits = {
                "without a charge": _commit(f"{folder}/{rows}-plain.db", rows, is_paid=False),
                "with its charge": _commit(f"{folder}/{rows}-paid.db", rows, is_paid=True),
            }
            for name, times in _measure(commits, calls=max(1, 64 // rows)).items():
                print(f"{rows:>14} together  {name:<18}{statistics.median(times) / rows:7.1f}")


if __name__ == "__main__":
    main()

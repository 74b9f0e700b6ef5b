"""Usage that outlives the process: one row for each request that reached an engine.

The event loop only puts rows into a queue. A thread takes all that have come and commits them together, so that one
commit serves many requests under load. Where the store has a journal, rows that are paid for go there first, from the
event loop itself: a write into the system's memory takes 1 µs, and to have another thread do it 50.

Requests that run longer than `CHECKPOINT_S` are noted with their counts so far, again and again while these change:
when a router is killed, at most the last second of its streams is missing.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Literal, NamedTuple

from enginehouse.telemetry import get_logger
from enginehouse_plugin.errors import EnginehouseError

from .credits import Credits
from .facts import Facts
from .keys import Key, KeyRing
from .limits import Limiter
from .parts import Ask, Told
from .store import CHECKPOINT_S, Restarted, Store, StoreError
from .store.columns import TIMES, Row, row

SETTLE_S: Final = 5.0
"""How often a router looks for others that are gone."""
MAX_WAITING: Final = 100_000
"""Rows that wait in memory while the database takes none; further ones are lost, counted and told of."""
GATHER_S: Final = 0.2
"""Rows that nobody waits for are committed with those that come within this time: a commit costs as much as 50 rows."""
_RETRY_S: Final = 1.0
_MAX_BATCH: Final = 1000

log = get_logger()

_Rows = tuple[list[tuple[int, Row]], Callable[[], None] | None, bool]
"""Rows, what is called when they are committed, and whether they are in the journal."""
AccountsState = Literal["written", "noting", "refusing"]
"""Whether usage is written now; where not, requests are served and noted in memory, or refused."""


class AccountsUnavailable(EnginehouseError):
    """The database of accounts cannot be used now."""

    code = "accounts_unavailable"


def _unavailable() -> AccountsUnavailable:
    return AccountsUnavailable("The credit of this API key cannot be looked up now.", retry_after_s=_RETRY_S)


class _Asked(NamedTuple):
    """Parts of limits that are asked for, and who is told."""

    asks: list[Ask]
    tell: Callable[[list[Told] | None], None]


class Ledger:
    """Keeps usage in *store*, which it closes at its end. *keys* are told of changes there,
    *limiter* of other routers that use it, and *credit* of what is granted there. If it *refuses*, nothing is to be
    served that cannot be written down.
    """

    def __init__(
        self,
        store: Store,
        *,
        keys: KeyRing | None = None,
        limiter: Limiter | None = None,
        credit: Credits | None = None,
        refuses: bool = False,
    ) -> None:
        self._store = store
        self._journal = store.journal
        self._credits = credit or Credits()
        self._refuses = refuses
        self._is_failing = False
        self._keys = keys
        self._limiter = limiter
        self._lock = threading.Lock()  # a request is either in `_running` or in the queue, and never in both
        self._running: dict[Facts, int] = {}
        self._serial = 0
        self._noted: dict[int, Row] = {}
        self._noted_at = self._settled_at = self._learnt_at = time.monotonic()
        self._rows: queue.SimpleQueue[_Rows | _Asked | threading.Event | None] = queue.SimpleQueue()
        self._hurry = threading.Event()  # somebody waits for what is in the queue
        self._waiting = 0  # rows in the queue
        self._lost = self._told = 0
        self._leaves = False  # rows in the journal for a later router
        self._closing = threading.Event()
        self._credits.poke = lambda: self._put(([], None, False))
        if limiter is not None and store.is_shared:
            limiter.share(self)
        self._thread = threading.Thread(target=self._write_all, name="usage ledger", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """How many rows were lost."""
        return self._lost

    @property
    def state(self) -> AccountsState:
        """Whether usage is written, or else what becomes of requests."""
        if not self._is_failing:
            return "written"
        return "refusing" if self._refuses else "noting"

    def check(self) -> None:
        """Let a request pass.

        Raises:
            AccountsUnavailable: the database takes nothing now, and what cannot be written down is not to be served.
        """
        if self._is_failing and self._refuses:
            raise AccountsUnavailable(
                "Usage cannot be written down now, so no request is served.", retry_after_s=_RETRY_S
            )

    def track(self, facts: Facts) -> None:
        """Follow a request that is on its way to an engine, until it is added."""
        with self._lock:
            if facts not in self._running:
                self._serial += 1
                self._running[facts] = self._serial

    def keep(self, facts: Facts) -> bool:
        """Keep a request that has ended, so that no end of this process loses it, and tell whether it is.

        Where it is not, `add` keeps it in time: its row has to wait for a commit.
        """
        journal = self._journal
        if journal is None or self._waiting >= MAX_WAITING:
            return False
        with self._lock:
            numbered = self._numbered(facts)
            if numbered is not None:
                serial, kept = numbered
                if not journal.keep(serial, kept):
                    self._running[facts] = serial
                    return False
                self._waiting += 1
                self._rows.put(([numbered], None, True))  # nobody hurries
        facts.is_kept = True
        return True

    def _numbered(self, facts: Facts) -> tuple[int, Row] | None:
        """The row of a request that has ended and does not run any more; None: it reached no engine."""
        serial = self._running.pop(facts, None)
        if facts.instance_id is None:
            return None
        if serial is None:
            serial = self._serial = self._serial + 1
        return serial, row(facts)

    def add(self, *ended: Facts, then: Callable[[], None] | None = None) -> None:
        """Keep requests that have ended, those that reached an engine and are not kept; returns at once.

        *then* is called when they are committed, by another thread; at once where the database takes nothing now.
        """
        rows: list[tuple[int, Row]] = []
        with self._lock:
            for facts in ended:
                if not facts.is_kept and (numbered := self._numbered(facts)) is not None:
                    rows.append(numbered)  # noqa: PERF401  # a comprehension costs a call
            room = MAX_WAITING - self._waiting
            if len(rows) > room:
                self._lost += len(rows) - room
                del rows[room:]
            if rows or then is not None:
                self._waiting += len(rows)
                self._put((rows, then, False), hurries=then is not None)
        if then is not None and self._is_failing:
            then()

    def hand_out(self, asks: list[Ask], tell: Callable[[list[Told] | None], None]) -> None:
        """See `parts.HandsOut`; returns at once."""
        self._put(_Asked(asks, tell))

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything added before is committed; returns whether it is."""
        committed = threading.Event()
        self._put(committed)
        return committed.wait(timeout_s)

    def close(self) -> None:
        """Commit what is left and close the store. Blocks; call it once, when nothing is added any more."""
        self._closing.set()
        if self._limiter is not None and (asks := self._limiter.last_words()):
            self.hand_out(asks, lambda _: None)
        self._put(None)
        self._thread.join()

    def _put(self, item: _Rows | _Asked | threading.Event | None, *, hurries: bool = True) -> None:
        self._rows.put(item)
        if hurries:
            self._hurry.set()

    def _write_all(self) -> None:
        is_last = False
        while not is_last:
            ended: dict[int, Row] = {}
            waiting: list[threading.Event] = []
            thens: list[Callable[[], None]] = []
            journaled = 0
            with suppress(queue.Empty):
                item = self._rows.get(timeout=CHECKPOINT_S)
                self._hurry.wait(GATHER_S)
                self._hurry.clear()  # before the look at what is there: who comes after it hurries again
                while True:
                    if item is None:
                        is_last = True
                    elif isinstance(item, threading.Event):
                        waiting.append(item)
                    elif isinstance(item, _Asked):
                        self._hand_out(item)
                    else:
                        rows, then, is_journaled = item
                        if is_journaled:
                            journaled += len(rows)
                        if then is not None:
                            thens.append(then)
                        if rows:
                            ended.update(rows)
                            with self._lock:
                                self._waiting -= len(rows)
                    if is_last or len(ended) >= _MAX_BATCH:
                        break
                    item = self._rows.get_nowait()
            self._commit(ended, journaled)
            for then in thens:
                then()
            self._lease()
            self._learn()
            for event in waiting:
                event.set()
        self._store.close()

    def _notes(self) -> dict[int, Row]:
        """Rows of requests that run and have changed since they were noted, once in `CHECKPOINT_S`."""
        now = time.monotonic()
        if now - self._noted_at < CHECKPOINT_S:
            return {}
        self._noted_at = now
        with self._lock:
            running = list(self._running.items())
        rows = {
            serial: row(facts) for facts, serial in running if facts.instance_id and facts.duration_s > CHECKPOINT_S
        }
        return {serial: note for serial, note in rows.items() if self._noted.get(serial) != note[TIMES:]}

    def _commit(self, ended: dict[int, Row], journaled: int) -> None:
        """Keep *ended* and notes; while that fails (a full disk) try again, but do not hold up the process's end.

        So many of *ended* are in the journal: a later router keeps them, where this one cannot.
        """
        is_reported = is_again = False
        while True:
            notes = self._notes()
            try:
                self._store.commit(ended, notes, again=is_again)
                self._settle()
            except Exception as error:  # whatever a database or its driver breaks, the books go on
                if not isinstance(error, StoreError):
                    log.exception("usage cannot be written")
                is_again = True
                self._noted.clear()  # what was noted may be gone with the file
                if isinstance(error, Restarted):
                    self._credits.void()
                self._refuse_credit()
                if self._closing.is_set():
                    self._lost += len(ended) - journaled
                    self._leaves = self._leaves or journaled > 0
                    self._tell_lost(str(error))
                    return
                if not is_reported:
                    log.error("usage cannot be written and is kept in memory", problem=str(error))
                    is_reported = self._is_failing = True
                self._learn()
                self._closing.wait(_RETRY_S)
            else:
                break
        if journaled and self._journal is not None and not self._leaves:
            self._journal.settled(journaled)
        self._is_failing = False
        self._credits.unavailable = None
        if is_reported:
            log.info("usage is written again")
            self._tell_lost(f"more than {MAX_WAITING} rows waited")
        self._noted.update((serial, note[TIMES:]) for serial, note in notes.items())
        for serial in ended:
            self._noted.pop(serial, None)

    def _lease(self) -> None:
        """Take what is wanted of keys' credit, and give back what nobody uses."""
        wanted, returned = self._credits.orders()
        if not wanted and not returned:
            return
        try:
            granted = self._store.lease(wanted, returned)
        except Exception as error:  # as above
            log.error("credit cannot be leased", problem=str(error), exc_info=not isinstance(error, StoreError))
            if isinstance(error, Restarted):
                self._credits.void()
                returned = {}
            self._credits.failed(wanted, returned, _unavailable())
        else:
            self._credits.unavailable = None
            self._credits.granted(wanted, granted)

    def _refuse_credit(self) -> None:
        wanted, returned = self._credits.orders()
        self._credits.failed(wanted, returned, _unavailable())

    def _learn(self) -> None:
        """Learn who was granted credit, which keys have changed, and of which limits others are short.

        While the database is away it knows what it knows.
        """
        now = time.monotonic()
        if now - self._learnt_at < CHECKPOINT_S:
            return
        self._learnt_at = now
        with suppress(Exception):
            self._credits.learn(self._store.known_credits(self._credits.number))
        if self._keys is not None:
            changed: list[Key] = []
            with suppress(StoreError):
                changed = self._store.changed_keys(self._keys.changed)
            self._keys.follow(changed)
        if self._limiter is not None and self._limiter.has_parts:
            with suppress(StoreError):
                self._limiter.give_back(self._store.wanted())

    def _hand_out(self, asked: _Asked) -> None:
        """Have parts handed out before anything is written: requests wait for them."""
        told: list[Told] | None = None
        with suppress(StoreError):
            told = self._store.hand_out(asked.asks)
        asked.tell(told)

    def _tell_lost(self, problem: str) -> None:
        untold = self._lost - self._told
        if untold:
            self._told += untold
            log.error("usage lost", rows=untold, problem=problem)

    def _settle(self) -> None:
        now = time.monotonic()
        if now - self._settled_at >= SETTLE_S:
            self._settled_at = now
            settled = self._store.settle()
            if self._limiter is not None:
                self._limiter.rank, self._limiter.routers = self._store.share
            if settled:
                log.warning("requests of a router that is gone are usage now", requests=settled)

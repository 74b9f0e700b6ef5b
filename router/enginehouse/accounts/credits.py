"""Credit of keys: what requests may spend, out of what this router has leased of it from the database.

A request reserves what it may cost at most before anything is generated, and pays what it has cost when it ends. All of
that are whole numbers in memory. Where too little is left of a lease, the ledger's thread takes more of it; requests
that need it wait until it has. What a purse holds is the database's to give, so several routers never spend more
than there is.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from enginehouse.config import ModelConfig, text_of
from enginehouse_plugin.errors import EnginehouseError

from .facts import Facts
from .prices import PerToken
from .refusals import InsufficientCredits

TEMPLATE_TOKENS: Final = 512
"""What a model's template may add to a prompt, of which each token has a byte of the request's body at least."""
IDLE_S: Final = 5.0
"""What is left of a lease that nobody uses for so long goes back, for other routers to spend."""
DRY_S: Final = 1.0
"""How long a key without credit is believed to have none."""
_NEVER = 0.0


class Purse:
    """What this router may spend of one key's credit: `free`, beside what `running` requests have reserved."""

    __slots__ = (
        "asked", "dry_until", "epoch", "free", "is_used", "key", "low", "reserved", "running", "used_at", "waiting",
    )  # fmt: skip

    def __init__(self, key: str) -> None:
        self.key = key
        self.free = self.reserved = self.running = 0
        self.asked = 0  # of the database, which has not answered yet
        self.low = 0
        self.epoch = 0
        self.dry_until = self.used_at = _NEVER
        self.is_used = False  # since it was last looked at
        self.waiting: list[tuple[asyncio.AbstractEventLoop, Callable[[], None]]] = []


class Reservation:
    """What one request may cost, out of a purse; `max_tokens` is what each of its choices may have, None: as asked."""

    __slots__ = ("amount", "epoch", "max_tokens", "purse")

    def __init__(self, purse: Purse, amount: int, max_tokens: int | None) -> None:
        self.purse = purse
        self.amount = amount
        self.max_tokens = max_tokens
        self.epoch = purse.epoch
        purse.free -= amount
        purse.reserved += amount
        purse.running += 1
        purse.is_used = True


class Credits:
    """The purses of keys, and the prices of models. With *are_all* every key pays, also one that was granted nothing.

    *poke* is called when something is wanted of the database: `orders` says what. The event loop and the ledger's
    thread may both call what is here.
    """

    def __init__(self, *, are_all: bool = False) -> None:
        self._are_all = are_all
        self._lock = threading.Lock()
        self._leased: dict[str, Purse] = {}
        self._wanted: dict[str, int] = {}
        self._looked_at = time.monotonic()
        self.purses: dict[str | None, Purse] = {}
        self.prices: dict[str, PerToken] = {}
        self.number = 0  # of the last key that is known to have had credit
        self.uncollected = 0
        self.unavailable: EnginehouseError | None = None  # while the database takes nothing
        self.poke: Callable[[], None] = lambda: None

    def set_prices(self, models: Mapping[str, ModelConfig]) -> None:
        """Have *models* cost what they say, from now on."""
        prices = {name: model.prices.per_token for name, model in models.items() if model.prices is not None}
        self.prices = {name: PerToken.of("/".join(map(str, each))) for name, each in prices.items()}

    def learn(self, known: Iterable[tuple[int, str]]) -> None:
        """Ask keys with these numbers and names for credit from now on."""
        for number, key in known:
            self.number = max(self.number, number)
            if key not in self.purses:
                self.purses[key] = Purse(key)

    def purse(self, key: str | None) -> Purse | None:
        """The purse of *key*; None: it need not pay."""
        found = self.purses.get(key)
        if found is None and self._are_all and key is not None:
            found = self.purses[key] = Purse(key)
        return found

    # ---- requests ----

    def reserve(
        self, facts: Facts, purse: Purse, *, choices: int, said_tokens: int | None, most_tokens: int,
        again: Callable[[], None],
    ) -> bool:  # fmt: skip
        """Reserve for *facts*, as `facts.credit`, what its prompt and *said_tokens* for each of *choices* may cost.

        Where it says none (None), it may have *most_tokens*, or fewer where the credit ends there. False: the database
        is asked first, and *again* called when it has answered.

        Raises:
            InsufficientCredits: the key has too little.
            AccountsUnavailable: the lease is too little, and the database takes nothing now.
        """
        prices = facts.prices
        if prices is None:
            return True
        prompt_tokens = facts.prompt_bytes + TEMPLATE_TOKENS
        prompt = (prompt_tokens if prompt_tokens < most_tokens else most_tokens) * prices.dearest_input
        each = choices * prices.output
        tokens = most_tokens if said_tokens is None or said_tokens > most_tokens else said_tokens
        needed = prompt + each * tokens
        with self._lock:
            if purse.free >= needed:
                facts.credit = Reservation(purse, needed, None)
                if purse.free < purse.low and not purse.asked and time.monotonic() >= purse.dry_until:
                    self._ask(purse, needed)
                return True
            if time.monotonic() >= purse.dry_until:
                if self.unavailable is not None:
                    raise self.unavailable
                self._ask(purse, needed)
                purse.waiting.append((asyncio.get_running_loop(), again))
                return False
            if said_tokens is not None or purse.free < prompt + each:
                raise self._refusal(purse, prompt, each, needed if said_tokens is not None else prompt + each)
            tokens = (purse.free - prompt) // each
            facts.credit = Reservation(purse, prompt + each * tokens, tokens)
            return True

    @staticmethod
    def _refusal(purse: Purse, prompt: int, each: int, needed: int) -> InsufficientCredits:
        left = text_of(purse.free)
        message = f"This request may cost up to {text_of(needed)} credits, and this API key has {left} left here"
        if purse.reserved:
            message += f", beside {text_of(purse.reserved)} that its running requests may still take"
        fewer = (purse.free - prompt) // each if each else 0
        if fewer > 0:
            return InsufficientCredits(f"{message}. Ask for 'max_tokens' of {fewer} or less.", param="max_tokens")
        return InsufficientCredits(f"{message}. Have credit added to it, or its budget raised, or shorten the request.")

    def settle(self, facts: Facts) -> None:
        """Take from the key of *facts*, which has ended, what it has cost, and free the rest of what it reserved."""
        credit = facts.credit
        if credit is None:
            return
        cost = facts.cost if facts.instance_id is not None else 0
        purse = credit.purse
        with self._lock:
            is_backed = credit.epoch == purse.epoch
            most = credit.amount + purse.free if is_backed else credit.amount
            charged = cost if cost < most else most
            if is_backed:
                purse.free += credit.amount - charged
            purse.reserved -= credit.amount
            purse.running -= 1
            purse.is_used = True
            self.uncollected += cost - charged
        facts.charged, facts.credit = charged, None

    # ---- the ledger's side ----

    def _ask(self, purse: Purse, needed: int) -> None:
        purse.asked += needed
        self._wanted[purse.key] = self._wanted.get(purse.key, 0) + needed  # what is on its way is asked for already
        self.poke()

    def orders(self) -> tuple[dict[str, int], dict[str, int]]:
        """What is wanted of the database now, by key, and what goes back to it. `granted` or `failed` answers."""
        now = time.monotonic()
        returned: dict[str, int] = {}
        with self._lock:
            wanted, self._wanted = self._wanted, {}
            if now - self._looked_at >= 1.0:
                self._looked_at = now
                for key, purse in list(self._leased.items()):
                    if purse.is_used or purse.running or purse.asked:
                        purse.used_at, purse.is_used = now, False
                    if now - purse.used_at < IDLE_S:
                        continue
                    del self._leased[key]
                    if purse.free:
                        returned[key], purse.free = purse.free, 0
        return wanted, returned

    def granted(self, wanted: Mapping[str, int], granted: Mapping[str, int]) -> None:
        """Put what was *granted* of what was *wanted* into purses, and let those who wait for it try again."""
        now = time.monotonic()
        with self._lock:
            for key, needed in wanted.items():
                purse = self.purses[key]
                amount = granted.get(key, 0)
                purse.free += amount
                purse.asked -= needed
                if amount < needed:
                    purse.dry_until, purse.low = now + DRY_S, 0
                else:
                    purse.low = amount // 4
                if purse.free:
                    self._leased[key] = purse
                    purse.is_used = True
                self._wake(purse)

    def failed(self, wanted: Mapping[str, int], returned: Mapping[str, int], error: EnginehouseError) -> None:
        """Tell who waits for what was *wanted* that it cannot be had; what was *returned* is still ours."""
        with self._lock:
            self.unavailable = error
            for key, amount in returned.items():
                self.purses[key].free += amount
                self._leased[key] = self.purses[key]
            for key, needed in wanted.items():
                purse = self.purses[key]
                purse.asked -= needed
                self._wake(purse)

    def void(self) -> None:
        """Forget all leases: the database has given them to others."""
        with self._lock:
            for purse in self._leased.values():
                purse.free = purse.low = 0
                purse.epoch += 1
            self._leased = {}

    @staticmethod
    def _wake(purse: Purse) -> None:
        waiting, purse.waiting = purse.waiting, []
        for loop, again in waiting:
            if not loop.is_closed():
                loop.call_soon_threadsafe(again)

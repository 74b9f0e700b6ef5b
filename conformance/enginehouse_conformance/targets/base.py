"""What a check can ask of any target, be it a URL or a backend without HTTP."""

from __future__ import annotations

import asyncio
import math
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec

from enginehouse_conformance.answer import Answer, Delta, Refusal
from enginehouse_conformance.declared import Declared
from enginehouse_conformance.verdicts import NotInScope
from enginehouse_conformance.wire.transcript import Exchange

Body = dict[str, Any]  # a request in the API's JSON form


class Refused(Exception):
    """The target refused the request: 4xx, or a `RequestError` of the contract."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


class NoRoom(Refused):
    """The target refused a request that may be more than the context holds that it declares: nothing can be said."""


class Busy(Exception):
    """The target answered 429 or 503 until the retries were used up, or in mid-stream: nothing can be said."""


class ServerFailure(Exception):
    """The target failed: 5xx, or an `EngineError` of the contract, or an error event in a stream."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


def failure_of(refusal: Refusal) -> Exception:
    """What to raise for a failure that the target tells of as *refusal*: `Busy` where it had no time, no more."""
    return Busy(f"{refusal}") if refusal.is_busy else ServerFailure(refusal)


class TargetFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a report says about the target."""

    kind: str
    address: str
    model: str
    server: str | None = None
    hardware: str | None = None
    query: dict[str, str] = {}


class Recording:
    """The exchanges of one check, in order, and how many connections the target took for them (streams aside)."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self.connections = 0
        self.limit: asyncio.Timeout | None = None

    def allow(self, seconds: float) -> None:
        """Let the check that is recorded go on for *seconds* from now, if its own limit is sooner."""
        if self.limit is not None and (self.limit.when() or math.inf) < now_s() + seconds:
            self.limit.reschedule(now_s() + seconds)

    def add(self, exchange: Exchange) -> Exchange:
        """Keep *exchange*, to which its answer is added as it arrives."""
        self.exchanges.append(exchange)
        return exchange

    @property
    def retries(self) -> list[str]:
        """Why requests were sent again."""
        return [reason for exchange in self.exchanges for reason in exchange.retries]


class LiveStream(ABC):
    """A stream while it runs: iterate for deltas, `drop` to leave."""

    @abstractmethod
    def __aiter__(self) -> AsyncIterator[Delta]:
        """The deltas as they arrive.

        Raises:
            BrokenAnswer, ServerFailure, Silent: the stream did not end well.
        """

    @abstractmethod
    async def drop(self) -> None:
        """Leave: close the connection, or cancel and close the generator. Idempotent."""


class TargetHooks(ABC):
    """Optional abilities of a target, for checks that need them.

    Each raises NotInScope where it is missing, and TransportFault where it does not work.
    """

    names: frozenset[str] = frozenset()

    def need(self, name: str) -> None:
        """Raise NotInScope unless the target has the hook *name*."""
        if name not in self.names:
            raise NotInScope(f"the target offers no hook '{name}'")

    @abstractmethod
    async def tokenize(self, text: str) -> Sequence[int]:
        """Token ids of *text*, without a template."""

    @abstractmethod
    async def eos_ids(self) -> Sequence[int]:
        """Ids of the tokens that end a turn."""

    @abstractmethod
    async def active_requests(self) -> int:
        """Sequences that the engine works on now."""

    @abstractmethod
    async def context_size(self) -> int:
        """Tokens of prompt and completion together."""

    @abstractmethod
    async def fault(self, match: str, *, status: int, after_chunks: int | None = None, retry_after_s: int = 3) -> None:
        """Make the next request whose messages hold *match* fail behind the target.

        With *after_chunks* it fails in mid-stream after so many pieces of text, otherwise with *status* before.
        """


class Target(ABC):
    """Something that answers chat requests. `scopes` are the scopes of the rules that can be checked on it."""

    scopes: frozenset[str]
    declared: Declared
    model: str

    @property
    @abstractmethod
    def hooks(self) -> TargetHooks:
        """The target's optional abilities."""

    async def open(self) -> None:
        """Get ready: load, connect. Called once, in the event loop that runs the checks."""

    async def close(self) -> None:
        """Give everything back. Idempotent."""

    @abstractmethod
    async def preflight(self, recording: Recording) -> str | None:
        """Ask for the least there is: None where it is served (or the target is busy), else what came instead.

        Raises:
            TransportFault: it is not there, or silent.
            Misdirected: something answers, but not a chat API that takes this key and model.
        """

    async def learn(self) -> str | None:
        """Take for `declared` what the target says about itself, where nobody declares anything: a note about it."""
        return None

    @abstractmethod
    async def ask(self, body: Body, recording: Recording) -> Answer:
        """The answer to *body*, not streamed. Transport faults, 429 and 503 are retried, on record.

        Raises:
            Refused, ServerFailure, Busy, BrokenAnswer, TransportFault
        """

    @abstractmethod
    async def open_stream(self, body: Body, recording: Recording) -> LiveStream:
        """Begin a streamed answer; raises as `ask` does for what goes wrong before the first event."""

    @abstractmethod
    def facts(self) -> TargetFacts:
        """Who this is, for the report."""


class Misdirected(Exception):
    """Something answers at the address, but no verdict about a chat API can come of it (404, 401, …)."""


def now_s() -> float:
    """The loop's clock."""
    return asyncio.get_running_loop().time()

"""Where usage is kept: what any database must do. `sqlite` does it in a file of one host.

A row is a view of a request's facts, and a running request's row is what it would be if its router ended now.
Rows are told apart by their router and a serial number in it, so that each is kept once however often it is written.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from operator import attrgetter
from typing import Final

import msgspec

from enginehouse.accounts.facts import Facts

CHECKPOINT_S: Final = 1.0
"""How often what runs is noted, and a router shows that it lives."""
KILLED: Final = "router_ended"
"""Error code of a request whose router ended before it did."""

_FACTS: Final = (
    "request_id",
    "endpoint",
    "key",
    "model",
    "instance_id",
    "is_stream",
    "is_cancelled",
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "reasoning_tokens",
)
COLUMNS: Final = ("ended_at", "duration_s", "status", "error_code", *_FACTS)
"""The columns of a row, in its order; `ended_at` is Unix time."""
TIMES: Final = 2
"""The first columns of a row, which change although nothing has happened."""
_values = attrgetter(*_FACTS)

Row = tuple[float | int | str | None, ...]


def row(facts: Facts) -> Row:
    """The row of a request: as it ended, or as it would be if its router ended now."""
    end = (facts.status, facts.error_code) if facts.is_ended else (500, KILLED)
    return (time.time(), facts.duration_s, *end, *_values(facts))


class StoreError(Exception):
    """The database took nothing of what it was given; trying again later may help."""


class Store(ABC):
    """One router's access to a database of usage, by one thread at a time.

    A router that is alive holds its rows of running requests; those of a router that is gone are settled, which
    makes them usage, once and by whoever comes first. How a database knows who is alive is its own matter, with two
    rules: no change of a clock makes a living router look gone, and nothing of it depends on process ids.
    """

    @abstractmethod
    def commit(self, ended: Mapping[int, Row], running: Mapping[int, Row]) -> None:
        """Keep rows by their serial, all or none: those that *ended* in place of any earlier one of that serial.

        Called at least once in `CHECKPOINT_S`, also with nothing: it shows that this router lives.

        Raises:
            StoreError: nothing was kept.
        """

    @abstractmethod
    def settle(self) -> int:
        """Make usage of the running requests of routers that are gone; returns of how many.

        Raises:
            StoreError: nothing was settled.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of the database. What is still running by then counts as ended."""


class UsageTotal(msgspec.Struct, frozen=True, kw_only=True):
    """What the requests of one key to one model took.

    `prompt_tokens` include the cached ones, `completion_tokens` those of reasoning.
    """

    key: str | None
    model: str
    requests: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int

"""A row of usage: a view of a request's facts."""

from __future__ import annotations

import socket
import time
from typing import Final

from enginehouse.accounts.facts import Facts

KILLED: Final = "router_ended"
"""Error code of a request whose router ended before it did."""

COLUMNS: Final = (
    "ended_at",
    "duration_s",
    "status",
    "error_code",
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
    "host",
    "prices",
    "cost",
    "charge",
)
"""The columns of a row, in its order; `ended_at` is Unix time.

`cost` is what it took by its `prices`, and `charge` what its key pays of that; None: nothing is asked for.
"""
TIMES: Final = 2
"""The first columns of a row, which change although nothing has happened."""

CHARGE: Final = COLUMNS.index("charge")
"""Where a row has what its key pays."""

Row = tuple[float | int | str | None, ...]
HOST: Final = socket.gethostname()
"""The host of this router, as usage names it."""


def row(facts: Facts) -> Row:
    """The row of a request: as it ended, or as it would be if its router ended now."""
    status = facts.status
    prices = facts.prices
    completion_tokens = facts.completion_tokens  # once, as all of this: it is noted by another thread, too
    cost = None if prices is None else prices.cost(facts.prompt_tokens, facts.cached_tokens, completion_tokens)
    return (
        time.time(),
        facts.duration_s,
        status or 500,
        facts.error_code if status else KILLED,
        facts.request_id,
        facts.endpoint,
        facts.key,
        facts.model,
        facts.instance_id,
        facts.is_stream,
        facts.is_cancelled,
        facts.prompt_tokens,
        facts.cached_tokens,
        completion_tokens,
        facts.reasoning_tokens,
        HOST,
        None if prices is None else prices.text,
        cost,
        None if cost is None else facts.charge(cost),
    )

"""Facts of requests for tests of accounts."""

from __future__ import annotations

from typing import Any

from enginehouse.accounts import Facts
from enginehouse.accounts.prices import PerToken
from enginehouse.config import UNITS
from enginehouse_plugin import Started, TextDelta, UsageReport

ONE = PerToken(input=UNITS, cached=UNITS, output=UNITS, text=f"{UNITS}/{UNITS}/{UNITS}")
"""One for each token."""
COST = 30
"""What a request that has ended costs then."""
NOTED = 17
"""What one that runs costs then."""


def facts_of(request_id: str = "r", **fields: Any) -> Facts:
    """A request that runs: 10 tokens of prompt, 4 of them cached, and 7 of an answer."""
    facts = Facts(request_id)
    for name, value in {"model": "m", "instance_id": "m#0", "key": "k", **fields}.items():
        setattr(facts, name, value)
    facts.note([Started(prompt_tokens=10, cached_tokens=4), TextDelta(choice=0, text="a", completion_tokens=7)])
    return facts


def ended(request_id: str = "r", **fields: Any) -> Facts:
    """A request that has ended: 20 tokens of an answer, 5 of them reasoning."""
    facts = facts_of(request_id, **fields)
    facts.note([UsageReport(prompt_tokens=10, cached_tokens=4, completion_tokens=20, reasoning_tokens=5)])
    facts.end(200)
    return facts

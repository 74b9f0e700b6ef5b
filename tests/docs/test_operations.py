"""docs/operations.md has the numbers of the code."""

from __future__ import annotations

from enginehouse.accounts.ledger import GATHER_S
from enginehouse.service import SETTLE_S

from .fenced import ROOT

PAGE = " ".join((ROOT / "docs/operations.md").read_text().split())


def test_the_page_says_when_usage_is_written() -> None:
    assert f"about {(SETTLE_S + GATHER_S) * 1000:.0f} milliseconds after it" in PAGE

"""The books: what the ledger has of each request beside what the upstream counted itself."""

from __future__ import annotations

from collections import Counter

from tests.siege.house import House
from tests.siege.upstream import Upstream
from tests.siege.verdict import Verdict


def request_id(number: int) -> str:
    """The id that a scripted request carries."""
    return f"siege-{number}"


def judge_books(verdict: Verdict, running: House, told: Upstream, *, is_exact: bool = True) -> None:
    """Compare rows and counts by the number of the request: none lost, none doubled, and no tokens but those told.

    Without *is_exact* a request that a kill cut off may have fewer tokens in its row than were told.
    """
    rows = running.usage("request_id, completion_tokens")
    kept = {row["request_id"]: row["completion_tokens"] for row in rows}
    times = Counter(row["request_id"] for row in rows)
    doubled = [name for name, number in times.items() if number > 1]
    counted = {request_id(number): tokens for number, tokens in told.counted.items() if number >= 0}
    lost = counted.keys() - kept.keys()
    wrong = [
        f"{name}: {kept[name]} for {tokens}"
        for name, tokens in counted.items()
        if name in kept and (kept[name] != tokens if is_exact else kept[name] > tokens)
    ]
    verdict.counts |= {"rows": len(rows), "counted": len(counted), "lost": len(lost), "doubled": len(doubled)}
    verdict.expect(not lost, f"{len(lost)} rows are lost, {', '.join(sorted(lost)[:5])} among them")
    verdict.expect(not doubled, f"{len(doubled)} rows are doubled, {', '.join(doubled[:5])} among them")
    verdict.expect(not wrong, f"{len(wrong)} rows have other tokens, {'; '.join(wrong[:5])} among them")

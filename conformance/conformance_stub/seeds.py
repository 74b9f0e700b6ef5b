"""All rules of the suite on the right stub, with one seed after another: whatever fails is a false alarm.

    python -m conformance_stub.seeds [COUNT]

A line for each seed and way, over HTTP and without it, then the sum. The exit code is 1 where a rule gave a wrong
verdict: failed, broke, came to none, or took a feature for absent. Most of a seed's time is waiting, by rules that run
alone.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable

from enginehouse_conformance.registry import all_checks
from enginehouse_conformance.results import Report
from enginehouse_conformance.verdicts import Verdict

from .trial import by_verdict, run_on_stub, run_on_stub_backend

WRONG = (Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.UNSUPPORTED)
_ENDS_S = 120.0
_WAYS: dict[str, Callable[..., Awaitable[Report]]] = {"over HTTP": run_on_stub, "in process": run_on_stub_backend}


def main() -> int:
    """Run them all; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m conformance_stub.seeds", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("count", type=int, nargs="?", default=20)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    given = parser.parse_args()
    passed = wrong = 0
    rules = frozenset(all_checks())
    for seed in range(given.first, given.first + given.count):
        for way, run in _WAYS.items():
            began_at = time.perf_counter()
            report = asyncio.run(_run(run, seed, rules))
            counts = Counter(result.verdict.value for result in report.results)
            bad = by_verdict(report, *WRONG)
            passed, wrong = passed + counts[Verdict.PASS.value], wrong + len(bad)
            told = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
            print(f"seed {seed} {way}: {told}; {time.perf_counter() - began_at:.0f} s", flush=True)
            for rule, message in bad.items():
                print(f"  {rule}: {message}", flush=True)
    print(f"{given.count} seeds, {len(rules)} rules: {passed} passed, {wrong} wrong")
    return int(wrong > 0)


async def _run(run: Callable[..., Awaitable[Report]], seed: int, rules: frozenset[str]) -> Report:
    return await run(seed=seed, rules=rules, check_timeout_s=_ENDS_S)


if __name__ == "__main__":
    sys.exit(main())

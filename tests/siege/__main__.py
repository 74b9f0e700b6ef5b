"""`make siege`: scenarios against a router that runs, one by one, each with its counts and its verdict.

Exits 1 if one of them fell.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import pkgutil
import sys
import time
import traceback
from dataclasses import asdict
from pathlib import Path

from tests.siege.verdict import SIZE, Scenario, Verdict


def scenarios() -> dict[str, Scenario]:
    """All that the modules beside this one bring, by name."""
    found: dict[str, Scenario] = {}
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if module.name != "__main__":
            brought: dict[str, Scenario] = getattr(
                importlib.import_module(f"tests.siege.{module.name}"), "SCENARIOS", {}
            )
            if twice := found.keys() & brought.keys():
                raise ValueError(f"two scenarios are called {', '.join(sorted(twice))}")
            found |= brought
    return found


async def run(name: str, scenario: Scenario) -> Verdict:
    """Run one; what it raises is a failure of it, beside what it had counted, and the others go on."""
    began = time.perf_counter()
    verdict = Verdict(name)
    try:
        await scenario(verdict)
    except Exception:  # noqa: BLE001  # a campaign is not ended by one of its scenarios
        verdict.failures.append(f"it could not be carried out to its end: {traceback.format_exc()}")
    verdict.counts["seconds"] = round(time.perf_counter() - began, 1)
    return verdict


def main() -> int:
    known = scenarios()
    given = _arguments(known)
    SIZE.is_full, SIZE.minutes, SIZE.requests = given.full, given.minutes, given.requests
    if given.most_minutes is not None:
        SIZE.ends_at = time.monotonic() + 60 * given.most_minutes
    verdicts = []
    for name in given.names or known:
        print(f"{name} …", file=sys.stderr)
        verdicts.append(asyncio.run(run(name, known[name])))
        if not given.json:
            print(verdicts[-1].text(), flush=True)
    if given.json:
        print(json.dumps([asdict(verdict) for verdict in verdicts], indent=1))
    fell = [verdict.name for verdict in verdicts if verdict.failures]
    print(f"{len(verdicts)} scenarios; fell: {', '.join(fell) or 'none'}", file=sys.stderr)
    return 1 if fell else 0


def _arguments(known: dict[str, Scenario]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.siege", description=__doc__)
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"all without a name; there are: {', '.join(known)}")
    parser.add_argument("--json", action="store_true", help="print the verdicts as JSON")
    parser.add_argument("--minutes", type=float, default=1.0, help="of fuzzing, for each kind (default: 1)")
    parser.add_argument("--full", action="store_true", help="full size: 10^6 requests on the scripted upstream, …")
    parser.add_argument("--requests", type=int, help="another size for the soaks")
    parser.add_argument("--most-minutes", type=float, help="end a soak on engines then, with what it has asked")
    given = parser.parse_args()
    for name in given.names:
        if name not in known:
            parser.error(f"there is no scenario '{name}'; there are: {', '.join(known)}")
    return given


if __name__ == "__main__":
    sys.exit(main())

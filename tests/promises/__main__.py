"""`python -m tests.promises`: what real clients send, and what the API promises them, on each engine; prints Markdown.

One router has a small model of 8,192 tokens on every engine whose environment is here; others are named. A cell is the
answer's status, how its choices ended, and what was left out. The exit code is 1 if any is not as it should be.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.parity.engines import ENGINES
from tests.promises.asking import Outcome, faults, put
from tests.promises.asks import all_asks
from tests.promises.house import HERE, serving


def main() -> int:
    """Put every request to every engine that is here; returns the exit code."""
    for engine in ENGINES:
        if engine.missing:
            print(f"{engine.backend} is left out: it {engine.missing}", file=sys.stderr)
    models = [engine.backend for engine in HERE]
    wrong: list[str] = []
    fingerprints: dict[str, set[object]] = {model: set() for model in models}
    with tempfile.TemporaryDirectory() as folder, serving(HERE, Path(folder)) as http:
        print(f"| | request | {' | '.join(models)} |", "|---" * (2 + len(models)) + "|", sep="\n")
        for ask in all_asks():
            came: dict[str, Outcome] = {model: put(http, ask, model) for model in models}
            found = {model: faults(ask, outcome) for model, outcome in came.items()}
            cells = [f"{outcome}" + (" (!)" if found[model] else "") for model, outcome in came.items()]
            print(f"| {ask.group} | {ask.name} | {' | '.join(cells)} |", flush=True)
            wrong += [f"- {model}, {ask.group}, {ask.name}: {fault}" for model in models for fault in found[model]]
            for model, outcome in came.items():
                fingerprints[model] |= {outcome.fingerprint} - {None}
    wrong += [f"- {model}: {len(of)} fingerprints of one engine" for model, of in fingerprints.items() if len(of) != 1]
    if len(set().union(*fingerprints.values())) != len(models):
        wrong.append(f"- engines share a fingerprint: {fingerprints}")
    print("", *(wrong or ["All as it should be."]), sep="\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tests.parity`: the engines with the same real weights in f32, prompt by prompt; prints Markdown.

Engines are loaded one after another. One whose environment is not here is left out, and named. The exit code is 1 if
anything differs that a near tie does not explain.
"""

from __future__ import annotations

import asyncio
import itertools
import sys

from tests.asking import Answer
from tests.parity.compare import Comparison, compare
from tests.parity.engines import ENGINES, answers, loaded
from tests.parity.prompts import PROMPTS

from enginehouse_plugin import GenerationRequest

_TOKENS = 16


def main() -> int:
    """Compare every two engines that are here; returns the exit code."""
    requests = {
        name: GenerationRequest(
            id=name, prompt=prompt, max_tokens=_TOKENS, temperature=0.0, logprobs=True, top_logprobs=20
        )
        for name, prompt in PROMPTS.items()
    }
    answered = asyncio.run(_answers(requests))
    has_faults = len(answered) < 2
    print(f"{len(requests)} prompts, up to {_TOKENS} tokens each:\n")
    print("| engines | prompts that agree wholly | that part at a near tie | tokens compared | largest difference |")
    print("|---|---|---|---|---|")
    notes: list[str] = []
    for one, other in itertools.combinations(answered, 2):
        compared = {name: compare(requests[name], answered[one][name], answered[other][name]) for name in requests}
        print(f"| {one}, {other} | {_row(compared)} |")
        notes += _notes(f"{one}, {other}", compared)
        has_faults = has_faults or any(comparison.faults for comparison in compared.values())
    print("", *(notes or ["No answers part."]), sep="\n")
    return int(has_faults)


async def _answers(requests: dict[str, GenerationRequest]) -> dict[str, dict[str, Answer]]:
    found: dict[str, dict[str, Answer]] = {}
    for engine in ENGINES:
        if engine.missing:
            print(f"{engine.backend} is left out: it {engine.missing}", file=sys.stderr)
            continue
        print(f"{engine.backend} …", file=sys.stderr, flush=True)
        async with loaded(engine, engine.real()) as instance:
            found[engine.backend] = dict(zip(requests, await answers(instance, requests.values()), strict=True))
    return found


def _row(compared: dict[str, Comparison]) -> str:
    whole = sum(not comparison.faults and not comparison.divergences for comparison in compared.values())
    parted = sum(bool(comparison.divergences) and not comparison.faults for comparison in compared.values())
    tokens = sum(comparison.tokens for comparison in compared.values())
    largest = max(comparison.largest_difference for comparison in compared.values())
    return f"{whole} | {parted} | {tokens} | {largest:.4f}"


def _notes(pair: str, compared: dict[str, Comparison]) -> list[str]:
    """A line for each divergence and each fault."""
    lines = []
    for name, comparison in compared.items():
        for parted in comparison.divergences:
            gaps = " and ".join("(ended)" if gap is None else f"{gap:.4f}" for gap in parted.gaps)
            one, other = parted.tokens
            lines.append(f"- {pair}, {name}: token {parted.position + 1} is {one!r} and {other!r}; gaps {gaps}")
        lines += [f"- {pair}, {name}: FAULT: {fault}" for fault in comparison.faults]
    return lines


if __name__ == "__main__":
    sys.exit(main())

"""Answers of a real engine under each schema of the lists: `python -m tests.schemas.live ENGINE NODE_FOLDER [EVERY]`.

ENGINE is llamacpp, mlx or vllm, with the tiny model, which walks through a grammar at random. Two answers each at
temperature 1 and 2: a whole one must fit the schema by a validator of another project, one that was cut short must
be the beginning of one that does. EVERY takes one schema in so many. Exits 1 on a fault.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from tests.asking import Answer
from tests.parity.engines import ENGINES, answers, loaded

from enginehouse_plugin import GenerationRequest, Instance, JsonSchema, Text
from enginehouse_plugin.errors import InvalidRequest

from .beside import enginehouse, has_begun
from .fuzz import READ_OTHERWISE
from .generated import sources, validator_of

MAX_TOKENS = 160
SLOW_S = 300.0


def requests(schema: Any) -> list[GenerationRequest]:  # Any: JSON
    """What is asked under *schema*."""
    return [
        GenerationRequest(
            id=f"{temperature}-{seed}",
            prompt=Text("JSON:"),
            output=JsonSchema("s", schema),
            max_tokens=MAX_TOKENS,
            temperature=temperature,
            seed=seed,
        )
        for temperature in (1.0, 2.0)
        for seed in (1, 2)
    ]


def verdict(schema: Any, answer: Answer) -> str:  # Any: JSON
    """What *answer* is: whole, cut, or a fault with its text."""
    if answer.reason == "length":
        return "cut" if has_begun(schema, answer.text) else f"no beginning: {answer.text}"
    if READ_OTHERWISE.search(answer.text):
        return "read otherwise by the validator"
    is_valid = validator_of(schema).is_valid(json.loads(answer.text))
    return "whole" if is_valid else f"invalid: {answer.text}"


async def judged(instance: Instance, schemas: dict[str, Any]) -> Counter[str]:  # Any: JSON
    """The verdicts on all of *schemas*; faults are printed."""
    counts: Counter[str] = Counter()
    for name, schema in schemas.items():
        try:
            async with asyncio.timeout(SLOW_S):
                found = [verdict(schema, answer) for answer in await answers(instance, requests(schema))]
        except* InvalidRequest as refused:
            found = [f"refused: {refused.exceptions[0]}"]
        except* TimeoutError:
            found = [f"slow: no answers within {SLOW_S:g} s"]
        for outcome in found:
            kind, _, shown = outcome.partition(": ")
            counts[kind] += 1
            if shown:
                print(f"{name}: {kind}: {shown[:300]}", flush=True)
    return counts


async def run(backend: str, schemas: dict[str, Any]) -> int:  # Any: JSON
    """Judge the engine *backend*; the exit status."""
    engine = next(engine for engine in ENGINES if engine.backend == backend)
    if engine.missing:
        raise SystemExit(engine.missing)
    async with loaded(engine, engine.tiny()) as instance:
        counts = await judged(instance, schemas)
    print(f"{backend}: {len(schemas)} schemas, {counts.total()} answers: {dict(counts)}")
    return int(counts.keys() - {"whole", "cut", "read otherwise by the validator"} != set())


def main() -> int:
    """Gather the schemas that this project accepts, and judge; the exit status."""
    every = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    found = [
        (f"{source}: {name}", schema)
        for source, schemas in sources(Path(sys.argv[2])).items()
        for name, schema in schemas.items()
    ]
    return asyncio.run(run(sys.argv[1], dict(item for item in found[::every] if enginehouse(item[1], []) is not None)))


if __name__ == "__main__":
    sys.exit(main())

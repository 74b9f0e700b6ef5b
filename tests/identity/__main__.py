"""`python -m tests.identity`: how far changed weights, caches, templates and engines are from float32, as Markdown.

The table of docs/identity.md made again, on real servers, one model after another: D of all probes with its interval,
and what D of 24 of them would have been (0.1 %, median, 99.9 % of 2,000 draws). `--probes` sizes it. What is not here
is left out, and named. `--errors` counts false alarms among equal things, misses of changed ones, and the probes until
the watch tells, of all requests and of a tenth of them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec
from tests.integration.served import LoopBlocked, Served

from enginehouse.weights import resolve
from enginehouse.weights.demo import DEMOS
from enginehouse_conformance import (
    BAND_OF,
    Asker,
    Fingerprint,
    UrlAsker,
    UrlTarget,
    ask_as,
    compare_fingerprints,
    take_fingerprint,
)
from enginehouse_conformance.identity.measure import mean
from tests.weights import smollm2_gguf_f32, smollm2_hf

from .errors import DRAWS, OF, distances, drawn, of_a_change, of_a_mixture
from .weights import TYPES, quantised, tuned

_FOLDER = Path(__file__).parents[2] / ".cache" / "identity"
_SYSTEM = "trained by Hugging Face"
_DRAWS = 2000
_TIMEOUT_S = 600.0
T = TypeVar("T")


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is compared with the reference: weights, the backend, and its options as TOML."""

    weights: Callable[[], Path] = smollm2_gguf_f32
    backend: str = "llamacpp"
    options: str = ""
    template: Callable[[str], str] | None = None


def _q41() -> Path:
    path = resolve(DEMOS["smollm2-135m"].source)
    assert path is not None
    return path


def _without_default(template: str) -> str:
    begin, end = template.index("{% if loop.first"), template.index("{% endif %}") + len("{% endif %}")
    return template[:begin] + template[end:]


VARIANTS: dict[str, Variant] = {
    "again": Variant(),
    "steps of 512": Variant(options="batch_tokens = 512"),
    "KV bf16": Variant(options='cache_type_k = "bf16", cache_type_v = "bf16"'),
    "KV q8_0": Variant(options='cache_type_k = "q8_0", cache_type_v = "q8_0"'),
    "KV q4_0": Variant(options='cache_type_k = "q4_0", cache_type_v = "q4_0"'),
    **{name: Variant(weights=partial(quantised, name, _FOLDER)) for name in TYPES},
    "Q4_1, its source": Variant(weights=_q41),
    "rank-4 change by 2 %": Variant(weights=partial(tuned, _FOLDER)),
    "one more dot": Variant(template=lambda text: text.replace(_SYSTEM, f"{_SYSTEM}.")),
    "no default system prompt": Variant(template=_without_default),
    "MLX float32": Variant(weights=smollm2_hf, backend="mlx"),
    "vLLM float32": Variant(weights=smollm2_hf, backend="vllm", options="cache_gib = 1"),
}


def main() -> int:
    """Take the reference, compare each variant with it, print a row each."""
    parser = argparse.ArgumentParser(prog="python -m tests.identity", description=__doc__)
    parser.add_argument("names", metavar="VARIANT", nargs="*", help=", ".join(VARIANTS))
    parser.add_argument("--probes", type=int, default=96)
    parser.add_argument("--seed", type=int, default=135)
    parser.add_argument("--errors", action="store_true", help="count false alarms and misses instead")
    parser.add_argument("--reruns", type=int, default=100, help="with --errors: comparisons that are really asked")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in VARIANTS]
    if unknown:
        parser.error(f"there is no '{unknown[0]}'; there are: {', '.join(VARIANTS)}")
    if given.errors:
        return _errors(given.names or list(CLAIMED), probes=given.probes, seed=given.seed, reruns=given.reruns)
    reference, _ = _taken(
        "reference", Variant(), lambda asker: take_fingerprint(asker, seed=given.seed, probes=given.probes)
    )
    print("| against float32 on llama.cpp | D, 99 % interval | D of 24: 0.1 %, median, 99.9 % | band | seconds |")
    print("|---|---|---|---|---|", flush=True)
    for name in given.names or VARIANTS:
        variant = VARIANTS[name]
        if variant.backend == "vllm" and "ENGINEHOUSE_VLLM_PYTHON" not in os.environ:
            print(f"{name} is left out: ENGINEHOUSE_VLLM_PYTHON names no Python", file=sys.stderr)
            continue
        found, seconds = _taken(name, variant, lambda asker: ask_as(reference, asker, probes=given.probes))
        print(f"| {name} | {_row(reference, found, given.probes)} | {seconds:.1f} |", flush=True)
    return 0


CLAIMED = ("KV q8_0", "Q8_0", "Q5_0", "Q4_0", "rank-4 change by 2 %", "one more dot", "no default system prompt")
"""Changes that the bands tell from the same arithmetic."""


def _errors(names: Sequence[str], *, probes: int, seed: int, reruns: int) -> int:
    """Print how often equal things are taken for others, others for equal, and how soon the watch tells."""

    async def again_and_again(asker: Asker) -> tuple[Fingerprint, list[Fingerprint]]:
        reference = await take_fingerprint(asker, seed=seed, probes=probes)
        found = []
        for number in range(reruns):
            asker.probes = []
            found.append(await ask_as(reference, asker, probes=OF))
            if number % 10 == 9:
                print(f"rerun {number + 1} of {reruns} …", file=sys.stderr, flush=True)
        return reference, found

    (reference, again), seconds = _taken("reference, and reruns", Variant(), again_and_again)
    same = [each for found in again for each in distances(reference, found)]
    limit = BAND_OF["arithmetic"].limit
    alarms = sum(mean(distances(reference, found)) > limit for found in again)
    each_s = seconds / (probes + OF * reruns)
    print(f"{alarms} false alarms in {reruns} reruns of {OF} probes, and {drawn(same).told} in {DRAWS} draws of them;")
    print(f"the farthest rerun of a probe was {max(same):.2g} away; {each_s * 1000:.0f} ms a probe\n")
    print(f"| changed | missed of {DRAWS} | probes until the watch tells: median, 99 % | a tenth of the requests |")
    print("|---|---|---|---|", flush=True)
    for name in names:
        found, _ = _taken(name, VARIANTS[name], lambda asker: ask_as(reference, asker, probes=probes))
        other = distances(reference, found)
        soon, part = of_a_change(same, other), of_a_mixture(same, other)
        row = f"{drawn(other).missed} | {soon[0]:.0f}, {soon[1]:.0f} | {part[0]:.0f}, {part[1]:.0f}"
        print(f"| {name} | {row} |", flush=True)
    return 0


def _row(reference: Fingerprint, found: Fingerprint, probes: int) -> str:
    compared = compare_fingerprints(reference, found, probes=probes)
    distances, dice = [probe.distance for probe in compared.probes], random.Random(1)
    of_24 = sorted(mean(dice.choices(distances, k=24)) for _ in range(_DRAWS))
    low, middle, high = (of_24[at] for at in (_DRAWS // 1000, _DRAWS // 2, -1 - _DRAWS // 1000))
    return (
        f"{compared.distance:.2g}, {compared.low:.2g} to {compared.high:.2g} | {low:.2g}, {middle:.2g}, {high:.2g} "
        f"| {', '.join([compared.band, *(each.kind for each in compared.explanations)])}"
    )


def _taken(name: str, variant: Variant, ask: Callable[[Asker], Awaitable[T]]) -> tuple[T, float]:
    """What a server of *variant* answered, and the seconds that the asking took."""
    print(f"{name} …", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        options = [variant.options] if variant.options else []
        if variant.template is not None:
            path = Path(folder) / "template.jinja"
            path.write_text(variant.template(_template()))
            options.append(f'chat_template_file = "{path}"')
        python = os.environ.get("ENGINEHOUSE_VLLM_PYTHON") if variant.backend == "vllm" else None
        served = Served(
            "[server]\nport = 0\n[models.m]\ncontext_tokens = 1024\n[[models.m.placements]]\n"
            f'backend = "{variant.backend}"\nsource = "{variant.weights()}"\n'
            + (f'python = "{python}"\n' if python else "")
            + f"options = {{ {', '.join(options)} }}\n",
            Path(folder),
        )
        try:
            served.wait_ready(_TIMEOUT_S)
            target = UrlTarget(f"{served.url}/v1", model="m", timeout_s=_TIMEOUT_S)
            began = time.monotonic()
            return asyncio.run(_awaited(ask(UrlAsker(target)))), time.monotonic() - began
        finally:
            with contextlib.suppress(LoopBlocked):  # what is measured is answers, on whatever machine
                served.close()


async def _awaited(taking: Awaitable[T]) -> T:
    return await taking


def _template() -> str:
    import gguf

    return str(gguf.GGUFReader(smollm2_gguf_f32()).fields["tokenizer.chat_template"].contents())


sys.exit(main())

"""`python -m tests.identity`: how far changed weights, caches, templates and engines are from float32, as Markdown.

The table of docs/identity.md made again, on real servers, one model after another: D of all probes with its interval,
and what D of 24 of them would have been (0.1 %, median, 99.9 % of 2,000 draws). `--probes` sizes it, `--on` says whose
float32 is the reference, and `--prompt-tokens` takes long prompts. What is not here is left out, and named. `--errors`
counts false alarms among equal things, misses of changed ones, and the probes until the watch tells, of all requests
and of a tenth of them.
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
from pathlib import Path
from typing import TypeVar

from tests.integration.served import LoopBlocked, Served

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
from tests.weights import smollm2_gguf_f32

from .errors import DRAWS, OF, distances, drawn, of_a_change, of_a_mixture
from .variants import CLAIMED, CUT, LONG, REFERENCES, VARIANTS, Variant

_DRAWS = 2000
_TIMEOUT_S = 600.0
_CONTEXT_TOKENS = 1024
T = TypeVar("T")


def main() -> int:
    """Take the reference, compare each variant with it, print a row each."""
    parser = argparse.ArgumentParser(prog="python -m tests.identity", description=__doc__)
    parser.add_argument("names", metavar="VARIANT", nargs="*", help=", ".join(VARIANTS["llamacpp"]).replace("%", "%%"))
    parser.add_argument("--on", choices=VARIANTS, default="llamacpp", help="the engine whose float32 is the reference")
    parser.add_argument("--probes", type=int, default=96)
    parser.add_argument("--prompt-tokens", type=int, help="of long prompts; short ones unless given")
    parser.add_argument("--seed", type=int, default=135)
    parser.add_argument("--errors", action="store_true", help="count false alarms and misses instead")
    parser.add_argument("--reruns", type=int, default=100, help="with --errors: comparisons that are really asked")
    parser.add_argument("--loads", type=int, default=4, help="with --errors: loads that the reruns are spread over")
    given = parser.parse_args()
    known = VARIANTS[given.on]
    unknown = [name for name in given.names if name not in known]
    if unknown:
        parser.error(f"there is no '{unknown[0]}' on {given.on}; there are: {', '.join(known)}")
    usual = CLAIMED if given.errors else LONG if given.prompt_tokens else [name for name in known if name != CUT]
    names = given.names or [name for name in usual if name in known]
    if not _is_here(REFERENCES[given.on]):
        parser.error("ENGINEHOUSE_VLLM_PYTHON names no Python")
    for name in names:
        if not _is_here(known[name]):
            print(f"{name} is left out: ENGINEHOUSE_VLLM_PYTHON names no Python", file=sys.stderr)
    _measure({name: known[name] for name in names if _is_here(known[name])}, given)
    return 0


def _is_here(variant: Variant) -> bool:
    return variant.backend != "vllm" or "ENGINEHOUSE_VLLM_PYTHON" in os.environ


def _measure(variants: dict[str, Variant], given: argparse.Namespace) -> None:
    own, probes, tokens = REFERENCES[given.on], given.probes, given.prompt_tokens
    context_tokens = _CONTEXT_TOKENS + 2 * (tokens or 0)

    def take(asker: Asker) -> Awaitable[Fingerprint]:
        return take_fingerprint(asker, seed=given.seed, probes=probes, prompt_tokens=tokens)

    reference, seconds = _taken("reference", own, context_tokens, take)
    counts = [probe.prompt_tokens or 0 for probe in reference.probes]
    print(f"{probes} probes of {min(counts)} to {max(counts)} tokens, {seconds / probes * 1000:.0f} ms each\n")

    def ask(name: str) -> tuple[Fingerprint, float]:
        return _taken(name, variants[name], context_tokens, lambda asker: ask_as(reference, asker, probes=probes))

    if not given.errors:
        print(f"| against float32 on {given.on} | D, 99 % interval | D of 24: 0.1 %, median, 99.9 % | band | seconds |")
        print("|---|---|---|---|---|", flush=True)
        for name in variants:
            found, seconds = ask(name)
            print(f"| {name} | {_row(reference, found, probes)} | {seconds:.1f} |", flush=True)
        return
    same = _reruns(reference, own, given.reruns, given.loads)
    print(f"| changed | missed of {DRAWS} | probes until the watch tells: median, 99 % | a tenth of the requests |")
    print("|---|---|---|---|", flush=True)
    for name in variants:
        other = distances(reference, ask(name)[0])
        soon, part = of_a_change(same, other), of_a_mixture(same, other)
        row = f"{drawn(other).missed} | {soon[0]:.0f}, {soon[1]:.0f} | {part[0]:.0f}, {part[1]:.0f}"
        print(f"| {name} | {row} |", flush=True)


def _reruns(reference: Fingerprint, own: Variant, reruns: int, loads: int) -> Sequence[float]:
    """Ask *own* the same again, print how often that is taken for something else; returns the probes' distances."""
    again: list[list[float]] = []

    async def ask(asker: Asker) -> None:
        for number in range(len(again), reruns * (load + 1) // loads):
            asker.probes = []
            again.append(distances(reference, await ask_as(reference, asker, probes=OF)))
            if number % 10 == 9:
                print(f"rerun {number + 1} of {reruns} …", file=sys.stderr, flush=True)

    for load in range(loads):
        _taken(f"again, load {load + 1} of {loads}", own, _CONTEXT_TOKENS, ask)
    same = [each for found in again for each in found]
    alarms = sum(mean(found) > BAND_OF["arithmetic"].limit for found in again)
    print(
        f"{alarms} false alarms in {reruns} reruns of {OF} probes after {loads} other loads, and {drawn(same).told} in"
    )
    print(f"{DRAWS} draws of them; D of the farthest rerun was {max(map(mean, again)):.2g}, its farthest probe was ")
    print(f"{max(same):.2g} away, and {sum(each > 0 for each in same)} of {len(same)} probes were not equal\n")
    return same


def _row(reference: Fingerprint, found: Fingerprint, probes: int) -> str:
    compared = compare_fingerprints(reference, found, probes=probes)
    distances, dice = [probe.distance for probe in compared.probes], random.Random(1)
    of_24 = sorted(mean(dice.choices(distances, k=24)) for _ in range(_DRAWS))
    low, middle, high = (of_24[at] for at in (_DRAWS // 1000, _DRAWS // 2, -1 - _DRAWS // 1000))
    return (
        f"{compared.distance:.2g}, {compared.low:.2g} to {compared.high:.2g} | {low:.2g}, {middle:.2g}, {high:.2g} "
        f"| {', '.join([compared.band, *(each.kind for each in compared.explanations)])}"
    )


def _taken(name: str, variant: Variant, context_tokens: int, ask: Callable[[Asker], Awaitable[T]]) -> tuple[T, float]:
    """What a server of *variant* answered, and the seconds that the asking took."""
    print(f"{name} …", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        options = [*variant.options]
        if variant.template is not None:
            path = Path(folder) / "template.jinja"
            path.write_text(variant.template(_template()))
            options.append(f'chat_template_file = "{path}"')
        python = os.environ.get("ENGINEHOUSE_VLLM_PYTHON") if variant.backend == "vllm" else None
        served = Served(
            f"[server]\nport = 0\n[models.m]\ncontext_tokens = {context_tokens}\n[[models.m.placements]]\n"
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

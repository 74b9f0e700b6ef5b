"""Two sides compared: the distance with its interval and band, which prompts part, and what explains it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from . import measure
from .bands import BAND_OF, Name, band_of, families_at
from .taking import TOP, Asker, CannotCompare, Fingerprint, Probe, prompts_for

COMPARISON_VERSION = 1
LEVEL = 0.99
LONGEST_PROMPT = 60
_SHOWN = 5
_SLOPE = 0.02
_OFFSET = 0.01
_EXPLAINED = 0.25
"""A line explains a difference of which it leaves no more than this part."""

Kind = Literal["template", "tokenizer", "temperature", "renormalised", "mixture", "arithmetic", "family", "spelling"]
Tokens = tuple[int | None, int | None]


class Explanation(msgspec.Struct, frozen=True):
    """Something that explains the distance, or a part of it: its kind, and a sentence with figures."""

    kind: Kind
    words: str


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two that were compared. `alternatives`: how many it gave at most."""

    address: str
    model: str
    taken_at: str
    served_by: dict[str, list[str]]
    alternatives: int
    left_out: int


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """One prompt: d, tokens in both lists, each side's count of prompt tokens, and the lists."""

    prompt: str
    distance: float
    common: int
    prompt_tokens: Tokens
    a: dict[str, float]
    b: dict[str, float]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome. `low` and `high` are the interval of `distance` at `level`; `parting` are the places in `probes` of
    those that part most."""

    comparison_version: int
    seed: int
    a: Side
    b: Side
    distance: float
    low: float
    high: float
    level: float
    band: Name
    words: str
    same_prompt_tokens: bool | None
    explanations: list[Explanation]
    notes: list[str]
    parting: list[int]
    probes: list[Compared]

    def is_within(self, band: Name) -> bool:
        """Whether the sides are no farther apart than *band*, and read prompts as the same number of tokens."""
        return self.distance <= BAND_OF[band].limit and self.same_prompt_tokens is not False


async def ask_both(a: Asker, b: Asker, *, seed: int, probes: int, prompt_tokens: int | None = None) -> Comparison:
    """Ask both for the same tokens at the same time, and compare: *probes* prompts that both gave an answer to.

    They have about *prompt_tokens*, or are short.

    Raises:
        CannotCompare: one does not answer, or gives too little.
    """
    for prompt in prompts_for(seed, probes, prompt_tokens):
        one, other = await asyncio.gather(a.ask(prompt), b.ask(prompt))
        if one is not None and other is not None:
            a.keep(one)
            b.keep(other)
        if len(a.probes) == probes:
            break
    return compare_fingerprints(a.fingerprint(seed), b.fingerprint(seed), probes=probes)


async def ask_as(stored: Fingerprint, asker: Asker, *, probes: int) -> Fingerprint:
    """What *asker* is told to the first *probes* prompts of *stored*.

    Raises:
        CannotCompare: it does not answer, or gives too little.
    """
    for asked in stored.probes[:probes]:
        probe = await asker.ask(asked.prompt)
        if probe is not None:
            asker.keep(probe)
    return asker.fingerprint(stored.seed)


async def compare_sides(
    a: Asker | Fingerprint, b: Asker | Fingerprint, *, seed: int, probes: int, prompt_tokens: int | None = None
) -> Comparison:
    """Compare what can be asked, or was stored: a side that is stored says which prompts the other is asked.

    *seed* and *prompt_tokens* are for two that can be asked.

    Raises:
        CannotCompare: one does not answer, gives too little, or they have no prompt in common.
    """
    if isinstance(a, Asker) and isinstance(b, Asker):
        return await ask_both(a, b, seed=seed, probes=probes, prompt_tokens=prompt_tokens)
    if isinstance(a, Asker) and isinstance(b, Fingerprint):
        return compare_fingerprints(await ask_as(b, a, probes=probes), b, probes=probes)
    if isinstance(a, Fingerprint):
        other = b if isinstance(b, Fingerprint) else await ask_as(a, b, probes=probes)
        return compare_fingerprints(a, other, probes=probes)
    raise TypeError(type(a))


def compare_fingerprints(a: Fingerprint, b: Fingerprint, *, probes: int) -> Comparison:
    """The first *probes* prompts that both have.

    Raises:
        CannotCompare: they have no prompt in common.
    """
    others = {probe.prompt: probe for probe in b.probes}
    pairs = [(probe, others[probe.prompt]) for probe in a.probes if probe.prompt in others][:probes]
    if not pairs:
        raise CannotCompare(
            f"No prompt is in both: the seeds are {a.seed} and {b.seed}. Take one of them again with --seed."
        )
    compared = [_compared(one, other) for one, other in pairs]
    distances = [each.distance for each in compared]
    distance = measure.mean(distances)
    low, high = measure.interval(distances, seed=a.seed, level=LEVEL)
    far = measure.far_ones(distances)
    farthest = sorted(range(len(distances)), key=distances.__getitem__, reverse=True)[:_SHOWN]
    band = band_of(distance)
    return Comparison(
        comparison_version=COMPARISON_VERSION,
        seed=a.seed,
        a=_side(a),
        b=_side(b),
        distance=round(distance, 6),
        low=round(low, 6),
        high=round(high, 6),
        level=LEVEL,
        band=band.name,
        words=band.words,
        same_prompt_tokens=_same_tokens(compared),
        explanations=list(_explanations(compared, far, distance, (low, high))),
        notes=list(_notes(a, b, compared, probes)),
        parting=sorted(far, key=distances.__getitem__, reverse=True)
        or [at for at in farthest if distances[at] > BAND_OF["arithmetic"].limit],
        probes=compared,
    )


def _compared(one: Probe, other: Probe) -> Compared:
    return Compared(
        prompt=one.prompt,
        distance=round(measure.distance(one.top, other.top), 6),
        common=len(one.top.keys() & other.top.keys()),
        prompt_tokens=(one.prompt_tokens, other.prompt_tokens),
        a=one.top,
        b=other.top,
    )


def _side(fingerprint: Fingerprint) -> Side:
    return Side(
        address=fingerprint.address,
        model=fingerprint.model,
        taken_at=fingerprint.taken_at,
        served_by=fingerprint.served_by,
        alternatives=fingerprint.alternatives,
        left_out=fingerprint.left_out,
    )


def _differences(compared: Sequence[Compared]) -> list[int]:
    """Prompt tokens of B more than of A, where both told them."""
    counts = [each.prompt_tokens for each in compared]
    return [b - a for a, b in counts if a is not None and b is not None]


def _same_tokens(compared: Sequence[Compared]) -> bool | None:
    differences = _differences(compared)
    return not any(differences) if differences else None


# ---- what explains it ----


def _explanations(
    compared: Sequence[Compared], far: Sequence[int], distance: float, bounds: tuple[float, float]
) -> Iterator[Explanation]:
    differences = _differences(compared)
    if any(differences):
        yield _tokens_explained(differences)
    if not any(each.common for each in compared):
        if not any(differences):
            words = "no token is in both lists: other weights, or tokens that are written otherwise"
            yield Explanation("spelling", words)
        return
    scaled = None if distance <= BAND_OF["weights"].limit else _line_explained(compared)
    if scaled is not None:
        yield scaled
    elif far:
        yield _mixture_explained(compared, far)
    elif distance <= BAND_OF["weights"].limit:
        yield Explanation("arithmetic", "the difference is no more than arithmetic makes")
    elif not any(differences) and (families := families_at(*bounds)):
        what = "; ".join(families)
        yield Explanation("family", f"on a model of 135M parameters D was as here after one of these changes: {what}")


def _tokens_explained(differences: Sequence[int]) -> Explanation:
    low, high = min(differences), max(differences)
    if low == high:
        return Explanation(
            "template", f"B's prompts have {high:+d} tokens each: another template, or another system prompt in it"
        )
    return Explanation(
        "tokenizer",
        f"B's prompts have {low:+d} to {high:+d} tokens: another tokenizer, or a template that is not the same for all",
    )


def _line_explained(compared: Sequence[Compared]) -> Explanation | None:
    """Values of one side that are those of the other but for scale, or but for an offset: what a softmax leaves."""
    line = measure.line([(each.a, each.b) for each in compared])
    before = measure.mean([abs(each.a[name] - each.b[name]) for each in compared for name in each.a.keys() & each.b])
    if line is None:
        return None
    if line.rest_after_offset <= _EXPLAINED * before and abs(line.offset) >= _OFFSET:
        side = "B" if line.offset > 0 else "A"
        return Explanation(
            "renormalised",
            f"{side}'s log probabilities are higher by {abs(line.offset):.3f} on average, alike for all tokens of a "
            "prompt: they are those of fewer tokens, after top_k, top_p or min_p",
        )
    if abs(line.slope - 1) >= _SLOPE and line.slope > 0 and line.rest <= _EXPLAINED * before:
        return Explanation(
            "temperature",
            f"B's log probabilities are A's with the slope {line.slope:.3f}: B's are those after a temperature of "
            f"{1 / line.slope:.2f}, or A's after one of {line.slope:.2f}; what is left is {line.rest:.4f}",
        )
    return None


def _mixture_explained(compared: Sequence[Compared], far: Sequence[int]) -> Explanation:
    distances = [each.distance for each in compared]
    near = max(distance for at, distance in enumerate(distances) if at not in far)
    words = f"{len(far)} of {len(distances)} prompts part (d from {min(distances[at] for at in far):.3f}), the others "
    words += f"are alike (d up to {near:.1g}): something else answers a part of the requests, or reads these otherwise"
    return Explanation("mixture", words)


# ---- what must be known of it ----


def _notes(a: Fingerprint, b: Fingerprint, compared: Sequence[Compared], probes: int) -> Iterator[str]:
    if len(compared) < probes:
        yield f"{len(compared)} prompts were compared in place of {probes}: so many had an answer on both sides"
    for name, side in (("A", a), ("B", b)):
        if side.left_out:
            yield f"{name} gave no log probabilities to {side.left_out} prompts, which were left out"
        if side.alternatives < TOP:
            yield f"{name} gives {side.alternatives} alternatives in place of {TOP}: D varies somewhat more"
        if "temperature" not in side.fields or side.fields["temperature"]:
            yield f"{name} was not asked at temperature 0: it refuses that, or its log probabilities are those after it"
        several = [f"{what} {' and '.join(values)}" for what, values in side.served_by.items() if len(values) > 1]
        if several:
            yield f"more than one answered for {name}: {'; '.join(several)}"
    counts = [count for each in compared for count in each.prompt_tokens if count is not None]
    if not counts:
        yield "no side tells usage.prompt_tokens, so that templates were not compared by length"
    elif max(counts) >= LONGEST_PROMPT:
        yield f"prompts have up to {max(counts)} tokens with their template; bands are for less than {LONGEST_PROMPT}"

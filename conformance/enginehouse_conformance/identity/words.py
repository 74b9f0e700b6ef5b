"""A comparison as text."""

from __future__ import annotations

from collections.abc import Iterator

from enginehouse_conformance.report.text import printable

from .bands import band_of
from .comparison import Comparison, Side

_SHOWN = 10
_SHOWN_CHARS = 90


def comparison_text(comparison: Comparison) -> str:
    """The whole outcome, for a terminal."""
    return printable("\n".join(_lines(comparison)))


def side_of(side: Side) -> str:
    """What *side* is, in a line."""
    served = [f"{name} {' and '.join(values)}" for name, values in side.served_by.items() if values != [side.model]]
    return f"{side.model} at {side.address}, {side.taken_at}" + (f" ({'; '.join(served)})" if served else "")


def figures(comparison: Comparison) -> str:
    """D with its interval."""
    return (
        f"D = {comparison.distance:.3g}, {comparison.level:.0%} interval {comparison.low:.3g} to "
        f"{comparison.high:.3g}, {len(comparison.probes)} probes of the seed {comparison.seed}"
    )


def band(comparison: Comparison) -> str:
    """The band, and others that the interval reaches."""
    reached = {band_of(edge).name: band_of(edge) for edge in (comparison.low, comparison.high)}
    reached.pop(comparison.band, None)
    others = "".join(f"; the interval reaches '{each.name}': {each.words}" for each in reached.values())
    return f"'{comparison.band}': {comparison.words}{others}"


def shortened(prompt: str) -> str:
    """*prompt*, of a long one the end, where its question stands."""
    return prompt if len(prompt) <= _SHOWN_CHARS else f"… {prompt[-_SHOWN_CHARS:]}"


def _lines(comparison: Comparison) -> Iterator[str]:
    yield f"A: {side_of(comparison.a)}"
    yield f"B: {side_of(comparison.b)}"
    yield figures(comparison)
    yield f"Band {band(comparison)}"
    yield from (f"  {each.kind}: {each.words}" for each in comparison.explanations)
    yield from (f"Note: {note}." for note in comparison.notes)
    if comparison.parting:
        yield "Prompts that part most:"
        for at in comparison.parting[:_SHOWN]:
            probe = comparison.probes[at]
            yield f"  {probe.distance:.4f}  {shortened(probe.prompt)}"

"""A comparison as one HTML page that needs nothing else, with a plot."""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape

from .bands import BANDS
from .comparison import Compared, Comparison
from .words import band, figures, shortened, side_of

_STYLE = """
:root { color-scheme: light dark; --line: #8886; --quiet: #777; --dot: #37608a; --far: #c62828; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
th { text-align: left; font-weight: 600; padding-right: 1rem; vertical-align: top; }
td { padding-right: 1rem; vertical-align: top; } td.n { text-align: right; font-variant-numeric: tabular-nums; }
svg { max-width: 100%; height: auto; } svg text { fill: currentColor; font-size: 12px; }
.line { stroke: var(--line); } .dot { fill: var(--dot); fill-opacity: .75; } .far { fill: var(--far); }
.mean { stroke: currentColor; stroke-width: 2; } .span { fill: currentColor; fill-opacity: .12; }
"""
_WIDTH, _ROW, _TOP, _LEFT = 900, 11, 46, 20
_LEAST = 1e-5
_SIDE = 420
_LOWEST = -14.0


def comparison_page(comparison: Comparison) -> str:
    """The page."""
    facts = [("A", side_of(comparison.a)), ("B", side_of(comparison.b)), ("distance", figures(comparison))]
    facts += [("band", band(comparison))]
    facts += [(each.kind, each.words) for each in comparison.explanations]
    facts += [("note", note) for note in comparison.notes]
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(words)}</td></tr>\n" for name, words in facts)
    return f"""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(comparison.a.model)} and {escape(comparison.b.model)} compared</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{escape(comparison.a.model)} and {escape(comparison.b.model)} compared</h1>
<table>
{rows}</table>
<h2>How far each prompt is apart</h2>
<p>A dot is a prompt, to the right what parts; the bar is D with its interval, the lines are the ends of the bands.</p>
{"".join(_distances(comparison))}
<h2>Log probabilities of A and B</h2>
<p>A dot is a token that both gave: on the line where they agree.</p>
{"".join(_scatter(comparison))}
<h2>Prompts</h2>
<table>
<tr><th>d</th><th>tokens in both</th><th>prompt tokens of A, B</th><th>prompt</th></tr>
{"".join(_row(probe) for probe in sorted(comparison.probes, key=lambda probe: -probe.distance))}</table>
</body>
</html>
"""


def _row(probe: Compared) -> str:
    counts = ", ".join("-" if count is None else str(count) for count in probe.prompt_tokens)
    cells = "".join(f'<td class="n">{cell}</td>' for cell in (f"{probe.distance:.4f}", probe.common, counts))
    return f"<tr>{cells}<td>{escape(shortened(probe.prompt))}</td></tr>\n"


def _x(distance: float) -> float:
    """Where *distance* is, on a scale of powers."""
    share = math.log(max(distance, _LEAST) / _LEAST) / math.log(1 / _LEAST)
    return round(_LEFT + share * (_WIDTH - 2 * _LEFT), 1)


def _distances(comparison: Comparison) -> Iterator[str]:
    bottom = _TOP + _ROW * (len(comparison.probes) + 1)
    yield f'<svg viewBox="0 0 {_WIDTH} {bottom + 24}" role="img" aria-label="d of each prompt">\n'
    begin = _LEAST
    for each in BANDS:
        middle = (_x(begin) + _x(each.limit)) / 2
        yield f'<text x="{middle:.1f}" y="16" text-anchor="middle">{escape(each.name)}</text>\n'
        yield f'<line class="line" x1="{_x(each.limit)}" x2="{_x(each.limit)}" y1="22" y2="{bottom}"/>\n'
        yield f'<text x="{_x(each.limit)}" y="{bottom + 16}" text-anchor="end">{each.limit:g}</text>\n'
        begin = each.limit
    width = round(max(_x(comparison.high) - _x(comparison.low), 1), 1)
    yield f'<rect class="span" x="{_x(comparison.low)}" y="22" width="{width}" height="{bottom - 22}"/>\n'
    at = _x(comparison.distance)
    yield f'<line class="mean" x1="{at}" x2="{at}" y1="22" y2="{bottom}"/>\n'
    for row, probe in enumerate(comparison.probes):
        is_far = row in comparison.parting
        yield (
            f'<circle class="{"far" if is_far else "dot"}" cx="{_x(probe.distance)}" cy="{_TOP + _ROW * row}" r="4">'
            f"<title>{probe.distance:.4f} {escape(shortened(probe.prompt))}</title></circle>\n"
        )
    yield "</svg>\n"


def _scatter(comparison: Comparison) -> Iterator[str]:
    def place(value: float) -> float:
        return round(_LEFT + (max(value, _LOWEST) - _LOWEST) / -_LOWEST * (_SIDE - 2 * _LEFT), 1)

    yield f'<svg viewBox="0 0 {_SIDE} {_SIDE}" width="{_SIDE}" role="img" aria-label="log probabilities">\n'
    low, high = place(_LOWEST), place(0)
    yield f'<line class="line" x1="{low}" y1="{_SIDE - low}" x2="{high}" y2="{_SIDE - high}"/>\n'
    yield f'<text x="{high}" y="{_SIDE - 4}" text-anchor="end">A: {_LOWEST:g} to 0</text>\n'
    yield f'<text x="4" y="14">B: {_LOWEST:g} to 0</text>\n'
    for row, probe in enumerate(comparison.probes):
        kind = "far" if row in comparison.parting else "dot"
        for token in probe.a.keys() & probe.b.keys():
            x, y = place(probe.a[token]), round(_SIDE - place(probe.b[token]), 1)
            yield f'<circle class="{kind}" cx="{x}" cy="{y}" r="2"/>\n'
    yield "</svg>\n"

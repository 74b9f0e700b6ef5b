"""The badge: how many MUST rules passed, never a bare percentage."""

from __future__ import annotations

from xml.sax.saxutils import escape

from enginehouse_conformance.results import Report

_COLOURS = {"yes": "#2e7d32", "no": "#c62828", "unknown": "#9a6700"}
_LABEL = "conformance"
_CHAR_WIDTH = 6.6
_PADDING = 10


def badge_text(report: Report) -> str:
    """The text of the badge: "must 140/140", and that the run was partial where it was."""
    must = report.summary.must
    return f"must {must.passed}/{must.total}" + (" (partial)" if report.summary.partial else "")


def badge(report: Report) -> str:
    """An SVG image."""
    text = badge_text(report)
    left, right = (round(len(part) * _CHAR_WIDTH + 2 * _PADDING) for part in (_LABEL, text))
    title = escape(f"{report.suite.name} {report.suite.version}, profile {report.profile}, {report.started_at}: {text}")
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img" aria-label="{_LABEL}: {text}">
<title>{title}</title>
<clipPath id="edge"><rect width="{left + right}" height="20" rx="3"/></clipPath>
<g clip-path="url(#edge)">
<rect width="{left}" height="20" fill="#444"/>
<rect x="{left}" width="{right}" height="20" fill="{_COLOURS[report.summary.conforms]}"/>
</g>
<g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">
<text x="{left / 2:g}" y="14">{_LABEL}</text>
<text x="{left + right / 2:g}" y="14">{text}</text>
</g>
</svg>
"""

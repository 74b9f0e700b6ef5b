"""One HTML page that needs nothing else: a matrix of all rules, and the details of each."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from itertools import groupby

from enginehouse_conformance.results import Report, Result, Transcript
from enginehouse_conformance.rules import SECTIONS

from .words import UNSETTLED, answer_of, counts, facts, headline, reproduce, request_of

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --quiet: #777; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; }
th { text-align: left; font-weight: 600; padding-right: 1rem; vertical-align: top; }
.matrix td { padding: .15rem; } .matrix th { padding: .15rem 1rem .15rem 0; white-space: nowrap; }
.cell { display: inline-block; min-width: 3.6rem; padding: .1rem .3rem; margin: .1rem; border-radius: .25rem;
  text-align: center; font-size: .8rem; text-decoration: none; color: #fff; background: #666; }
.cell.should, .cell.may { opacity: .75; }
.pass { background: #2e7d32; } .fail { background: #c62828; } .error { background: #6a1b9a; }
.inconclusive { background: #9a6700; } .unsupported { background: #37608a; } .info { background: #00695c; }
.cell.pass::before { content: "✓ "; } .cell.fail::before { content: "✗ "; } .cell.error::before { content: "! "; }
.cell.inconclusive::before { content: "? "; } .cell.unsupported::before { content: "- "; }
details { border-top: 1px solid var(--line); padding: .4rem 0; } summary { cursor: pointer; }
pre { overflow-x: auto; background: #8881; padding: .6rem; border-radius: .25rem; white-space: pre-wrap;
  overflow-wrap: anywhere; } .quiet { color: var(--quiet); }
"""


def html(report: Report) -> str:
    """The page."""
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in facts(report))
    verdicts = " ".join(
        f'<span class="cell {name}">{count}</span>{name.replace("_", " ")} &nbsp;' for name, count in counts(report)
    )
    fault = f"<p><strong>The run was cut short:</strong> {escape(report.fault)}</p>" if report.fault else ""
    if report.opening:
        fault += f"<p><strong>A plain chat request was not served:</strong> {escape(report.opening)}</p>"
    return f"""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Conformance of {escape(report.target.model)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>Conformance of {escape(report.target.model)}</h1>
<p><strong>{escape(headline(report))}</strong></p>
{fault}
<p>{verdicts}</p>
<table>{rows}</table>
<h2>Matrix</h2>
<table class="matrix">{"".join(_matrix(report))}</table>
<h2>How to reproduce</h2>
<pre>{escape(reproduce(report))}</pre>
<h2>Rules</h2>
{"".join(map(_details, report.results))}
</body>
</html>
"""


def _matrix(report: Report) -> Iterable[str]:
    for section, results in groupby(report.results, key=lambda result: result.section):
        cells = "".join(map(_cell, results))
        yield f"<tr><th>{escape(_title(section))}</th><td>{cells}</td></tr>\n"


def _title(section: str) -> str:
    return SECTIONS[section].title if section in SECTIONS else section


def _cell(result: Result) -> str:
    title = escape(f"{result.level} {result.verdict.value}: {result.requirement}", quote=True)
    return (
        f'<a class="cell {result.verdict.value} {result.level.lower()}" href="#{escape(result.rule, quote=True)}" '
        f'title="{title}">{escape(result.rule)}</a>'
    )


def _details(result: Result) -> str:
    is_open = " open" if result.verdict in UNSETTLED else ""
    lines = [("expected", result.expected), ("seen", result.seen)] if result.expected else [("", result.message)]
    lines += [("note", note) for note in (*result.notes, *result.retries)]
    said = "".join(f"<p>{escape(f'{name}: {text}' if name else text)}</p>" for name, text in lines if text)
    return (
        f'<details id="{escape(result.rule, quote=True)}"{is_open}><summary>'
        f'<span class="cell {result.verdict.value}">{escape(result.rule)}</span> {escape(result.requirement)} '
        f'<span class="quiet">{result.level}{", provisional" if result.provisional else ""}, {result.verdict.value}, '
        f"{result.requests} requests, {result.duration_s:.2f} s</span></summary>\n"
        f"{said}{''.join(map(_transcript, result.transcripts))}</details>\n"
    )


def _transcript(transcript: Transcript) -> str:
    return f"<pre>{escape(request_of(transcript))}</pre><pre>{escape(answer_of(transcript))}</pre>"

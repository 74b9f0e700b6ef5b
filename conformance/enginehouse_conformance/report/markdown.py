"""Markdown: for a pull request, a release, a page of documentation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from enginehouse_conformance.results import Report, Result

from .words import answer_of, counts, facts, headline, reproduce, request_of, unsettled

_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~])")
_SHOWN_CHARS = 2000


def markdown(report: Report) -> str:
    """The document."""
    return "\n".join([
        "# Conformance report",
        "",
        _plain(headline(report)),
        "",
        *([f"**The run was cut short:** {_plain(report.fault)}", ""] if report.fault else []),
        *([f"**A plain chat request was not served:** {_plain(report.opening)}", ""] if report.opening else []),
        *_table(("fact", "value"), [(name, _plain(value)) for name, value in facts(report)]),
        "## Summary",
        "",
        *_table(("level", "passed", "of"), _levels(report)),
        *_table(("verdict", "rules"), [(name, str(count)) for name, count in counts(report)]),
        "## How to reproduce",
        "",
        *_block(reproduce(report), "sh"),
        *_looked_at(report),
        "## All rules",
        "",
        *_table(("rule", "level", "verdict", "requirement", "remark"), map(_row, report.results)),
    ])  # fmt: skip


def _levels(report: Report) -> list[tuple[str, str, str]]:
    counts = {"MUST": report.summary.must, "SHOULD": report.summary.should, "MAY": report.summary.may}
    return [(level, str(count.passed), str(count.total)) for level, count in counts.items()]


def _looked_at(report: Report) -> Iterable[str]:
    results = unsettled(report)
    if not results:
        return
    yield from ("## What did not pass", "")
    for result in results:
        yield from (f"### {result.rule} ({result.level}): {result.verdict.value}", "", _plain(result.requirement), "")
        if result.expected:
            yield f"- expected: {_plain(result.expected)}"
            yield f"- seen: {_plain(result.seen)}"
        else:
            yield f"- {_plain(result.message)}"
        yield from (f"- note: {_plain(note)}" for note in (*result.notes, *result.retries))
        yield ""
        if result.transcripts:
            yield from _block(request_of(result.transcripts[-1]), "sh")
            yield from _block(_cut(answer_of(result.transcripts[-1])), "")


def _row(result: Result) -> tuple[str, ...]:
    provisional = "provisional; " if result.provisional else ""
    remark = _plain(provisional + "; ".join(filter(None, (result.message, *result.notes))))
    return result.rule, result.level, result.verdict.value, _plain(result.requirement), remark


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterable[str]:
    yield "| " + " | ".join(names) + " |"
    yield "|" + "---|" * len(names)
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""


def _block(text: str, language: str) -> Iterable[str]:
    """A code block whose fence no line of *text* can close."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    yield from (f"{fence}{language}", text, fence, "")


def _cut(text: str) -> str:
    more = len(text) - _SHOWN_CHARS
    return text if more <= 0 else f"{text[:_SHOWN_CHARS]}… ({more} characters more in report.json)"


def _plain(text: str) -> str:
    """*text* on one line, nothing in it read as Markdown."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))

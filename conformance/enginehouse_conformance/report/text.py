"""Results as plain text, for a terminal and for a test that failed."""

from __future__ import annotations

from collections.abc import Iterable

from enginehouse_conformance.endpoints.presence import SERVED
from enginehouse_conformance.results import REPEATS, Report, Result

from .words import answer_of, audited, counts, headline, request_of, slowest, unsettled

_SHOWN_CHARS = 2000
_SHOWN_OF_REQUEST = 400


def summary_text(report: Report) -> str:
    """The whole outcome: what did not pass, the counts, the headline."""
    lines = [f"First of all: {REPEATS}.", ""] if REPEATS in report.notes else []
    for result in unsettled(report):
        if report.fault is None or result.requests:
            lines += [*details(result), ""]
    lines += [f"{each.rule} {each.verdict.value}: {printable(note)}" for each in audited(report) for note in each.notes]
    found = [f"{count} {name.replace('_', ' ')}" for name, count in counts(report) if count]
    lines += [
        f"{len(report.results)} {'rule' if len(report.results) == 1 else 'rules'}: {', '.join(found) or 'none ran'}"
    ]
    if slow := slowest(report):
        lines.append(f"Took {report.duration_s:.0f} s; the slowest rules: {slow}")
    if report.fault is not None:
        lines.append(f"The run was cut short: {printable(report.fault)}")
    if report.opening is not None:
        lines.append(f"A plain chat request was not served: {printable(report.opening)}")
    lines += [f"No endpoint {name}, {printable(why)}." for name, why in report.endpoints.items() if why != SERVED]
    lines += [f"Note: {printable(note)}." for note in report.notes if note != REPEATS]
    return "\n".join([*lines, printable(headline(report))])


def details(result: Result, *, with_answer: bool = False) -> Iterable[str]:
    """What came out, what was expected and seen, and the command that asks again."""
    level = f"{result.level}, provisional" if result.provisional else result.level
    yield f"{result.verdict.value.upper()} {result.rule} ({level}): {result.requirement}"
    if result.expected:
        yield f"  expected: {printable(result.expected)}"
        yield f"  seen:     {printable(result.seen)}"
    elif result.message:
        yield f"  {printable(result.message)}"
    yield from (f"  note: {printable(note)}" for note in (*result.notes, *result.retries))
    for transcript in result.transcripts if with_answer else result.transcripts[-1:]:
        yield f"  {printable(_cut(request_of(transcript), _SHOWN_CHARS if with_answer else _SHOWN_OF_REQUEST))}"
        if with_answer:
            yield from (f"    {printable(line)}" for line in _cut(answer_of(transcript)).splitlines())


def printable(text: str) -> str:
    """*text* with control characters escaped: a target's words must not drive the terminal."""
    return "".join(char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in text)


def _cut(text: str, shown: int = _SHOWN_CHARS) -> str:
    more = len(text) - shown
    return text if more <= 0 else f"{text[:shown]}… ({more} characters more; the reports of --report have it whole)"

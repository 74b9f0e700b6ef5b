"""Writes the tables that come of the reports under conformance/reports.

docs/engines.md puts the engines side by side, rule by rule; conformance/reports/README.md has the figures of all.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, get_args

from tests.conformance.engines import ENGINES, REPORTS, ROOT, Way, Weights, folder_of

from enginehouse_conformance import PROFILES, RULES, Report, Verdict, read_report
from enginehouse_conformance.results import Count

PAGE = ROOT / "docs/engines.md"
OVERVIEW = REPORTS / "README.md"
_BEGIN, _END = "<!-- tables: begin -->\n", "<!-- tables: end -->\n"
_PROFILE = PROFILES["openai"]
_NOT_JUDGED = (Verdict.NOT_APPLICABLE, Verdict.UNSUPPORTED, Verdict.DISABLED, Verdict.INFO)


class Run(NamedTuple):
    """A report of an engine; `label` tells it apart from the engine's others."""

    engine: str
    label: str
    folder: Path
    report: Report


def main() -> int:
    runs = list(committed(REPORTS))
    PAGE.write_text(filled(PAGE.read_text(), section(runs)))
    OVERVIEW.write_text(filled(OVERVIEW.read_text(), figures(REPORTS)))
    print(f"{PAGE}, {OVERVIEW}: {len(runs)} reports of engines")
    return 0


def committed(folder: Path) -> Iterator[Run]:
    """The reports of `make conformance` in *folder*, those that are there."""
    for engine in ENGINES:
        for weights in get_args(Weights):
            for way in get_args(Way):
                name = folder_of(engine, weights, way)
                path = folder / name / "report.json"
                if path.exists():
                    yield Run(engine, name.removeprefix(f"{engine}-"), path.parent, read_report(path))


def filled(page: str, text: str) -> str:
    """*page* with *text* in the place for it.

    Raises:
        ValueError: the page has no such place.
    """
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"the page has no lines {_BEGIN.strip()} and {_END.strip()}")
    return before + begin + text + end + after


def section(runs: Sequence[Run]) -> str:
    """The tables, as Markdown: the runs, then each rule with what came out of it on each engine."""
    reports = _table(("report", "engine", "MUST", "SHOULD", "MAY", "not passed"), map(_run_row, runs))
    rules = [_rule_row(rule.id, runs) for rule in RULES.values() if rule.level_in(_PROFILE) and not rule.audit]
    titles = [engine.title for engine in ENGINES.values()]
    return "\n".join(["", *reports, *_table(("rule", "level", "requirement", *titles), rules)])


def figures(folder: Path) -> str:
    """The table of all reports in *folder*, as Markdown: how many of how many rules passed, and how many not."""
    names = ("report", "conforms", "MUST", "SHOULD", "MAY", "fail", "inconclusive", "error")
    return "\n".join(["", *_table(names, (_figures_row(path) for path in sorted(folder.glob("*/report.json"))))])


def _figures_row(path: Path) -> tuple[str, ...]:
    summary = read_report(path).summary
    name = path.parent.name
    return (
        f"[{name}]({name}/report.json)",
        f"{summary.conforms} (partial)" if summary.partial else summary.conforms,
        *map(_fraction, (summary.must, summary.should, summary.may)),
        *(str(summary.verdicts[verdict]) for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.ERROR)),
    )


def _run_row(run: Run) -> tuple[str, ...]:
    summary = run.report.summary
    name = run.folder.name
    unsettled = [
        f"{result.rule} ({result.verdict.value})"
        for result in run.report.results
        if result.verdict is not Verdict.PASS and result.verdict not in _NOT_JUDGED
    ]
    return (
        f"[{name}](../conformance/reports/{name}/report.json)",
        ENGINES[run.engine].title,
        *map(_fraction, (summary.must, summary.should, summary.may)),
        ", ".join(unsettled) or "none",
    )


def _fraction(count: Count) -> str:
    return f"{count.passed}/{count.total}"


def _rule_row(rule: str, runs: Sequence[Run]) -> tuple[str, ...]:
    found = RULES[rule]
    cells = [_cell(rule, [run for run in runs if run.engine == engine]) for engine in ENGINES]
    return rule, found.level_in(_PROFILE) or "", found.requirement.replace("|", "\\|"), *cells


def _cell(rule: str, runs: Sequence[Run]) -> str:
    """The verdict, where every run that judged the rule has the same, else each with its run."""
    verdicts = {run.label: result.verdict for run in runs for result in run.report.results if result.rule == rule}
    judged = {label: verdict for label, verdict in verdicts.items() if verdict not in _NOT_JUDGED} or verdicts
    words = {label: verdict.value.replace("_", " ") for label, verdict in judged.items()}
    if len(set(words.values())) > 1:
        return ", ".join(f"{word} ({label})" for label, word in words.items())
    return next(iter(words.values()), "not run")


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(names) + " |"
    yield "|" + "---|" * len(names)
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""


if __name__ == "__main__":
    sys.exit(main())

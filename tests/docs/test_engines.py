"""The page on engines says what the committed reports say."""

from __future__ import annotations

import importlib
from pathlib import Path

import msgspec
import pytest
from tests.conformance.engines import ENGINES, REPORTS, WANTED

from enginehouse.config import bind, load_config
from enginehouse.plugins import Plugins
from enginehouse_conformance import RULES, Verdict
from tests.conformance import table

from .fenced import blocks

RUNS = list(table.committed(REPORTS))


def test_the_tables_are_those_that_the_committed_reports_give() -> None:
    page = table.PAGE.read_text()
    assert table.filled(page, table.section(RUNS)) == page, "run: python -m tests.conformance.table"


def test_the_figures_are_those_that_the_committed_reports_give() -> None:
    page = table.OVERVIEW.read_text()
    assert table.filled(page, table.figures(REPORTS)) == page, "run: python -m tests.conformance.table"


def test_every_engine_has_a_report_on_the_tiny_model() -> None:
    assert {run.engine for run in RUNS if run.label == "tiny"} == set(ENGINES)


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.folder.name)
def test_a_report_is_of_all_rules_with_all_features_that_every_engine_must_have(run: table.Run) -> None:
    report = run.report
    assert report.fault is None
    of_some = f"all of {', '.join(sorted(report.endpoints))}"
    of_texts = run.folder.name.endswith(("-embeddings", "-rerank"))  # which generate nothing, and have none of these
    of_endpoints = of_texts or run.folder.name.endswith("-endpoints")
    assert (report.selection, report.summary.partial) == ((of_some, True) if of_endpoints else ("all", False))
    # A report of an earlier suite says nothing of features that it had no rule about.
    judged = {feature for result in report.results for feature in RULES[result.rule].features}
    assert judged & set(WANTED.present()) - set(report.features) == set()
    assert of_texts or all(report.declared.limits[name] >= least for name, least in WANTED.limits.items())


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.folder.name)
def test_every_rule_that_must_hold_holds(run: table.Run) -> None:
    must = run.report.summary.must
    assert must.total
    assert must.passed == must.total


def test_verdicts_that_differ_stand_in_the_table_each_with_its_report() -> None:
    first = next(run for run in RUNS if run.engine == "mlx")
    failed = [
        msgspec.structs.replace(result, verdict=Verdict.FAIL) if result.rule == "STOP3" else result
        for result in first.report.results
    ]
    other = first._replace(label="other", report=msgspec.structs.replace(first.report, results=failed))
    rows = table.section([*RUNS, other]).splitlines()
    (row,) = [row for row in rows if row.startswith("| STOP3 |")]
    assert f"pass ({first.label})" in row
    assert "fail (other)" in row
    assert sum("STOP3 (fail)" in row for row in rows) == 1


def test_a_page_without_a_place_for_the_tables_is_told() -> None:
    with pytest.raises(ValueError, match="no lines"):
        table.filled("# Engines\n", "")


def test_each_configuration_on_the_page_can_be_used(tmp_path: Path) -> None:
    plugins = Plugins()
    for name in ENGINES:
        plugins.add(importlib.import_module(f"enginehouse_{name}"), name)
    examples = [block.text for block in blocks("docs/engines.md") if block.language == "toml"]
    assert examples
    backends = set()
    for text in examples:
        file = tmp_path / "house.toml"
        file.write_text(text)
        house = bind(load_config(file), plugins.backends, {})
        backends |= {placement.backend for model in house.models.values() for placement in model.placements}
    assert backends == set(ENGINES)

"""docs/security.md and the siege: each scenario is told of, and each that is told of is there."""

from __future__ import annotations

import re

from tests.siege.__main__ import run, scenarios
from tests.siege.hostile_requests import VALUES, shapes
from tests.siege.http_shapes import shapes as http_shapes
from tests.siege.verdict import Verdict

from enginehouse.wire.structure import MAX_BODY_VALUES

from .fenced import ROOT

PAGE = (ROOT / "docs/security.md").read_text()


def test_the_table_has_each_scenario() -> None:
    assert set(re.findall(r"^\| `([\w-]+)` \|", PAGE, re.MULTILINE)) == set(scenarios())


def test_numbers_of_the_page_are_those_of_the_code() -> None:
    assert f"({MAX_BODY_VALUES:,})" in PAGE
    assert f"each of {len(VALUES)} values" in PAGE


def test_a_campaign_has_as_many_shapes_as_it_promises() -> None:
    assert len(list(shapes())) >= 300
    assert len(list(http_shapes())) >= 150


def test_the_readme_leads_there() -> None:
    assert "](docs/security.md)" in (ROOT / "README.md").read_text()


async def test_a_scenario_that_breaks_off_falls_with_what_it_had_counted() -> None:
    async def scenario(verdict: Verdict) -> None:
        verdict.count("tried", 3)
        raise TimeoutError

    verdict = await run("broken", scenario)
    assert verdict.counts["tried"] == 3
    assert "TimeoutError" in verdict.failures[0]
    assert verdict.text().startswith("FELL  broken\n      tried: 3\n")

"""Every feature of the contract has rules that a lie about it fails, a mutant that tells it, a probe, and a line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from conformance_stub import STUB_FEATURES
from conformance_stub.fields import FIELDS
from conformance_stub.mutants import load_mutants
from enginehouse_conformance.probes import PROBES, absence_of, rules_about
from enginehouse_conformance.rules import RULES, SECTIONS
from enginehouse_plugin import FEATURES

PAGE = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text()
MUTANTS = load_mutants(Path(__file__).parent / "mutants").values()
PLACES = [entry.name for section in SECTIONS.values() for entry in section.feature]
NOT_ASKED_FOR = {"reasoning", "prefix_cache", "suffix"}
"""Features that no field of chat asks for: what a model or a server does by itself, and what completions have."""


def mutants_of(feature: str) -> list[str]:
    """The mutants that a rule about *feature* kills, those that fewest rules kill first."""
    lies = [mutant for mutant in MUTANTS if mutant.kills & set(rules_about(feature))]
    return [mutant.name for mutant in sorted(lies, key=lambda mutant: len(mutant.kills - set(rules_about(feature))))]


def table() -> str:
    """The lists side by side, as the page shows them."""
    rows = [f"| `{name}` | {absence_of(name)} | {_some(rules_about(name))} | {_some(mutants_of(name))} |"
            for name in FEATURES]  # fmt: skip
    return "\n".join(["| feature | its absence | rules | mutants |", "|---|---|---|---|", *rows])


def _some(names) -> str:
    return ", ".join(names) if len(names) <= 4 else f"{', '.join(names[:3])} and {len(names) - 3} more"


def test_each_feature_of_the_contract_has_one_place_in_the_files_of_rules() -> None:
    assert sorted(PLACES) == sorted(FEATURES)


def test_the_page_shows_features_probes_rules_and_mutants_side_by_side() -> None:
    shown = re.search(r"^\| feature \| its absence .*?(?=\n\n)", PAGE, re.MULTILINE | re.DOTALL)
    assert shown is not None
    assert shown.group() == table(), f"the page must show:\n{table()}"


@pytest.mark.parametrize("feature", FEATURES)
def test_a_lie_about_a_feature_fails_a_rule_that_must_hold(feature) -> None:
    assert "MUST" in {RULES[rule].level for rule in rules_about(feature)}
    assert mutants_of(feature)


def test_the_absence_of_each_feature_is_probed_where_a_field_asks_for_it() -> None:
    assert PROBES.keys() | NOT_ASKED_FOR == FEATURES.keys()
    assert not PROBES.keys() & NOT_ASKED_FOR


@pytest.mark.parametrize("feature", PROBES)
def test_a_refusal_is_asked_to_name_a_word_of_the_request(feature) -> None:
    assert set(PROBES[feature].names) & PROBES[feature].fields.keys()


def test_the_stub_knows_the_fields_of_all_features() -> None:
    assert FEATURES.keys() == STUB_FEATURES
    assert {name for probe in PROBES.values() for name in probe.fields} <= FIELDS.keys()

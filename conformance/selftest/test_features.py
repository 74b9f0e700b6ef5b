"""Every feature of the contract has its place in the suite: rules about it, and a probe of its absence."""

from __future__ import annotations

import pytest

from conformance_stub import STUB_FEATURES
from conformance_stub.fields import FIELDS
from enginehouse_conformance.probes import PROBES
from enginehouse_conformance.rules import RULES, SECTIONS
from enginehouse_plugin import FEATURES

NOT_YET_COVERED = {
    "repetition_penalty": "a backend that ignores it passes",
    "top_k": "a backend that ignores it passes",
    "min_p": "a backend that ignores it passes",
    "chat_template_kwargs": "a backend that ignores it passes",
    "prefix_cache": "a backend that never caches passes",
    "image_input": "a backend that drops images passes",
    "audio_input": "a backend that drops sound passes",
    "file_input": "a backend that drops files passes",
}
"""Features without a rule, each with what a lie about it comes to."""
NOT_ASKED_FOR = {"reasoning", "prefix_cache"}
"""Features that no field asks for."""
WITHOUT_A_PROBE = {"image_input", "audio_input", "file_input"}
"""Features whose absence is not asked about yet."""

PLACES = [entry.name for section in SECTIONS.values() for entry in section.feature]
COVERED = {feature for rule in RULES.values() if not rule.when_absent for feature in rule.features}


def test_each_feature_of_the_contract_has_one_place_in_the_files_of_rules() -> None:
    assert sorted(PLACES) == sorted(FEATURES)


def test_each_feature_has_a_rule_or_is_named_as_not_covered_yet(capsys) -> None:
    with capsys.disabled():
        print("\nno rule yet about", ", ".join(NOT_YET_COVERED), end=" ")
    assert COVERED | NOT_YET_COVERED.keys() == FEATURES.keys()
    assert not COVERED & NOT_YET_COVERED.keys(), "take these out of NOT_YET_COVERED"


def test_the_absence_of_each_feature_is_probed_where_a_field_asks_for_it() -> None:
    assert PROBES.keys() | NOT_ASKED_FOR | WITHOUT_A_PROBE == FEATURES.keys()
    assert not PROBES.keys() & (NOT_ASKED_FOR | WITHOUT_A_PROBE)


@pytest.mark.parametrize("feature", PROBES)
def test_a_refusal_is_asked_to_name_a_word_of_the_request(feature) -> None:
    assert set(PROBES[feature].names) & PROBES[feature].fields.keys()


def test_the_stub_knows_the_fields_of_all_features_that_it_has() -> None:
    fields = {name for feature, probe in PROBES.items() if feature in STUB_FEATURES for name in probe.fields}
    assert fields <= FIELDS.keys()

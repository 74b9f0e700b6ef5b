"""The rules are complete, and each has its check."""

from __future__ import annotations

from enginehouse_conformance.endpoints import ENDPOINTS
from enginehouse_conformance.registry import all_checks
from enginehouse_conformance.rules import PROFILES, RULES
from enginehouse_plugin import FEATURES

LISTED = {
    "ENV": 12, "MSG": 15, "LEN": 13, "SMP": 16, "BIAS": 9, "STOP": 13, "SSE": 20, "N": 8, "LP": 15, "RF": 23,
    "TOOL": 20, "RSN": 5, "ERR": 14, "ISO": 5, "AGT": 3,
}  # fmt: skip
ADDED = {
    "ENV": 6, "MSG": 33, "LEN": 8, "SMP": 15, "BIAS": 2, "STOP": 2, "SSE": 9, "N": 2, "LP": 5, "RF": 7, "TOOL": 9,
    "RSN": 5, "ERR": 3, "ISO": 8,
}  # fmt: skip
"""Rules that faults and features asked for which the listed ones missed."""
OF_ENDPOINTS = {"RESP": 111, "ANT": 84, "CMP": 47, "OLL": 38, "EMB": 27, "RRK": 21, "TOK": 13, "REL": 13}
HOOKS = {"tokenize", "eos_ids", "fault", "active_requests", "context_size"}


def test_all_listed_rules_are_there() -> None:
    assert sum(LISTED.values()) == 191
    counts = {section: count + ADDED.get(section, 0) for section, count in LISTED.items()}
    expected = [f"{section}{number}" for section, count in counts.items() for number in range(1, count + 1)]
    assert [rule for rule in RULES if RULES[rule].section in LISTED] == expected
    for section, count in OF_ENDPOINTS.items():
        numbered = [f"{section}{number}" for number in range(1, count + 1)]
        assert [rule for rule in RULES if RULES[rule].section == section] == numbered
    assert [rule for rule in RULES if RULES[rule].section == "SCH"] == [f"SCH{number}" for number in range(1, 12)]
    assert [rule for rule in RULES if RULES[rule].section == "END"] == [f"END{number}" for number in range(1, 11)]
    assert [rule for rule in RULES if RULES[rule].section == "PRF"] == [f"PRF{number}" for number in range(1, 12)]
    assert [rule for rule in RULES if RULES[rule].section == "AUD"] == [f"AUD{number}" for number in range(1, 8)]
    assert {"S1", "S2", "S3", "C1", "C2", "C3"} <= RULES.keys()
    assert sum(rule.section == "X" for rule in RULES.values()) >= 10


def test_each_rule_has_a_check_and_each_check_a_rule() -> None:
    assert all_checks().keys() == RULES.keys()


def test_rules_name_only_what_exists() -> None:
    parameters = set().union(*(profile.parameters for profile in PROFILES.values()))
    for rule in RULES.values():
        assert rule.requirement.endswith("."), rule.id
        assert rule.source, rule.id
        assert rule.since, rule.id
        assert set(rule.features) <= FEATURES.keys(), rule.id
        assert set(rule.hooks) <= HOOKS, rule.id
        assert set(rule.levels) <= PROFILES.keys(), rule.id
        assert rule.endpoint in {"chat", *ENDPOINTS}, rule.id
        assert set(rule.parameters) <= parameters, rule.id
        assert set(rule.techniques) <= {"C", "T", "A", "B", "X", "H"}, rule.id
        assert 0 <= rule.false_alarm <= 1e-6, rule.id
        assert any(rule.level_in(profile) for profile in PROFILES.values()), rule.id


def test_a_profile_without_a_parameter_has_no_rule_about_it() -> None:
    assert RULES["STOP1"].level_in(PROFILES["krosai"]) is None
    assert RULES["STOP1"].level_in(PROFILES["dos-ai"]) == "MUST"
    assert RULES["ENV12"].level_in(PROFILES["openai"]) == "SHOULD"
    assert RULES["ENV12"].level_in(PROFILES["digitalocean-agent"]) == "MUST"
    assert RULES["AGT1"].level_in(PROFILES["openai"]) is None

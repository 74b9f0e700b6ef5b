"""The page about schemas says what the compiler does: each keyword with one schema that shows it."""

from __future__ import annotations

import re

import pytest
from tests.docs.schema_keywords import ANNOTATIONS, BEYOND, LIMITS, PAGE, SHOWN, disposition, page, refusal, takes
from tests.schemas.generated import REFUSED

_HELD_TO = {"maxItems", "maxLength"}
"""Larger ones are held to what the page says, which is less than the schema allows."""


def test_the_table_of_keywords_is_as_the_compiler_has_it() -> None:
    assert page() == PAGE.read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([$\w]+)` \| ([\w ]+) \|", page(), re.MULTILINE))
    assert rows.keys() == {*SHOWN, *ANNOTATIONS}


def test_the_types_of_libraries_that_are_refused_are_those_of_the_page() -> None:
    told = set(re.findall(r"^\| (\w+: [\w ]+?) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert told == REFUSED.keys()


@pytest.mark.parametrize("keyword", SHOWN)
def test_a_keyword_is_enforced_as_the_page_says(keyword: str) -> None:
    schema, good, bad = SHOWN[keyword]
    assert takes(schema, good)
    assert not takes(schema, bad)
    assert disposition(keyword) == ("enforced within limits" if keyword in BEYOND else "enforced")


@pytest.mark.parametrize("keyword", BEYOND)
def test_what_is_beyond_the_limits_of_the_page_is_refused_by_name(keyword: str) -> None:
    assert f"'{keyword}' at" in refusal(BEYOND[keyword])
    assert LIMITS[keyword]


@pytest.mark.parametrize("keyword", sorted(_HELD_TO))
def test_what_is_held_to_a_limit_is_held_to_it(keyword: str) -> None:
    most = int(LIMITS[keyword].partition("held to ")[2].partition(" ")[0].strip(";").replace(",", ""))
    one, is_text = ("[1" + ",1" * (most - 1), False) if keyword == "maxItems" else ('"' + "a" * most, True)
    schema = {"type": "string" if is_text else "array", keyword: 2 * most}
    assert takes(schema, one + ('"' if is_text else "]"))
    assert not takes(schema, one + ('a"' if is_text else ",1]"))


@pytest.mark.parametrize("keyword", ANNOTATIONS)
def test_an_annotation_demands_nothing(keyword: str) -> None:
    assert disposition(keyword) == "annotation"

"""Models in Anthropic's form: pages of them, and what is refused of a query."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from anthropic.types import ModelInfo as SdkModel

from enginehouse.dialects.anthropic.models import model_info, model_page, page_in, speaks_anthropic
from enginehouse.dialects.openai.models import ModelCard
from enginehouse_plugin.errors import InvalidRequest

CARDS = [
    ModelCard(id=name, created=1767225600, owned_by="o", description=told, context_length=length, state="ready")
    for name, told, length in (("a", "", None), ("org/b", "The B", 512), ("c", "", 1), ("d", "", 1), ("e", "", 1))
]
BAD: list[tuple[str, str]] = [
    ("limit=0", "limit"),
    ("limit=1001", "limit"),
    ("limit=-1", "limit"),
    ("limit=", "limit"),
    ("limit=2.0", "limit"),
    ("limit=%C2%B2", "limit"),
    ("limit=" + "9" * 5000, "limit"),
    ("limit=1&limit=2", "limit"),
    ("after_id=a&after_id=a", "after_id"),
    ("after_id=a&before_id=c", "before_id"),
    ("lifecycle=young", "lifecycle"),
    ("lifecycle=active&lifecycle=", "lifecycle"),
    ("page=2", "page"),
    ("x" * 500 + "=1", "x" * 64),
]


def told(**query: Any) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(model_page(CARDS, page_in(urlencode(query, doseq=True).encode())))
    return said


def ids(**query: Any) -> tuple[str, bool]:
    said = told(**query)
    found = [model["id"].removeprefix("org/") for model in said["data"]]
    ends = [found[0], found[-1]] if found else [None, None]
    assert [end and end.removeprefix("org/") for end in (said["first_id"], said["last_id"])] == ends
    return "".join(found), said["has_more"]


def test_pages_go_both_ways_and_say_whether_there_is_more() -> None:
    assert ids() == ids(limit=5) == ids(lifecycle=["active", "retired"]) == ids(beta="true") == ("abcde", False)
    assert ids(limit=2) == ("ab", True)
    assert ids(limit=2, after_id="org/b") == ("cd", True)
    assert ids(limit=2, after_id="d") == ("e", False)
    assert ids(after_id="e") == ids(lifecycle="retired") == ids(before_id="a") == ("", False)
    assert ids(limit=2, before_id="e") == ("cd", True)
    assert ids(limit=2, before_id="c") == ("ab", False)


def test_a_model_is_one_of_the_sdk() -> None:
    model = SdkModel.model_validate(json.loads(model_info(CARDS[1])))
    assert (model.id, model.display_name, model.max_input_tokens, model.lifecycle) == ("org/b", "The B", 512, "active")
    assert model.created_at.timestamp() == 1767225600
    assert json.loads(model_info(CARDS[0]))["display_name"] == "a"


@pytest.mark.parametrize(("query", "param"), BAD)
def test_what_is_wrong_with_a_query_is_named(query: str, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        model_page(CARDS, page_in(query.encode()))
    assert caught.value.param == param


@pytest.mark.parametrize("name", ["after_id", "before_id"])
def test_a_page_begins_at_a_model_that_there_is(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        told(**{name: "nobody"})
    assert caught.value.param == name


def test_a_query_has_few_parts() -> None:
    with pytest.raises(InvalidRequest, match="more than 64"):
        page_in(b"&".join([b"lifecycle=active"] * 65))


def test_the_headers_tell_the_dialect() -> None:
    assert speaks_anthropic({b"anthropic-version": b"2023-06-01", b"authorization": b"Bearer k"})
    assert speaks_anthropic({b"x-api-key": b"k"})
    assert not speaks_anthropic({b"x-api-key": b"k", b"authorization": b"Bearer k"})
    assert not speaks_anthropic({})

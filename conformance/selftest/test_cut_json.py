"""The beginnings of JSON, and what only looks like one."""

from __future__ import annotations

import json

import pytest

from enginehouse_conformance.primitives import begins_json

WHOLE = json.dumps({"a": [1, -2.5e3, True, False, None, {'b\\"': "é\n"}], "c": {}, "d": ""}) + " "


@pytest.mark.parametrize("length", range(len(WHOLE) + 1))
def test_every_beginning_of_json_is_one(length) -> None:
    assert begins_json(WHOLE[:length])


@pytest.mark.parametrize(
    "text",
    ["Sure! {", "```json\n{", '{"a" 1', '{"a":1}}', "{a", "[1,,", '{"a":"\n', '{"a":01', "nope", '{"a":1} and', "NaN"],
)
def test_what_can_never_become_json_is_none(text) -> None:
    assert not begins_json(text)

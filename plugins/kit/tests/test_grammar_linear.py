"""The form for xgrammar says the same texts as the other, in rules that go on to the end of the text."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import pytest

from enginehouse_kit.grammar import OutputGrammar, gbnf, linear, schema_form
from enginehouse_kit.grammar.linear import LinearPrinter
from enginehouse_kit.grammar.progress import GrammarProgress

PIECES = ["a", "é", "\\n", "\\", "-"]


class Reader:
    """Reads GBNF without groups."""

    def __init__(self, text: str) -> None:
        self._rules: dict[str, list[list[str]]] = {}
        for line in text.splitlines():
            name, body = line.split(" ::= ", 1)
            alternatives: list[list[str]] = [[]]
            for part in re.findall(r'"(?:\\.|[^"\\])*"|\[[^\]]*\]\S*|\w+|\|', body):
                if part == "|":
                    alternatives.append([])
                else:
                    alternatives[-1].append(part)
            self._rules[name] = alternatives

    def takes(self, text: str) -> bool:
        """Whether all of *text* is of the grammar."""
        known: dict[tuple[str, int], set[int]] = {}

        def ends(part: str, at: int) -> set[int]:
            if part not in self._rules:
                pattern = re.escape(json.loads(part)) if part[0] == '"' else part
                return {end for end in range(at, len(text) + 1) if re.fullmatch(pattern, text[at:end])}
            if (part, at) not in known:
                known[part, at] = set()
                for parts in self._rules[part]:
                    reached = {at}
                    for each in parts:
                        reached = {end for start in reached for end in ends(each, start)}
                    known[part, at] |= reached
            return known[part, at]

        return len(text) in ends("root", 0)


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"maxLength": 1},
        {"maxLength": 3},
        {"maxLength": 4},
        {"maxLength": 5},
        {"maxLength": 6},
        {"minLength": 2},
        {"minLength": 4},
        {"minLength": 5, "maxLength": 5},
        {"minLength": 1, "maxLength": 5},
        {"minLength": 5, "maxLength": 6},
        {"pattern": "^(?:-?a){1,4}$"},
        {"pattern": "^(?:a|é-)*-?$"},
        {"pattern": "^(?:a-?|\\n){2,}$"},
        {"pattern": "^(?:(?:a|-a){0,2}é){0,2}$"},
        {"pattern": "^(?:a?){4}$"},
        {"pattern": "^(?:(?:a|é){0,2}){1,3}$"},
    ],
)
def test_both_forms_say_the_same_texts(schema: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "DEEP", 3)
    monkeypatch.setattr(linear, "BLOCK", 2)
    form = schema_form({"type": "string", **schema}, "s")
    reader = Reader(LinearPrinter(form).written())
    taken = 0
    for count in range(7):
        for pieces in itertools.product(PIECES[: 5 if count < 5 else 3], repeat=count):
            text = f'"{"".join(pieces)}"'
            progress = GrammarProgress(form)
            is_taken = progress.read(text) and progress.may_end
            assert reader.takes(text) == is_taken, text
            taken += is_taken
    assert taken


@pytest.mark.parametrize("schema", [{}, {"maxLength": 100}, {"minLength": 3, "maxLength": 5000}, {"format": "uri"}])
def test_no_rule_for_a_place_ends_before_the_text_or_its_block(schema: dict[str, Any]) -> None:
    text = LinearPrinter(schema_form({"type": "string", **schema}, "s")).written()
    assert re.search(r"^[ex]\d+ ::= .* [ex]\d+$", text, re.MULTILINE)
    assert not re.search(r"\b[ex]\d+[{*+?]", text)
    assert text.count("\n") < 700


def test_longer_strings_share_their_places() -> None:
    fields = {f"a{at}": {"type": "string", "maxLength": 200 + at} for at in range(20)}
    text = LinearPrinter(schema_form({"type": "object", "properties": fields}, "s")).written()
    assert text.count("[\\u0022\\u005Cbfnrt]") < linear.DEEP + linear.BLOCK + 100


def test_counts_of_one_set_are_those_of_the_other_form() -> None:
    form = schema_form({"type": "string", "pattern": "^(?:b-)*a{0,5000}$"}, "s")
    counted = re.compile(r"\[a\]\{\S*\}")
    assert counted.findall(LinearPrinter(form).written()) == counted.findall(gbnf.gbnf(form)) != []


def test_what_may_be_left_out_again_and_again_is_one_count() -> None:
    """Engines would try each way to share the letters out, which took llama.cpp a minute a token."""
    form = schema_form({"type": "string", "pattern": "^(a?){200}$"}, "s")
    for text in (gbnf.gbnf(form), LinearPrinter(form).written()):
        assert re.findall(r"\[a\]\S*", text) == ["[a]{0,200}"]


def test_what_is_too_long_in_this_form_is_written_in_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    form = schema_form({"type": "string", "maxLength": 100}, "s")
    monkeypatch.setattr(gbnf, "MAX_BYTES", 1000)
    grammar = OutputGrammar(form, None, ())
    assert grammar.for_xgrammar == grammar.text


def test_a_pattern_of_many_parts_is_written_in_the_other() -> None:
    grammar = OutputGrammar(schema_form({"type": "string", "pattern": f"^(?:a-|b)*{'(?:a|b-)' * 400}$"}, "s"), None, ())
    assert grammar.for_xgrammar == grammar.text

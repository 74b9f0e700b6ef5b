"""Compare random schemas with a validator of another project: `python -m tests.schemas.fuzz COUNT [SEED]`.

Each schema that compiles gives random texts of its grammar, which the validator must accept, and takes random values,
which it may take only if the validator does. xgrammar, which reads the grammar in a form of its own, must take those
texts and values that the grammar takes, and of texts that are a character longer or shorter none but these. Prints
what was compiled and refused, by keyword; exits 1 on a fault.
"""

from __future__ import annotations

import json
import random
import re
import sys
import time
from collections import Counter
from typing import Any
from unittest import mock

import jsonschema_rs

from enginehouse_kit.grammar import OutputGrammar, linear, schema_form
from enginehouse_kit.grammar.form import Grammar
from enginehouse_kit.grammar.progress import GrammarProgress
from enginehouse_plugin.errors import InvalidRequest

from . import random_schemas
from .beside import ByXgrammar

TEXTS = 6
VALUES = 10
SLOW_S = 1.0
_BLOCKS = [{"DEEP": linear.DEEP, "BLOCK": linear.BLOCK}, {"DEEP": 3, "BLOCK": 2}]
"""The places that the form for xgrammar counts: as it does, and so few that most lengths are beyond them."""
READ_OTHERWISE = re.compile(r"\\r|[\u2028\u2029]")
"""Ends of lines that `.` has in the validator's regular expressions, and not in ECMA-262's."""


def faults(schema: Any, rng: random.Random, xgrammar: ByXgrammar) -> list[str]:  # Any: JSON
    """Texts that the grammar of *schema* takes and the validator does not, or that *xgrammar* reads otherwise.

    Raises:
        InvalidRequest: the schema is refused.
    """
    grammar = schema_form(schema, "schema")
    validator = jsonschema_rs.validator_for(schema, validate_formats=True)
    found: list[str] = []
    expected: dict[str, bool] = {}
    for _ in range(TEXTS):
        text = random_schemas.text(rng, grammar)
        if text is None:
            continue
        if not READ_OTHERWISE.search(text) and not validator.is_valid(json.loads(text)):
            found.append(text)
        at = rng.randrange(len(text))
        for near in (text, text[:at] + text[at + 1 :], text[:at] + text[at] + text[at:]):
            expected[near] = _is_taken(grammar, near)
    for _ in range(VALUES):
        text = json.dumps(random_schemas.value(rng), ensure_ascii=False, separators=(",", ":"))
        expected[text] = _is_taken(grammar, text)
        if expected[text] and not validator.is_valid(json.loads(text)):
            found.append(text)
    with mock.patch.multiple(linear, **rng.choice(_BLOCKS)):
        taken = xgrammar.reads(OutputGrammar(grammar, None, ()).for_xgrammar, list(expected))
    if taken is None:
        return [*found, "xgrammar refuses the grammar"]
    return found + [
        f"by xgrammar otherwise: {text}"
        for text, by_xgrammar in zip(expected, taken, strict=True)
        if by_xgrammar != expected[text]
    ]


def _is_taken(grammar: Grammar, text: str) -> bool:
    progress = GrammarProgress(grammar)
    return progress.read(text) and progress.may_end


def run(xgrammar: ByXgrammar) -> int:
    """Compile as many schemas as asked for; the exit status."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    refused: Counter[str] = Counter()
    compiled = unsound = 0
    slowest = 0.0
    at = seed * 1_000_000
    while compiled < count:
        at += 1
        rng = random.Random(at)  # no secret
        schema = random_schemas.schema(rng)
        began = time.process_time()
        try:
            found = faults(schema, rng, xgrammar)
        except InvalidRequest as error:
            keyword = re.search(r"'(\w+)' at", error.message)
            refused[keyword[1] if keyword else error.message[:60]] += 1
            continue
        slowest = max(slowest, time.process_time() - began)
        compiled += 1
        for text in found[:1]:
            unsound += 1
            print(f"UNSOUND {at}: {text}\n  {json.dumps(schema)}")
    print(f"{compiled} compiled, {unsound} unsound, slowest {slowest:.2f} s; {refused.total()} refused: {refused}")
    return int(unsound > 0 or slowest > SLOW_S)


def main() -> int:
    """Compare; the exit status."""
    with ByXgrammar() as xgrammar:
        return run(xgrammar)


if __name__ == "__main__":
    sys.exit(main())

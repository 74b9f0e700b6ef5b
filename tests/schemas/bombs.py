"""Schemas made to cost time or memory: each must be compiled or refused within the bounds.

`python -m tests.schemas.bombs [NAME…]` prints the processor time and the memory of each, in a process of its own; exits
1 if one is over a bound, or is neither compiled nor refused.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from typing import Any

import msgspec

from enginehouse_kit.grammar import output_grammar
from enginehouse_plugin import GenerationRequest, JsonSchema, Text
from enginehouse_plugin.errors import InvalidRequest

MOST_S = 1.0
MOST_MIB = 200
_Schema = dict[str, Any]


def _chain(levels: int, keyword: str) -> _Schema:
    """Levels that each name the next one twice."""
    two = {at: [{"$ref": f"#/$defs/a{at + 1}"}] * 2 for at in range(levels)}
    definitions: _Schema = {f"a{at}": {keyword: parts} for at, parts in two.items()}
    definitions[f"a{levels}"] = {"type": "object", "properties": {"x": {"type": "string"}}}
    return {"$ref": "#/$defs/a0", "$defs": definitions}


def _tree(levels: int) -> _Schema:
    below = {at: {"$ref": f"#/$defs/a{at + 1}"} for at in range(levels)}
    definitions: _Schema = {
        f"a{at}": {"type": "object", "properties": {"l": ref, "r": ref}} for at, ref in below.items()
    }
    return {"$ref": "#/$defs/a0", "$defs": {**definitions, f"a{levels}": {"type": "null"}}}


def _deep(levels: int) -> _Schema:
    found: _Schema = {}
    for _ in range(levels):
        found = {"type": "array", "items": found}
    return found


def _variant(at: int, *, is_required: bool) -> _Schema:
    key = "k" if is_required else f"k{at}"
    properties = {key: {"enum": [f"{at}-{n}" for n in range(50)]}, "v": {"type": "string"}}
    return {"type": "object", "properties": properties, **({"required": ["k"]} if is_required else {})}


def _nested_counts(most: int) -> _Schema:
    inner = {"type": "array", "maxItems": most, "items": {"type": "string", "maxLength": most}}
    return {"type": "array", "maxItems": most, "items": inner}


def _text(pattern: str, **more: Any) -> _Schema:  # Any: JSON
    return {"type": "string", "pattern": pattern, **more}


def _otherwise(levels: int) -> _Schema:
    found: _Schema = {"type": "string"}
    for at in range(levels):
        then = {"properties": {f"k{at}": {"type": "integer"}}}
        found = {"if": {"type": "object", "required": [f"k{at}"]}, "then": then, "else": found}
    return found


def _crossed(count: int) -> _Schema:
    """Definitions whose members are each two of them at once, so that their products meet again and again."""
    refs = [{"$ref": f"#/$defs/a{at}"} for at in range(count)]
    definitions: _Schema = {
        f"a{at}": {
            "type": "object",
            "properties": {
                f"m{by}": {"allOf": [refs[(at + by) % count], refs[(at * by + 1) % count]]} for by in (2, 3, 5)
            },
        }
        for at in range(count)
    }
    return {"$ref": "#/$defs/a0", "$defs": definitions}


BOMBS: dict[str, _Schema] = {
    "doubling allOf": _chain(26, "allOf"),
    "doubling anyOf": _chain(26, "anyOf"),
    "doubling oneOf": _chain(26, "oneOf"),
    "a tree of references": _tree(100),
    "deep": _deep(90),
    "oneOf of 200 told apart": {"oneOf": [_variant(at, is_required=True) for at in range(200)]},
    "oneOf of 200 that overlap": {"oneOf": [_variant(at, is_required=False) for at in range(200)]},
    "oneOf of 40 required keys": {"type": "object", "oneOf": [{"required": [f"k{at}"]} for at in range(40)]},
    "3000 nested beginnings": {"enum": ["a" * at for at in range(1, 3001)]},
    "two enums of 3000": {"allOf": [{"enum": [f"v{n}" for n in range(at, at + 3000)]} for at in (0, 1500)]},
    "an enum of 90,000": {"enum": [f"value number {at}" for at in range(90_000)]},
    "a constant of 90,000 values": {"const": [[at] * 100 for at in range(900)]},
    "a pattern of 500 kB": _text("a" * 500_000),
    "nested counts in a pattern": _text("^((((a{1,100}){1,100}){1,100}){1,100})$"),
    "a pattern of exponential states": _text("^(?=.*a.{30}$)[ab]*$"),
    "the opposite of one": {"type": "string", "not": {"pattern": "^(a|b)*a(a|b){200}$"}},
    "sixteen lookaheads": _text("^" + "".join(f"(?!.*{c}{c}{c})" for c in "abcdefghijklmnop") + ".*$"),
    "a pattern times a length": _text("^([a-z]+-)*[a-z]+$", minLength=3000, maxLength=9000),
    "categories of characters": _text(r"^(\p{L}|\p{N}|\p{P})+$"),
    "nested counts": _nested_counts(10_000),
    "5000 counted properties": {
        "type": "object",
        "properties": {f"p{at}": {"type": "string", "maxLength": at} for at in range(5000)},
    },
    "2000 properties, 500 at most": {
        "type": "object",
        "properties": {f"p{at}": {} for at in range(2000)},
        "maxProperties": 500,
    },
    "30 dependencies": {"type": "object", "dependentRequired": {f"a{at}": [f"b{at}"] for at in range(30)}},
    "60 conditions": {
        "type": "object",
        "allOf": [
            {"if": {"properties": {"k": {"const": at}}, "required": ["k"]}, "then": {"required": [f"v{at}"]}}
            for at in range(60)
        ],
    },
    "20 kinds of keys": {
        "type": "object",
        "patternProperties": {f"[a-{chr(98 + at)}]{{3}}": {"maxLength": at} for at in range(20)},
        "additionalProperties": False,
    },
    "multiples of large primes": {"allOf": [{"type": "integer", "multipleOf": step} for step in (997, 991, 983)]},
    "a product of alternatives": {
        "allOf": [{"anyOf": [{"required": [f"k{a}_{b}"]} for a in range(19)]} for b in range(6)]
    },
    "40 conditions, each in the else of another": _otherwise(40),
    "references that multiply": _crossed(12),
    "12 kinds of keys that overlap": {
        "type": "object",
        "patternProperties": {f"^.*{letter}.*$": {"maxLength": at} for at, letter in enumerate("abcdefghijkl")},
    },
    "one of 200 ranges": {
        "oneOf": [{"type": "integer", "minimum": at * 10**9, "maximum": at * 10**9 + 10**8} for at in range(200)]
    },
    "8 of 400, each once": {
        "type": "array",
        "items": {"enum": list(range(400))},
        "minItems": 8,
        "maxItems": 8,
        "uniqueItems": True,
    },
    "3000 places with 30 values": {
        "type": "array",
        "prefixItems": [{"enum": [f"{at}-{n}" for n in range(30)]} for at in range(3000)],
        "items": False,
    },
    "the opposite of 60 long values": {
        "type": "string",
        "not": {"enum": ["".join(chr(97 + at * by % 26) for by in range(2000)) for at in range(60)]},
    },
    "a short schema of a long grammar": {
        "type": "object",
        "properties": {
            f"p{at}": {"type": "object", "properties": {f"{at}{name}{'abc' * 15}": {} for name in range(12)}}
            for at in range(90)
        },
    },
    "names of 5000 characters": {"type": "object", "properties": {"k" * 5000 + str(at): {} for at in range(200)}},
}


def measure(name: str) -> int:
    """Compile one; prints time, memory and what came of it."""
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    try:
        schema = msgspec.json.decode(msgspec.json.encode(BOMBS[name]))  # as a request brings it: no part is another
        grammar = output_grammar(GenerationRequest(id="r", prompt=Text(""), output=JsonSchema("s", schema)))
        outcome = "nothing"
        if grammar is not None:
            outcome = f"compiled, {len(grammar.text)} bytes, for xgrammar {len(grammar.for_xgrammar)}"
    except InvalidRequest as refused:
        outcome = f"refused: {refused.message[:90]}"
    spent_s = time.process_time() - began
    more_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) / 1024
    print(f"{name:34} {spent_s:5.2f} s {more_mib:5.0f} MiB  {outcome}", flush=True)
    return int(spent_s > MOST_S or more_mib > MOST_MIB)


def main() -> int:
    """Measure those that were named, or all; the exit status."""
    if len(sys.argv) == 2:
        return measure(sys.argv[1])
    runs = [subprocess.run([sys.executable, "-m", "tests.schemas.bombs", name], check=False) for name in BOMBS]
    return int(any(run.returncode for run in runs))


if __name__ == "__main__":
    sys.exit(main())

"""Random schemas of all keywords, and random texts of a grammar: what `fuzz` compares with a validator."""

from __future__ import annotations

import random
from typing import Any

from enginehouse_kit.grammar.characters import Ranges
from enginehouse_kit.grammar.form import Either, Grammar, Literal, Many, Node, Regular, Rule, Series
from enginehouse_kit.grammar.regex import Regex
from enginehouse_kit.grammar.spelling import spelled

_NAMES = ("a", "b", "ab", "c", 'q"', "é")
_PATTERNS = ("^a", "b$", "^[a-c]+$", "a|b", "^(?!ab)", r"^\w{1,3}$", "[^a]", "^(a|bc)*$", "^.{2}$")
_FORMATS = ("date", "ipv4", "uuid", "int32", "duration", "time")


def schema(rng: random.Random, depth: int = 3) -> Any:  # Any: JSON
    """A random schema, nested up to *depth*."""
    if depth == 0 or rng.random() < 0.04:
        return rng.choice([True, {}, {"type": rng.choice(_TYPES)}, {"const": value(rng, 1)}])
    makers = rng.sample(_MAKERS, rng.choice((1, 1, 1, 2, 2, 3)))
    found: dict[str, Any] = {}
    for make in makers:
        found.update(make(rng, depth - 1))
    return found


def value(rng: random.Random, depth: int = 2) -> Any:  # Any: JSON
    """A random value."""
    kind = rng.randrange(8 if depth else 6)
    if kind == 0:
        return rng.choice([None, True, False])
    if kind in (1, 2):
        return rng.choice([rng.randint(-9, 9), rng.randint(-99, 99) / 4, 1.0, 0, -0.5])
    if kind < 6:
        return "".join(rng.choice('abc1 é"\\') for _ in range(rng.randrange(4)))
    if kind == 6:
        return [value(rng, depth - 1) for _ in range(rng.randrange(4))]
    return {rng.choice(_NAMES): value(rng, depth - 1) for _ in range(rng.randrange(4))}


def text(rng: random.Random, grammar: Grammar, most: int = 300) -> str | None:
    """A random text of *grammar*; None if it gets longer than *most* pieces."""
    out: list[str] = []
    todo: list[Node] = [grammar.root]
    steps = 0
    while todo:
        steps += 1
        if steps > most:
            return None
        node = todo.pop()
        if isinstance(node, Literal):
            out.append(node.text)
        elif isinstance(node, Rule):
            todo.append(grammar.rules[node.name])
        elif isinstance(node, Series):
            todo += reversed(node.items)
        elif isinstance(node, Either):
            todo.append(rng.choice(node.options))
        elif isinstance(node, Many):
            high = node.low + 3 if node.high is None else min(node.high, node.low + 3)
            todo += [node.item] * rng.randint(node.low, high)
        elif isinstance(node, Regular):
            found = _of_language(rng, grammar, node.regex if node.strings is None else node.strings)
            if found is None:
                return None
            out.append(found if node.strings is None else f'"{spelled(found)}"')
    return "".join(out)


def _of_language(rng: random.Random, grammar: Grammar, regex: Regex) -> str | None:
    """A random text of *regex*: by its automaton, or by its parts where that would be large."""
    if regex.is_plain:
        return _of_plain(rng, regex)
    states = grammar.states(regex)
    out, at = [], 0
    for _ in range(60):
        state = states[at]
        if state.rest is not None:
            return "".join([*out, _of_plain(rng, state.rest)])
        if state.is_end and (not state.onward or rng.random() < 0.4):
            return "".join(out)
        at = rng.choice(list(state.onward))
        out.append(_one_of(rng, state.onward[at]))
    return None


def _of_plain(rng: random.Random, regex: Regex) -> str:
    kind, parts = regex.kind, regex.parts
    if kind == "text":
        return str(parts[0])
    if kind == "set":
        return _one_of(rng, parts[0])
    if kind == "seq":
        return _of_plain(rng, parts[0]) + _of_plain(rng, parts[1])
    if kind == "or":
        return _of_plain(rng, rng.choice(parts))
    if kind == "many":
        most = parts[1] + 3 if parts[2] is None else parts[2]
        count = rng.choice([parts[1], most, rng.randint(parts[1], min(most, parts[1] + 3))])
        return "".join(_of_plain(rng, parts[0]) for _ in range(count))
    return ""


def _one_of(rng: random.Random, ranges: Ranges) -> str:
    low, high = rng.choice(ranges)
    return chr(rng.choice((low, high, rng.randint(low, high))))


_TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")


def _typed(rng: random.Random, depth: int) -> dict[str, Any]:
    return {"type": rng.choice([rng.choice(_TYPES), rng.sample(_TYPES, 2)])}


def _strings(rng: random.Random, depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "string"} if rng.random() < 0.8 else {}
    low = rng.randrange(3)
    found.update(rng.choice([{"minLength": low}, {"maxLength": low + 2}, {"minLength": low, "maxLength": low + 1}, {}]))
    if rng.random() < 0.5:
        found["pattern"] = rng.choice(_PATTERNS)
    if rng.random() < 0.2:
        found["format"] = rng.choice(_FORMATS)
    return found


def _numbers(rng: random.Random, depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {"type": rng.choice(["integer", "number"])} if rng.random() < 0.8 else {}
    low = rng.choice([rng.randint(-20, 20), rng.randint(-20, 20) / 8])
    bounds = {"minimum": low, "exclusiveMinimum": low - 1, "maximum": low + 5}
    found.update((keyword, bound) for keyword, bound in bounds.items() if rng.random() < 0.4)
    if rng.random() < 0.3:
        found["exclusiveMaximum"] = low + rng.choice([0.5, 3, 30])
    if rng.random() < 0.3:
        found["multipleOf"] = rng.choice([1, 2, 3, 0.5, 0.25, 10])
    return found


def _arrays(rng: random.Random, depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "array"} if rng.random() < 0.8 else {}
    if rng.random() < 0.6:
        found["items"] = schema(rng, depth)
    if rng.random() < 0.3:
        found["prefixItems"] = [schema(rng, depth) for _ in range(rng.randint(1, 2))]
    if rng.random() < 0.3:
        found["minItems"] = rng.randrange(3)
    if rng.random() < 0.5:
        found["maxItems"] = rng.randrange(1, 4)
    if rng.random() < 0.25:
        found["contains"] = schema(rng, depth)
        found.update(rng.choice([{}, {"minContains": 0}, {"maxContains": 1}, {"minContains": 2}]))
    if rng.random() < 0.2:
        found["uniqueItems"] = True
    if rng.random() < 0.1:
        found["unevaluatedItems"] = schema(rng, 0)
    return found


def _objects(rng: random.Random, depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "object"} if rng.random() < 0.8 else {}
    names = rng.sample(_NAMES, rng.randrange(4))
    if names:
        found["properties"] = {name: schema(rng, depth) for name in names}
    if rng.random() < 0.5:
        found["required"] = rng.sample(_NAMES, rng.randrange(3))
    if rng.random() < 0.4:
        found["additionalProperties"] = rng.choice([False, True, schema(rng, depth)])
    if rng.random() < 0.3:
        found["patternProperties"] = {rng.choice(_PATTERNS): schema(rng, depth)}
    if rng.random() < 0.2:
        found["propertyNames"] = {"pattern": rng.choice(_PATTERNS)}
    if rng.random() < 0.2:
        found["minProperties"] = rng.randrange(3)
    if rng.random() < 0.2:
        found["maxProperties"] = rng.randrange(4)
    if rng.random() < 0.15:
        found["dependentRequired"] = {rng.choice(_NAMES): [rng.choice(_NAMES)]}
    if rng.random() < 0.1:
        found["dependentSchemas"] = {rng.choice(_NAMES): schema(rng, depth)}
    if rng.random() < 0.1:
        found["unevaluatedProperties"] = schema(rng, 0)
    return found


def _values(rng: random.Random, depth: int) -> dict[str, Any]:
    if rng.random() < 0.4:
        return {"const": value(rng)}
    return {"enum": [value(rng) for _ in range(rng.randint(1, 4))]}


def _combined(rng: random.Random, depth: int) -> dict[str, Any]:
    keyword = rng.choice(["allOf", "anyOf", "oneOf"])
    return {keyword: [schema(rng, depth) for _ in range(rng.randint(1, 3))]}


def _opposed(rng: random.Random, depth: int) -> dict[str, Any]:
    if rng.random() < 0.5:
        return {"not": schema(rng, depth)}
    return {"if": schema(rng, depth), "then": schema(rng, depth), "else": schema(rng, depth)}


_MAKERS = (_typed, _strings, _strings, _numbers, _arrays, _arrays, _objects, _objects, _values, _combined, _opposed)

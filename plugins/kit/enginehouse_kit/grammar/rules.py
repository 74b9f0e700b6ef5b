"""JSON Schema to GBNF: a grammar whose every sentence is JSON that the schema accepts.

Engines have converters of their own, which drop keywords that they do not know and differ from each other and
between versions. This one refuses what it cannot say (see `schema`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec

from enginehouse_plugin.errors import InvalidRequest

from . import gbnf, ranges
from .formats import FORMATS
from .pattern import UnsupportedPattern, pattern_rule
from .schema import Document, Plain, fits_type, types_of

MAX_LEAST = 2000
"""Largest `minLength` and `minItems`: llama.cpp refuses to count further."""
MAX_MOST = 10_000
"""Largest `maxLength` and `maxItems`."""

_MAX_RULES = 3000


class Grammar:
    """Rules under construction; `text` is what the engine takes."""

    def __init__(self) -> None:
        self._rules: dict[str, str] = {}

    def use(self, primitive: str) -> str:
        """Name of a primitive rule, which is added with what it needs."""
        if primitive not in self._rules:
            self._rules[primitive] = gbnf.PRIMITIVES[primitive]
            for name in gbnf.PRIMITIVE_NEEDS.get(primitive, ()):
                self.use(name)
        return primitive

    def reserve(self) -> str:
        """A name for a rule that is written later."""
        name = f"r{len(self._rules)}"
        self._rules[name] = ""
        return name

    def write(self, name: str, body: str) -> None:
        """Write the rule *name*."""
        self._rules[name] = body

    def add(self, body: str) -> str:
        """Add a rule; returns its name."""
        name = self.reserve()
        self.write(name, body)
        return name

    @property
    def size(self) -> int:
        """Number of rules."""
        return len(self._rules)

    def text(self, root: str) -> str:
        """The whole grammar, which begins with the expression *root*."""
        return "".join(f"{name} ::= {body}\n" for name, body in (("root", root), *self._rules.items()))


def schema_grammar(schema: Any, param: str) -> str:  # Any: JSON
    """JSON that fits *schema*.

    Raises:
        InvalidRequest: the schema cannot be enforced; names the keyword and where it stands.
    """
    grammar = Grammar()
    return grammar.text(SchemaRules(grammar, schema, param).root())


class SchemaRules:
    """Writes the rules of one schema document into a grammar."""

    def __init__(self, grammar: Grammar, schema: Any, param: str) -> None:  # Any: JSON
        self._grammar = grammar
        self._document = Document(schema, param)
        self._known: dict[bytes, str | None] = {}

    def root(self, kind: str | None = None) -> str:
        """Name of the rule for the whole schema, of whose values only those of the type *kind* count."""
        schema = self._document.root if kind is None else {"allOf": [{"$ref": "#"}, {"type": kind}]}
        try:
            rule = self._rule(schema, "#")
        except RecursionError as error:
            raise InvalidRequest(
                "The JSON schema is nested too deeply.", param=self._document.param, code="unsupported_schema"
            ) from error
        if rule is None:
            self._document.refuse("#", "schema", "allows no value at all")
        return rule

    def _rule(self, schema: Any, path: str) -> str | None:  # Any: JSON
        """Name of the rule for *schema*, or None if it allows nothing."""
        key = msgspec.json.encode(schema)
        if key in self._known:
            return self._known[key]
        if self._grammar.size > _MAX_RULES:
            self._document.refuse(path, "schema", f"needs more than {_MAX_RULES} grammar rules")
        name = self._known[key] = self._grammar.reserve()
        bodies = []
        for plain in self._document.alternatives(schema, path):
            bodies += [body for body in self._bodies(plain, path) if body not in bodies]
        if not bodies:
            self._grammar.write(name, '""')
            self._known[key] = None
            return None
        self._grammar.write(name, " | ".join(bodies))
        return name

    def _bodies(self, plain: Plain, path: str) -> list[str]:
        """Expressions for *plain*, one for each type that it may take."""
        types = types_of(plain)
        if "enum" in plain:
            return self._enum(plain, types if "type" in plain else None, path)
        if not plain:
            return [self._grammar.use("value")]
        bodies = []
        for name in types:
            body = {
                "object": self._object,
                "array": self._array,
                "string": self._string,
                "number": self._number,
                "integer": self._integer,
            }.get(name, lambda _plain, _path, name=name: self._grammar.use(name))(plain, path)
            if body is not None:
                bodies.append(body)
        return bodies

    def _enum(self, plain: Plain, types: list[str] | None, path: str) -> list[str]:
        for keyword in plain:
            if keyword not in ("enum", "type"):
                self._document.refuse(path, keyword, "cannot be combined with 'enum' or 'const'")
        values = [value for value in plain["enum"] if types is None or fits_type(value, types)]
        return [gbnf.one_of(msgspec.json.encode(value).decode() for value in values)] if values else []

    # ---- objects ----

    def _object(self, plain: Plain, path: str) -> str | None:
        additional = plain.get("additionalProperties", "properties" not in plain)
        required = list(dict.fromkeys(plain.get("required", ())))
        if any(not isinstance(name, str) for name in required):
            self._document.refuse(path, "required", "must be a list of names")
        properties = dict(plain.get("properties", {}))
        for name in required:  # a name that only `required` has takes any value that is allowed there
            properties.setdefault(name, plain.get("additionalProperties", True))
        entries: list[tuple[str, bool]] = []
        for name, schema in properties.items():
            value = self._rule(schema, f"{path}/properties/{name}")
            if value is None and name in required:
                return None
            if value is not None:
                key = f"{gbnf.json_literal(name)} {self._grammar.use('colon')} {value}"
                entries.append((key, name in required))
        other = None if additional is False else self._additional(additional, list(properties), path)
        self._check_property_counts(plain, len(required), None if other else len(entries), path)
        return self._members(entries, other)

    def _additional(self, schema: Any, names: Sequence[str], path: str) -> str | None:  # Any: JSON
        """A member whose key is none of *names*."""
        value = self._rule(schema, f"{path}/additionalProperties")
        if value is None:
            return None
        return self._grammar.add(f"{self._other_key(names)} {self._grammar.use('colon')} {value}")

    def _check_property_counts(self, plain: Plain, least: int, most: int | None, path: str) -> None:
        if plain.get("minProperties", 0) > least:
            self._document.refuse(path, "minProperties", "is only supported up to the number of required properties")
        if "maxProperties" in plain and (most is None or plain["maxProperties"] < most):
            self._document.refuse(
                path, "maxProperties", "is only supported where additionalProperties is false and all may be present"
            )

    def _members(self, entries: list[tuple[str, bool]], other: str | None) -> str:
        """An object: members in their order, those that are not required may be missing.

        From the last member to the first: `after` is what may follow once a member has been written,
        `fresh` what may stand where none has.
        """
        comma = self._grammar.use("comma")
        after = f"({comma} {other})*" if other else ""
        fresh = f"({other} {after})?" if other else ""
        for member, is_required in reversed(entries):
            rest = self._grammar.add(after) if after else ""
            if is_required:
                after, fresh = f"{comma} {member} {rest}", f"{member} {rest}"
            else:
                after = f"({comma} {member})? {rest}"
                fresh = f"({member} {rest} | {fresh})" if fresh else f"({member} {rest})?"
            fresh = self._grammar.add(fresh)
        return f'"{{" {fresh} "}}"' if fresh else '"{}"'

    def _other_key(self, names: Sequence[str]) -> str:
        """A key that is none of *names*, told apart character by character."""
        if not names:
            return self._grammar.use("string")
        spelled = [msgspec.json.encode(name).decode()[1:-1] for name in names]
        return f'"\\"" {self._differing(spelled)}'

    def _differing(self, names: list[str]) -> str:
        """The rest of a key, its closing quote included, that is none of *names*."""
        char = self._grammar.use("char")
        following: dict[str, list[str]] = {}
        for name in names:
            if name:
                following.setdefault(name[0], []).append(name[1:])
        points = gbnf.normal([(ord(c), ord(c)) for c in following])
        # A backslash begins an escape of two characters: the rest of the key is not compared after it.
        outside = gbnf.complement(gbnf.normal([*points, (0, 0x1F), (0x22, 0x22), (0x5C, 0x5C)]))
        parts = [f'{gbnf.character_class(outside)} {char}* "\\""']
        if "" not in names:
            parts.append('"\\""')
        if "\\" not in following:
            parts.append(f'"\\\\" ["\\\\bfnrt] {char}* "\\""')
        parts += [f"{gbnf.literal(c)} {self._differing(rests)}" for c, rests in following.items() if c != "\\"]
        return self._grammar.add(" | ".join(parts))

    # ---- arrays ----

    def _array(self, plain: Plain, path: str) -> str | None:
        least, most = self._counts(plain, "minItems", "maxItems", path)
        first = []
        for at, schema in enumerate(plain.get("prefixItems", ())):
            if most is not None and at >= most:
                break
            rule = self._rule(schema, f"{path}/prefixItems/{at}")
            if rule is None:
                most = at
                break
            first.append(rule)
        if most is not None and least > most:
            return None
        items = plain.get("items", True)
        if isinstance(items, list):
            self._document.refuse(path, "items", "must be one schema; use 'prefixItems' for a list of them")
        # Beyond the first items, further ones come only where `items` asks for them: fewer is always allowed.
        rest = None if "prefixItems" in plain and "items" not in plain and least <= len(first) else items
        rule = self._rule(rest, f"{path}/items") if rest not in (None, False) else None
        if rule is None:
            most = len(first) if most is None else min(most, len(first))
            if least > most:
                return None
        return self._items(first, rule, least, most)

    def _items(self, first: list[str], rest: str | None, least: int, most: int | None) -> str:
        comma = self._grammar.use("comma")
        if not first:
            if rest is None or most == 0:
                return '"[]"'
            more = _times(f"({comma} {rest})", max(least - 1, 0), None if most is None else most - 1)
            return f'"[" {rest} {more} "]"' if least else f'"[" ({rest} {more})? "]"'
        more = ""
        if rest is not None:
            upper = None if most is None else most - len(first)
            more = _times(f"({comma} {rest})", max(least - len(first), 0), upper)
        return f'"[" {f" {comma} ".join(first)} {more} "]"'

    # ---- strings ----

    def _string(self, plain: Plain, path: str) -> str | None:
        least, most = self._counts(plain, "minLength", "maxLength", path)
        if most is not None and least > most:
            return None
        pattern = plain.get("pattern")
        if "format" in plain:
            if pattern is not None:
                self._document.refuse(path, "pattern", "cannot be combined with 'format'")
            pattern = FORMATS[plain["format"]]
        if pattern is None:
            if least == 0 and most is None:
                return self._grammar.use("string")
            return f'"\\"" {_times(self._grammar.use("char"), least, most)} "\\""'
        for keyword in ("minLength", "maxLength"):
            if keyword in plain and plain[keyword] > 0:
                self._document.refuse(path, keyword, "cannot be combined with 'pattern' or 'format'; use {m,n} in it")
        try:
            return f'"\\"" {pattern_rule(pattern)} "\\""'
        except UnsupportedPattern as error:
            self._document.refuse(path, "pattern", f"is not supported: {error}")

    # ---- numbers ----

    def _integer(self, plain: Plain, path: str) -> str | None:  # noqa: ARG002
        low, high, open_low, open_high = _bounds(plain)
        if low is None and high is None:
            return self._grammar.use("integer")
        least = None if low is None else math.floor(low) + 1 if open_low else math.ceil(low)
        most = None if high is None else math.ceil(high) - 1 if open_high else math.floor(high)
        rule = ranges.integer_rule(least, most)
        return rule and f"({rule})"

    def _number(self, plain: Plain, path: str) -> str | None:  # noqa: ARG002
        low, high, open_low, open_high = _bounds(plain)
        if low is None and high is None:
            return self._grammar.use("number")
        rule = ranges.number_rule(low, high, is_open_low=open_low, is_open_high=open_high)
        return rule and f"({rule})"

    def _counts(self, plain: Plain, low: str, high: str, path: str) -> tuple[int, int | None]:
        for keyword, limit in ((low, MAX_LEAST), (high, MAX_MOST)):
            if plain.get(keyword, 0) > limit:
                self._document.refuse(path, keyword, f"is only supported up to {limit}")
        return plain.get(low, 0), plain.get(high)


def _times(expression: str, least: int, most: int | None) -> str:
    """*expression* repeated."""
    if most == 0:
        return ""
    if most is None:
        return f"{expression}*" if least == 0 else f"{expression}{{{least},}}"
    return f"{expression}{{{least},{most}}}"


def _bounds(plain: Plain) -> tuple[Decimal | None, Decimal | None, bool, bool]:
    """The narrower of each two bounds, and whether it is open."""
    low, open_low = _narrower(plain.get("minimum"), plain.get("exclusiveMinimum"), 1)
    high, open_high = _narrower(plain.get("maximum"), plain.get("exclusiveMaximum"), -1)
    return low, high, open_low, open_high


def _narrower(closed: float | None, exclusive: float | None, sign: int) -> tuple[Decimal | None, bool]:
    if closed is None and exclusive is None:
        return None, False
    if closed is None or (exclusive is not None and sign * exclusive >= sign * closed):
        return Decimal(str(exclusive)), True
    return Decimal(str(closed)), False

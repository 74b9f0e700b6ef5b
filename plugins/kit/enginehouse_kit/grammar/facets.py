"""What the keywords of one type say: strings, numbers, arrays, objects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .formats import FORMATS, WIDE
from .limits import Unsupported
from .numbers import Numbers, decimal_of
from .pattern import UnsupportedPattern, pattern_language
from .regex import Regex
from .shapes import Arrays, Booleans, Contains, Null, Objects, Seen, Shape, Strings
from .terms import Term, whole

if TYPE_CHECKING:
    from .reading import Reader


class Facets:
    """Reads the keywords of one type, of the schemas of one reader."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._algebra = reader.algebra
        self._terms = reader.terms
        self._patterns: dict[str, Regex] = {}

    def of_type(self, name: str, schema: dict[str, Any], path: str) -> Iterator[Shape]:
        """What *schema* says of values of the type *name*.

        Raises:
            Unsupported: a keyword cannot be enforced.
        """
        if name == "null":
            yield Null()
        elif name == "boolean":
            yield Booleans()
        elif name == "string":
            yield from self._strings(schema, path)
        elif name == "array":
            yield from self._arrays(schema, path)
        elif name == "object":
            yield from self._objects(schema, path)
        else:
            yield from self._numbers(schema, path, is_integer=name == "integer")

    def _strings(self, schema: dict[str, Any], path: str) -> Iterator[Shape]:
        algebra = self._algebra
        low, high = _counts(schema, "minLength", "maxLength", path)
        language = lengths = algebra.many(algebra.any, low, high)
        wide: Regex | None = None
        name = schema.get("format")
        for keyword, pattern in (
            ("format", FORMATS.get(name) if isinstance(name, str) else None),
            ("pattern", schema.get("pattern")),
        ):
            if pattern is None:
                continue
            try:
                language = algebra.both(language, self._pattern(pattern, keyword, path))
            except Unsupported as refused:
                self._reader.leave_out(refused)
        if isinstance(name, str) and name in WIDE:
            wide = self._pattern(WIDE[name], "format", path)
            pattern = schema.get("pattern")
            wide = algebra.both(lengths, wide, algebra.all if pattern is None else self._known(pattern))
        if language is not algebra.none or wide not in (None, algebra.none):
            yield Strings(language, wide=wide)

    def _known(self, pattern: Any) -> Regex:  # Any: JSON
        """The language of *pattern*; of one that has been left out all strings."""
        return self._patterns.get(pattern, self._algebra.all) if isinstance(pattern, str) else self._algebra.all

    def _pattern(self, pattern: Any, keyword: str, path: str) -> Regex:  # Any: JSON
        """The language of *pattern*.

        Raises:
            Unsupported: it is none that a grammar can say.
        """
        if not isinstance(pattern, str):
            raise Unsupported(path, keyword, "must be a str")
        found = self._patterns.get(pattern)
        if found is None:
            try:
                found = self._patterns[pattern] = pattern_language(self._algebra, pattern)
            except UnsupportedPattern as error:
                raise Unsupported(path, keyword, f"is not supported: {error}") from error
            except RecursionError as error:
                raise Unsupported(path, keyword, "is not supported: it has too many parts") from error
        return found

    def _numbers(self, schema: dict[str, Any], path: str, *, is_integer: bool) -> Iterator[Shape]:
        found = Numbers(is_integer=is_integer)
        for keyword, sign in (("minimum", 1), ("exclusiveMinimum", 1), ("maximum", -1), ("exclusiveMaximum", -1)):
            if keyword not in schema:
                continue
            value, is_open = schema[keyword], keyword.startswith("exclusive")
            if isinstance(value, bool) and is_open:  # draft 4: a flag beside the bound
                is_open, value = value, schema.get(keyword[9:].lower())
                if value is None:
                    continue
            if not is_number(value):
                raise Unsupported(path, keyword, "must be a number")
            bound = decimal_of(value)
            low = Numbers(low=bound, is_open_low=is_open) if sign > 0 else Numbers(high=bound, is_open_high=is_open)
            found = found.and_(low)
        if "multipleOf" in schema:
            step = schema["multipleOf"]
            if not is_number(step) or step <= 0:
                raise Unsupported(path, "multipleOf", "must be a number above 0")
            found = found.and_(Numbers(steps=(decimal_of(step),)))
        if not found.is_never:
            yield found

    def _arrays(self, schema: dict[str, Any], path: str) -> Iterator[Shape]:
        terms = self._terms
        low, high = _counts(schema, "minItems", "maxItems", path)
        first, rest, beyond = schema.get("prefixItems", []), schema.get("items"), "items"
        if isinstance(rest, list):  # drafts up to 2019-09
            first, rest, beyond = rest, schema.get("additionalItems"), "additionalItems"
        if not isinstance(first, list):
            raise Unsupported(path, "prefixItems", "must be a list")
        of_first = tuple(terms.json(part, f"{path}/prefixItems/{at}") for at, part in enumerate(first))
        of_rest = terms.true if rest is None else terms.json(rest, f"{path}/{beyond}")
        contains = self._contains(schema, path)
        is_unique = schema.get("uniqueItems", False)
        if high is not None and high < low:
            return
        yield Arrays(
            of_first,
            of_rest,
            low,
            high,
            is_unique is True,
            contains,
            seen=len(first) if rest is None else None,
        )

    def _contains(self, schema: dict[str, Any], path: str) -> tuple[Contains, ...]:
        if "contains" not in schema:
            return ()
        low, high = _counts({"minContains": 1, **schema}, "minContains", "maxContains", path)
        return (Contains(self._terms.json(schema["contains"], f"{path}/contains"), low, high),)

    def _objects(self, schema: dict[str, Any], path: str) -> Iterator[Shape]:
        terms = self._terms
        low, high = _counts(schema, "minProperties", "maxProperties", path)
        properties = schema.get("properties", {})
        patterns = schema.get("patternProperties", {})
        for keyword, value in (("properties", properties), ("patternProperties", patterns)):
            if not isinstance(value, dict):
                raise Unsupported(path, keyword, "must be a dict")
        named = {name: terms.json(part, f"{path}/properties/{name}") for name, part in properties.items()}
        rules: list[tuple[Regex, Term]] = []
        for pattern, part in patterns.items():
            place = f"{path}/patternProperties/{pattern}"
            rules.append((self._pattern(pattern, "patternProperties", path), terms.json(part, place)))
        languages = tuple(language for language, _ in rules)
        others = schema.get("additionalProperties")
        if others is not None:
            term = terms.json(others, f"{path}/additionalProperties")
            rules.append((self._reader.other_than(named, languages), term))
        if "propertyNames" in schema:
            names, wide = self._names(schema, path)
            rules.append((self._algebra.negated(wide), terms.false))
            if names is not wide:
                rules.append((self._algebra.both(wide, self._algebra.negated(names)), terms.nothing))
        if high is not None and high < low:
            return
        yield Objects(
            named,
            tuple((language, term) for language, term in rules if language is not self._algebra.none),
            names_of(schema.get("required", []), "required", path),
            low,
            high,
            Seen(tuple(named), languages, others is not None),
        )

    def _names(self, schema: dict[str, Any], path: str) -> tuple[Regex, Regex]:
        """The keys that `propertyNames` allows here, and those that it means."""
        algebra = self._algebra
        found, wide = [], []
        for shape in self._reader.shapes(self._terms.json(schema["propertyNames"], f"{path}/propertyNames")):
            if isinstance(shape, Strings):
                values = [algebra.text(value) for value in shape.values or ()]
                found.append(shape.language if shape.values is None else algebra.either(values))
                wide.append(self._reader.shaping.meant(shape))
        return algebra.either(found), algebra.either(wide)


def is_number(value: Any) -> bool:  # Any: JSON
    """Whether *value* is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def names_of(value: Any, keyword: str, path: str) -> tuple[str, ...]:  # Any: JSON
    """*value*, the list of names that *keyword* holds.

    Raises:
        Unsupported: it is none.
    """
    if not isinstance(value, list):
        raise Unsupported(path, keyword, "must be a list")
    if any(not isinstance(name, str) for name in value):
        raise Unsupported(path, keyword, "must be a list of names")
    return tuple(dict.fromkeys(value))


def _counts(schema: dict[str, Any], low: str, high: str, path: str) -> tuple[int, int | None]:
    found: list[int | None] = []
    for keyword, missing in ((low, 0), (high, None)):
        value = whole(schema.get(keyword, missing))
        if keyword in schema and not (type(value) is int and value >= 0):
            raise Unsupported(path, keyword, "must be a whole number from 0")
        found.append(value)
    return found[0] or 0, found[1]

"""Arrays as a grammar."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .form import EMPTY, NOTHING, Literal, Node, either, many, sequence
from .limits import Unsupported
from .shapes import Arrays, Contains, item_of
from .terms import Term

if TYPE_CHECKING:
    from .rules import Rules

MAX_ITEMS = 10_000
"""Items of an array that a grammar counts; a larger `maxItems` is held to this."""
MAX_STATES = 5000
_EXACT = 8
"""Values of which every order is allowed where items are unique; more of them come in the schema's order."""


class ArrayRules:
    """Writes the rules of arrays."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._disjoint = rules.reader.disjoint

    def node(self, shape: Arrays, path: str) -> Node:
        """What *shape* allows.

        Raises:
            Unsupported: it cannot be said.
        """
        rules, terms = self._rules, self._rules.reader.terms
        low, high = shape.low, shape.high
        contains = []
        for one in shape.contains:
            if one.term is terms.true:
                low, high = max(low, one.low), one.high if high is None else min(high, one.high or high)
            elif one.low or one.high is not None:
                contains.append(one)
        first, rest = list(shape.first), shape.rest
        if high is not None:
            first = first[:high]
        for at, term in enumerate(first):
            if rules.term(term) == NOTHING:
                first, rest = first[:at], terms.false
                break
        if rest is terms.false or rules.term(rest) == NOTHING:
            high = len(first) if high is None else min(high, len(first))
        if low > MAX_ITEMS:
            raise Unsupported(path, "minItems", f"is only supported up to {MAX_ITEMS}")
        if high is not None and low > high:
            return NOTHING
        rules.reader.algebra.budget.spend(min(high or low, MAX_ITEMS) // 4)
        held = Arrays(tuple(first), rest, low, None if high is None else min(high, MAX_ITEMS))
        is_unique = shape.is_unique and (high is None or high > 1)
        if not is_unique and not contains:
            return self._plain(held)
        try:
            return self._unique(held, contains, path) if is_unique else self._holding(held, contains, path)
        except Unsupported as refused:
            rules.leave_out(refused)
            return self._plain(held)

    def _plain(self, shape: Arrays) -> Node:
        rules = self._rules
        comma, grammar = rules.comma, rules.grammar
        count = len(shape.first)
        high = None if shape.high is None else shape.high - count
        more = NOTHING if high == 0 else grammar.add(sequence(comma, rules.term(shape.rest)))
        behind = many(more, max(shape.low - count, 0), high) if count else EMPTY
        for at in range(count - 1, 0, -1):
            here = sequence(comma, rules.term(shape.first[at]), behind)
            behind = grammar.add(here if at < shape.low else either([EMPTY, here]))
        if count:
            inside = sequence(rules.term(shape.first[0]), behind)
        else:
            rest = many(more, max(shape.low - 1, 0), None if shape.high is None else shape.high - 1)
            inside = NOTHING if high == 0 else sequence(rules.term(shape.rest), rest)
        return sequence(Literal("["), inside if shape.low else either([EMPTY, inside]), Literal("]"))

    def _holding(self, shape: Arrays, several: list[Contains], path: str) -> Node:
        """Items of which some fit `contains`: a rule for each number of items and of those."""
        if len(several) > 1:
            raise Unsupported(path, "contains", "is given twice")
        contains = several[0]
        rules, terms = self._rules, self._rules.reader.terms
        cap = contains.low if contains.high is None else contains.high
        length = max(len(shape.first), shape.low, 1) if shape.high is None else shape.high
        if (length + 1) * (cap + 1) > MAX_STATES:
            raise Unsupported(path, "contains", "has too large counts beside it")

        def item(at: int, *parts: Term) -> Node:
            return rules.term(terms.all(item_of(shape, at), *parts))

        names = {(at, count): rules.grammar.reserve() for at in range(length + 1) for count in range(cap + 1)}
        for (at, count), name in names.items():
            onward: list[Node] = [EMPTY] if at >= shape.low and count >= contains.low else []
            if shape.high is None or at < length:
                comma = rules.comma if at else EMPTY
                behind = min(at + 1, length)
                if count < cap:
                    fitting = sequence(comma, item(at, contains.term), rules.at(names[behind, count + 1]))
                    onward.append(fitting)
                is_exact = contains.high is not None
                another = item(at, *([terms.negated(contains.term)] if is_exact else []))
                onward.append(sequence(comma, another, rules.at(names[behind, count])))
            rules.grammar.rules[name] = either(onward)
        return sequence(Literal("["), rules.at(names[0, 0]), Literal("]"))

    def _unique(self, shape: Arrays, contains: list[Contains], path: str) -> Node:
        if contains:
            raise Unsupported(path, "uniqueItems", "cannot be combined with 'contains'")
        if shape.first:
            return self._unlike(shape, path)
        values = self._rules.values(shape.rest)
        if values is None:
            raise Unsupported(path, "uniqueItems", "is only supported for items of a listed set of values")
        high = len(values) if shape.high is None else min(shape.high, len(values))
        if shape.low > high:
            return NOTHING
        return (
            self._any_order(values, shape.low, high)
            if len(values) <= _EXACT
            else self._in_order(values, shape.low, high, path)
        )

    def _unlike(self, shape: Arrays, path: str) -> Node:
        """Items one by one, no two of which can be the same."""
        terms = self._rules.reader.terms
        count = len(shape.first)
        is_whole = shape.high is not None and shape.high <= count
        pairs = [(a, b) for at, a in enumerate(shape.first) for b in shape.first[at + 1 :]]
        if not is_whole or any(not self._disjoint.is_never(terms.all(a, b)) for a, b in pairs):
            raise Unsupported(path, "uniqueItems", "is only supported for items of a listed set of values")
        return self._plain(shape)

    def _any_order(self, values: list[Node], low: int, high: int) -> Node:
        """Every choice and order of *values*: a rule for each set that is left."""
        rules = self._rules
        names = {0: rules.grammar.reserve()}
        todo = [0]
        for used in todo:
            count = used.bit_count()
            onward: list[Node] = [EMPTY] if count >= low else []
            for at, value in enumerate(values):
                if count < high and not used >> at & 1:
                    behind = used | 1 << at
                    if behind not in names:
                        names[behind] = rules.grammar.reserve()
                        todo.append(behind)
                    onward.append(sequence(rules.comma if count else EMPTY, value, rules.at(names[behind])))
            rules.grammar.rules[names[used]] = either(onward)
        return sequence(Literal("["), rules.at(names[0]), Literal("]"))

    def _in_order(self, values: list[Node], low: int, high: int, path: str) -> Node:
        """Choices of *values* in their order: a rule for each value and count before it."""
        rules = self._rules
        cap = high if high < len(values) else max(low, 1)
        if len(values) * (cap + 1) > MAX_STATES:
            raise Unsupported(path, "uniqueItems", "has too many values")
        behind: list[Node] = [EMPTY if count >= low else NOTHING for count in range(cap + 1)]
        for value in reversed(values):
            here: list[Node] = []
            for count in range(cap + 1):
                options: list[Node] = [behind[count]]
                if count < cap or high == len(values):
                    written = sequence(rules.comma, value) if count else value
                    options.append(sequence(written, behind[min(count + 1, cap)]))
                here.append(rules.grammar.add(either(options)))
            behind = here
        return sequence(Literal("["), behind[0], Literal("]"))

"""Objects as a grammar: members in the schema's order, any others behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .automaton import TooManyStates, is_empty
from .form import EMPTY, NOTHING, Literal, Node, either, many, sequence
from .limits import Unsupported
from .regex import Regex
from .shapes import Objects
from .spelling import spelled
from .terms import Term

if TYPE_CHECKING:
    from .rules import Rules

MAX_STATES = 5000
"""Counts of members times members."""
_MAX_CLASSES = 64
_MOST_HELD = 3


class ObjectRules:
    """Writes the rules of objects."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._algebra = rules.reader.algebra
        self._disjoint = rules.reader.disjoint

    def node(self, shape: Objects, path: str) -> Node:
        """What *shape* allows.

        Raises:
            Unsupported: it cannot be said.
        """
        rules = self._rules
        members: list[tuple[Node, bool]] = []
        names: list[str] = []
        required = frozenset(shape.required)
        for name in dict.fromkeys((*shape.named, *shape.required)):
            member = self._member(shape, name)
            is_required = name in required
            if member == NOTHING and is_required:
                return NOTHING
            if member != NOTHING:
                members.append((member, is_required))
                names.append(name)
        least = sum(is_required for _, is_required in members)
        other = self._others(shape, self._algebra.all)
        if shape.holds:
            return self._holding(shape, dict(zip(names, members, strict=True)), other, path)
        if shape.high is not None and least > shape.high:
            return NOTHING
        if shape.low <= least and (shape.high is None or (other == NOTHING and shape.high >= len(members))):
            return self._plain(members, other)
        try:
            return self._counted(members, other, shape, path)
        except Unsupported as refused:
            rules.leave_out(refused)
            return self._plain(members, other)

    def _member(self, shape: Objects, name: str, *more: Term) -> Node:
        """The member *name*, whose value fits *more*, too."""
        rules = self._rules
        value = rules.term(rules.reader.terms.all(self._disjoint.value_of(shape, name), *more))
        return rules.grammar.add(sequence(Literal(f'"{spelled(name)}"'), rules.colon, value))

    def _others(self, shape: Objects, within: Regex, *more: Term) -> Node:
        """A member whose key is in *within* and none that the schema names, and whose value fits *more*, too."""
        algebra, rules = self._algebra, self._rules
        free = algebra.both(rules.reader.other_than((*shape.named, *shape.required), ()), within)
        classes: list[tuple[Regex, tuple[Term, ...]]] = [] if self._is_empty(free) else [(free, more)]
        for language, term in shape.rules:
            split: list[tuple[Regex, tuple[Term, ...]]] = []
            for keys, terms in classes:
                inside = algebra.both(keys, language)
                outside = algebra.both(keys, algebra.negated(language))
                split += [(inside, (*terms, term)), (outside, terms)]
            classes = [(keys, terms) for keys, terms in split if not self._is_empty(keys)]
            if len(classes) > _MAX_CLASSES:
                raise Unsupported("#", "patternProperties", f"makes more than {_MAX_CLASSES} kinds of keys")
        options = []
        for keys, terms in classes:
            value = rules.term(rules.reader.terms.all(*terms))
            if value != NOTHING:
                key = rules.strings(keys, "#", "patternProperties")
                options.append(sequence(key, rules.colon, value))
        return rules.grammar.add(either(options))

    def _is_empty(self, keys: Regex) -> bool:
        try:
            return is_empty(self._algebra, keys)
        except TooManyStates:
            return False

    def _plain(self, members: list[tuple[Node, bool]], other: Node) -> Node:
        """Members that may be missing unless required.

        From the last member to the first: `after` is what may follow once a member has been written, `fresh` what
        may stand where none has.
        """
        grammar, comma = self._rules.grammar, self._rules.comma
        after = many(grammar.add(sequence(comma, other)), 0, None)
        fresh = EMPTY if other == NOTHING else either([EMPTY, sequence(other, after)])
        for member, is_required in reversed(members):
            rest = grammar.add(after)
            here = sequence(member, rest)
            if is_required:
                after, fresh = sequence(comma, here), here
            else:
                fresh = either([here, grammar.add(fresh)])
                after = sequence(many(grammar.add(sequence(comma, member)), 0, 1), rest)
        return sequence(Literal("{"), grammar.add(fresh), Literal("}"))

    def _holding(self, shape: Objects, members: dict[str, tuple[Node, bool]], other: Node, path: str) -> Node:
        """Members of which some are held to be there: `_plain`, with a rule for each choice of those still missing."""
        rules, algebra = self._rules, self._algebra
        grammar, comma, holds = rules.grammar, rules.comma, shape.holds
        if len(holds) > _MOST_HELD or shape.low or shape.high is not None:
            raise Unsupported(path, "not", "cannot be said of the members of these objects")
        some = range(1 << len(holds))  # sets of those that are missing, or found in one member

        def fitting(found: int, name: str | None) -> Node:
            held = [hold for at, hold in enumerate(holds) if found >> at & 1]
            more = [term for _, term in held]
            if name is None:
                return self._others(shape, algebra.both(algebra.all, *(language for language, _ in held)), *more)
            is_there = all(algebra.matches(language, name) for language, _ in held)
            return self._member(shape, name, *more) if is_there else NOTHING

        others = {found: other if not found else fitting(found, None) for found in some}
        behind = {missing: grammar.reserve() for missing in some}
        for missing in some:
            steps = [
                sequence(comma, others[found], rules.at(behind[missing ^ found]))
                for found in some
                if found | missing == missing
            ]
            grammar.rules[behind[missing]] = either([*steps, *([] if missing else [EMPTY])])
        after = {missing: rules.at(behind[missing]) for missing in some}
        fresh = {
            missing: either(
                [sequence(others[found], after[missing ^ found]) for found in some if found | missing == missing]
                + ([] if missing else [EMPTY])
            )
            for missing in some
        }
        for name, (member, is_required) in reversed(members.items()):
            written = {found: member if not found else fitting(found, name) for found in some}
            here = {
                missing: [
                    sequence(written[found], after[missing ^ found]) for found in some if found | missing == missing
                ]
                for missing in some
            }
            fresh = {m: grammar.add(either(here[m] + ([] if is_required else [fresh[m]]))) for m in some}
            after = {
                m: grammar.add(either([sequence(comma, one) for one in here[m]] + ([] if is_required else [after[m]])))
                for m in some
            }
        return sequence(Literal("{"), fresh[len(some) - 1], Literal("}"))

    def _counted(self, members: list[tuple[Node, bool]], other: Node, shape: Objects, path: str) -> Node:
        """Members between `minProperties` and `maxProperties`: a rule for each member and count before it.

        Of the keys that the schema does not name two may be the same, so that they count as one for the least.
        """
        grammar, comma = self._rules.grammar, self._rules.comma
        cap = shape.low if shape.high is None else shape.high
        if (len(members) + 1) * (cap + 1) > MAX_STATES:
            keyword = "minProperties" if shape.high is None else "maxProperties"
            raise Unsupported(path, keyword, "is too large")
        if shape.low > len(members) + 1 and other != NOTHING:
            raise Unsupported(path, "minProperties", "is only supported up to one more than the named properties")
        grammar.algebra.budget.spend((len(members) + 1) * (cap + 1))
        behind = [self._tail(other, count, shape) for count in range(cap + 1)]
        for member, is_required in reversed(members):
            here = []
            for count in range(cap + 1):
                options = [] if is_required else [behind[count]]
                if count < cap or shape.high is None:
                    written = sequence(comma, member) if count else member
                    options.append(sequence(written, behind[min(count + 1, cap)]))
                here.append(either(options))
            behind = [grammar.add(node) for node in here] if cap else here
        return sequence(Literal("{"), behind[0], Literal("}"))

    def _tail(self, other: Node, count: int, shape: Objects) -> Node:
        """Further members behind *count* of them."""
        comma = self._rules.comma
        missing = max(shape.low - count, 0)
        if missing > 1 or (missing and other == NOTHING):
            return NOTHING
        high = None if shape.high is None else shape.high - count
        if count:
            return many(sequence(comma, other), missing, high)
        more = many(sequence(comma, other), 0, None if high is None else high - 1)
        some = NOTHING if other == NOTHING or high == 0 else sequence(other, more)
        return some if missing else either([EMPTY, some])

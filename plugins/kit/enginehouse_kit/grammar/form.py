"""The intermediate form of a grammar: rules over JSON's text, which each engine's printer writes as that engine reads.

A rule may refer to rules; what needs no recursion is one `Regular`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from .automaton import State, automaton
from .regex import Algebra, Regex


class Node(msgspec.Struct, frozen=True, gc=False):
    """A part of a rule. Rules name each other, so that nothing here leads back to itself."""


class Literal(Node, frozen=True, gc=False):
    """Exactly *text*."""

    text: str


class Regular(Node, frozen=True, gc=False):
    """A text of a regular language. It may be the JSON text of strings: those of *strings*."""

    regex: Regex
    strings: Regex | None = None


class Rule(Node, frozen=True, gc=False):
    """What the rule *name* allows."""

    name: str


class Series(Node, frozen=True, gc=False):
    """All of *items*, in order."""

    items: tuple[Node, ...]


class Either(Node, frozen=True, gc=False):
    """One of *options*; without any: nothing."""

    options: tuple[Node, ...]


class Many(Node, frozen=True, gc=False):
    """*low* to *high* of *item*; None: without bound."""

    item: Node
    low: int
    high: int | None


NOTHING = Either(())
EMPTY = Series(())


def sequence(*items: Node) -> Node:
    """All of *items*, in order."""
    flat: list[Node] = []
    for item in items:
        if item == NOTHING:
            return NOTHING
        flat += item.items if isinstance(item, Series) else [item]
    return flat[0] if len(flat) == 1 else Series(tuple(flat))


def either(options: Iterable[Node]) -> Node:
    """One of *options*."""
    flat: dict[Node, None] = {}
    for option in options:
        flat.update(dict.fromkeys(option.options if isinstance(option, Either) else (option,)))
    return next(iter(flat)) if len(flat) == 1 else Either(tuple(flat))


def many(item: Node, low: int, high: int | None) -> Node:
    """*low* to *high* of *item*."""
    if high is not None and high < low:
        return NOTHING
    if high == 0 or item == EMPTY or (item == NOTHING and low == 0):
        return EMPTY
    if item == NOTHING:
        return NOTHING
    return item if (low, high) == (1, 1) else Many(item, low, high)


class Grammar:
    """Rules, and where they begin."""

    def __init__(self, algebra: Algebra) -> None:
        self.algebra = algebra
        self.rules: dict[str, Node] = {}
        self.root: Node = NOTHING
        self._states: dict[Regex, list[State]] = {}
        self._ending: set[str] = set()  # rules of which some text is known to end

    def states(self, regex: Regex) -> list[State]:
        """The automaton of *regex*, made once.

        Raises:
            TooManyStates: it is too large.
            OverBudget: it costs too much.
        """
        if regex not in self._states:
            self._states[regex] = automaton(self.algebra, regex)
        return self._states[regex]

    def reserve(self) -> str:
        """A name for a rule that is written later."""
        self.algebra.budget.spend(2)
        name = f"r{len(self.rules)}"
        self.rules[name] = NOTHING
        return name

    def add(self, node: Node) -> Node:
        """A rule for *node*, unless it is small; what refers to it."""
        if isinstance(node, Rule | Literal) or node in (NOTHING, EMPTY):
            return node
        name = self.reserve()
        self.rules[name] = node
        return Rule(name)

    def close(self, root: Node) -> None:
        """Begin at *root*, and drop what can never end and what is never reached."""
        self.can_end(root)
        ending = self._ending
        rules = {name: _without_endless(node, ending) for name, node in self.rules.items() if name in ending}
        self.root = _without_endless(root, ending)
        reached: dict[str, None] = {}
        todo = [self.root]
        while todo:
            for name in rule_names(todo.pop()):
                if name not in reached:
                    reached[name] = None
                    todo.append(rules[name])
        self.rules = {name: node for name, node in rules.items() if name in reached}

    def can_end(self, node: Node) -> bool:
        """Whether some text of *node* ends; all rules that it reaches must be written."""
        users: dict[str, list[str]] = {}
        waiting: dict[str, None] = {}
        reached: list[Node] = [node]
        while reached:
            for name in rule_names(reached.pop()):
                if name not in self._ending and name not in waiting:
                    waiting[name] = None
                    reached.append(self.rules[name])
                    for used in rule_names(self.rules[name]):
                        users.setdefault(used, []).append(name)
        todo = list(waiting)
        while todo:
            name = todo.pop()
            if name not in self._ending and _ends(self.rules[name], self._ending):
                self._ending.add(name)
                todo += users.get(name, ())
        return _ends(node, self._ending)


def rule_names(node: Node) -> list[str]:
    """Names of the rules that *node* refers to."""
    found: list[str] = []
    todo: list[Node] = [node]
    while todo:
        part = todo.pop()
        if isinstance(part, Rule):
            found.append(part.name)
        todo += parts(part)
    return found


def parts(node: Node) -> Sequence[Node]:
    """What *node* is made of."""
    if isinstance(node, Series):
        return node.items
    if isinstance(node, Either):
        return node.options
    return (node.item,) if isinstance(node, Many) else ()


def _ends(node: Node, ending: set[str]) -> bool:
    if isinstance(node, Rule):
        return node.name in ending
    if isinstance(node, Series):
        return all(_ends(item, ending) for item in node.items)
    if isinstance(node, Either):
        return any(_ends(option, ending) for option in node.options)
    return not isinstance(node, Many) or node.low == 0 or _ends(node.item, ending)


def _without_endless(node: Node, ending: set[str]) -> Node:
    if isinstance(node, Rule):
        return node if node.name in ending else NOTHING
    if isinstance(node, Series):
        return sequence(*(_without_endless(item, ending) for item in node.items))
    if isinstance(node, Either):
        return either(_without_endless(option, ending) for option in node.options)
    if isinstance(node, Many):
        return many(_without_endless(node.item, ending), node.low, node.high)
    return node

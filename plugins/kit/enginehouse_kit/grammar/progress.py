"""A grammar that has read a part of its text, and what may follow."""

from __future__ import annotations

from .form import EMPTY, Either, Grammar, Literal, Many, Node, Regular, Rule, Series, either, sequence

_MOST_STATES = 5000

_Stack = tuple[Node, ...]
"""What is still to be read, the next node last."""


class GrammarProgress:
    """Follows a text through a grammar."""

    def __init__(self, grammar: Grammar) -> None:
        self._grammar = grammar
        self._stacks: set[_Stack] = {(grammar.root,)}

    def read(self, text: str) -> bool:
        """Read more text; False if the grammar does not allow it."""
        for character in text:
            self._stacks = {
                after for stack in self._expanded() if stack and (after := self._step(stack, character)) is not None
            }
        return bool(self._stacks)

    def allows(self, text: str) -> bool:
        """Whether *text* may follow; nothing is read."""
        before = self._stacks
        try:
            return self.read(text)
        finally:
            self._stacks = before

    @property
    def may_end(self) -> bool:
        """The text so far is whole."""
        return () in self._expanded()

    def rest(self) -> Node:
        """What may follow, over the rules of the same grammar."""
        return either(sequence(*reversed(stack)) if stack else EMPTY for stack in self._stacks)

    def _expanded(self) -> set[_Stack]:
        """The stacks whose next node is a text or a language; the empty one, if the text may end here."""
        seen: set[_Stack] = set()
        found: set[_Stack] = set()
        todo = list(self._stacks)
        while todo and len(seen) < _MOST_STATES:
            stack = todo.pop()
            if stack in seen:
                continue
            seen.add(stack)
            if not stack or (isinstance(stack[-1], Literal) and stack[-1].text):
                found.add(stack)
            elif isinstance(stack[-1], Regular):
                found.add(stack)
                if stack[-1].regex.is_nullable:
                    todo.append(stack[:-1])
            else:
                todo += self._opened(stack)
        return found

    def _opened(self, stack: _Stack) -> list[_Stack]:
        """Replace the next node by what it is made of."""
        below, node = stack[:-1], stack[-1]
        if isinstance(node, Rule):
            return [(*below, self._grammar.rules[node.name])]
        if isinstance(node, Series):
            return [(*below, *reversed(node.items))]
        if isinstance(node, Either):
            return [(*below, option) for option in node.options]
        if isinstance(node, Many):
            high = None if node.high is None else node.high - 1
            if node.low:
                return [(*below, Many(node.item, node.low - 1, high), node.item)]
            return [below] if high == -1 else [below, (*below, Many(node.item, 0, high), node.item)]
        return [below]  # an empty text

    def _step(self, stack: _Stack, character: str) -> _Stack | None:
        """What is left behind *character*, if the next node allows it."""
        below, node = stack[:-1], stack[-1]
        if isinstance(node, Regular):
            algebra = self._grammar.algebra
            after = algebra.derivative(node.regex, character)
            if after is algebra.none:
                return None
            return below if after is algebra.empty else (*below, Regular(after))
        if isinstance(node, Literal) and node.text[0] == character:
            return (*below, Literal(node.text[1:])) if len(node.text) > 1 else below
        return None

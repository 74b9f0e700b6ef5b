"""A small byte-level grammar that says, after each byte, which bytes may come next.

A state is a set of stacks of what is still to come; `allowed` and `advance` expand their tops. Nodes that are only
made with the grammar are themselves and equal to no other, so that a state is hashed in no time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

ANY_BYTE = (1 << 256) - 1


@dataclass(frozen=True, slots=True)
class Lit:
    """Exactly these bytes."""

    data: bytes


@dataclass(frozen=True, slots=True, eq=False)
class OneOf:
    """One byte of a set, as a bit mask."""

    mask: int


@dataclass(frozen=True, slots=True, eq=False)
class Seq:
    """One after another."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Alt:
    """Any one of them."""

    options: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Rep:
    """*item* from *least* to *most* times (None: without end); *item* is never empty."""

    item: Node
    least: int = 0
    most: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Ref:
    """A node made when it is needed, for grammars that contain themselves."""

    make: Callable[[], Node]


Node = Lit | OneOf | Seq | Alt | Rep | Ref
Stack = tuple[Node, "Stack"] | None  # what is still to come, the next first
State = frozenset[Stack]


def begin(node: Node) -> State:
    """The state before the first byte."""
    return frozenset({(node, None)})


def mask_of(data: bytes) -> int:
    """The set of the bytes in *data*."""
    mask = 0
    for byte in data:
        mask |= 1 << byte
    return mask


def _expand(stack: Stack) -> Iterator[tuple[int, Stack]]:
    """Next bytes and what comes after them; (0, None) where the end is allowed."""
    if stack is None:
        yield 0, None
        return
    node, rest = stack
    match node:
        case Lit(data=b""):
            yield from _expand(rest)
        case Lit(data=data):
            yield 1 << data[0], ((Lit(data[1:]), rest) if len(data) > 1 else rest)
        case OneOf(mask=mask):
            yield mask, rest
        case Seq(items=items):
            for item in reversed(items):
                rest = (item, rest)
            yield from _expand(rest)
        case Alt(options=options):
            for option in options:
                yield from _expand((option, rest))
        case Rep(item=item, least=least, most=most):
            if least == 0:
                yield from _expand(rest)
            if most is None or most > 0:
                again = Rep(item, max(0, least - 1), None if most is None else most - 1)
                yield from _expand((item, (again, rest)))
        case Ref(make=make):
            yield from _expand((make(), rest))


@lru_cache(maxsize=4096)
def _following(state: State) -> tuple[tuple[int, Stack], ...]:
    """Next bytes and what comes after them; most of the vocabulary's words share the states on their way."""
    return tuple(step for stack in state for step in _expand(stack))


def allowed(state: State) -> int:
    """The set of bytes that may come next."""
    mask = 0
    for bits, _ in _following(state):
        mask |= bits
    return mask


def may_end(state: State) -> bool:
    """Whether nothing more is needed."""
    return any(bits == 0 for bits, _ in _following(state))


def advance(state: State, data: bytes) -> State:
    """The state after *data*; empty where *data* is not allowed."""
    for byte in data:
        bit = 1 << byte
        state = frozenset(after for bits, after in _following(state) if bits & bit)
    return state

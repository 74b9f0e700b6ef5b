"""Nothing in the contract is dead: each hook, method and capability has a consumer."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import enginehouse
import enginehouse_conformance
import enginehouse_plugin as contract
from enginehouse_plugin import hooks

CLASSES = (
    contract.Backend,
    contract.Instance,
    contract.Run,
    contract.Sink,
    contract.Measured,
    contract.Sleepable,
    contract.Inspectable,
    contract.Embeds,
    contract.Reranks,
    contract.Resident,
    contract.Tokenizer,
)
OPTIONAL = {
    contract.Measured,
    contract.Sleepable,
    contract.Inspectable,
    contract.Embeds,
    contract.Reranks,
    contract.Resident,
    contract.Tokenizer,
}
NOT_OURS = {"asyncio", "time"}
"""Modules whose functions have the names of methods."""
FOR_AUTHORS = {"refuse_unsupported"}
"""What a base class gives to those who implement it."""


def sources() -> Iterator[ast.Module]:
    for package in (enginehouse, enginehouse_conformance):
        for path in Path(str(package.__file__)).parent.rglob("*.py"):
            yield ast.parse(path.read_text())


NODES = [node for module in sources() for node in ast.walk(module)]


def owner(node: ast.Attribute) -> str:
    """The last name before the attribute: `capabilities` of `instance.capabilities.tasks`."""
    value = node.value
    if isinstance(value, ast.Attribute):
        return value.attr
    return value.id if isinstance(value, ast.Name) else ""


ATTRIBUTES = {(owner(node), node.attr) for node in NODES if isinstance(node, ast.Attribute)}
USED_METHODS = {name for of, name in ATTRIBUTES if of not in NOT_OURS}
USED_CAPABILITIES = {name for of, name in ATTRIBUTES if of == "capabilities"}
STRINGS = {node.value for node in NODES if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def unused() -> set[str]:
    found = set()
    for kind in CLASSES:
        members = {name for name, value in vars(kind).items() if callable(value) or isinstance(value, property)}
        methods = {name for name in members if not name.startswith("_")}
        dead = methods - USED_METHODS - FOR_AUTHORS
        found |= {kind.__name__} if kind in OPTIONAL and dead else {f"{kind.__name__}.{name}" for name in dead}
    fields = set(contract.Capabilities.__struct_fields__) - USED_CAPABILITIES
    return found | {f"Capabilities.{name}" for name in fields}


def test_nothing_of_the_contract_is_without_a_consumer() -> None:
    assert unused() == set()


@pytest.mark.parametrize("hook", [name for name in vars(hooks) if name.startswith("enginehouse_")])
def test_a_hook_is_called_by_the_router(hook: str) -> None:
    """`Plugins` asks for it by its name, and the router asks `Plugins` by the rest of that."""
    assert hook in STRINGS
    assert hook.removeprefix("enginehouse_") in USED_METHODS

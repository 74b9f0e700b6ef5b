"""Modules that may be compiled keep to what the compiler can take; compiling itself is `make compiled`."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OF = {"pyproject.toml": ROOT, "plugins/kit/pyproject.toml": ROOT / "plugins/kit"}


def compiled() -> dict[str, Path]:
    """The modules that the wheels of this checkout have compiled, by name."""
    found = {}
    for manifest, folder in OF.items():
        wheel = tomllib.loads((ROOT / manifest).read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
        hook = wheel["hooks"]["custom"]
        for name in hook["modules"]:
            found[name.removesuffix(".py").replace("/", ".")] = folder / hook["source"] / name
    return found


COMPILED = compiled()


def sources() -> Iterator[tuple[str, Path]]:
    for folder in (ROOT / "router", *(ROOT / "plugins").iterdir()):
        for file in folder.glob("enginehouse*/**/*.py"):
            yield ".".join(file.relative_to(folder).with_suffix("").parts), file


def names_from(tree: ast.Module, module: str) -> dict[str, str]:
    """What the names that *tree* imports stand for, by their own name."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            package = module.rpartition(".")[0]
            source = resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module
            found.update({alias.asname or alias.name: f"{source}.{alias.name}" for alias in node.names})
    return found


@pytest.mark.parametrize("module", COMPILED)
def test_a_compiled_module_is_there_and_has_no_asynchronous_generator_and_no_error(module):
    tree = ast.parse(COMPILED[module].read_text())
    names = names_from(tree, module)
    for node in [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]:
        for base in [base.id for base in node.bases if isinstance(base, ast.Name)]:
            # What stands in the class of an error, as its code, is lost when that is compiled.
            assert not names.get(base, base).startswith("enginehouse_plugin.errors."), node.name
            assert not base.endswith(("Error", "Exception")), node.name
    for function in [node for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef)]:
        assert not any(isinstance(node, ast.Yield) for node in ast.walk(function)), function.name


def test_no_class_extends_one_that_may_be_compiled_unless_it_is_compiled_too():
    classes = {
        f"{module}.{node.name}"
        for module, file in COMPILED.items()
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ClassDef)
    }
    assert "enginehouse.http.writing.Writing" in classes  # which `connection` extends, and both are compiled
    seen = 0
    for module, file in sources():
        tree = ast.parse(file.read_text())
        names = names_from(tree, module)
        for node in ast.walk(tree):
            bases = [base.id for base in getattr(node, "bases", ()) if isinstance(base, ast.Name)]
            extended = [names[base] for base in bases if names.get(base) in classes]
            seen += len(extended)
            assert not extended or module in COMPILED, f"{module} extends {extended}"
    assert seen, "no class was looked at"

"""The public face: what other packages use of the suite."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import enginehouse_conformance

SOURCE = Path(enginehouse_conformance.__file__).read_text()


@pytest.mark.parametrize("name", dir(enginehouse_conformance))
def test_each_public_name_is_where_the_face_looks_for_it(name) -> None:
    assert getattr(enginehouse_conformance, name) is not None


def test_type_checkers_see_the_names_that_there_are() -> None:
    imports = [node for node in ast.walk(ast.parse(SOURCE)) if isinstance(node, ast.ImportFrom) and node.level]
    assert sorted(alias.name for node in imports for alias in node.names) == dir(enginehouse_conformance)


def test_a_name_that_is_not_public_is_told() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Everything'"):
        _ = enginehouse_conformance.Everything


def test_importing_the_face_imports_nothing_of_the_suite() -> None:
    script = "import sys, enginehouse_conformance; print(*[name for name in sys.modules if name.startswith('eng')])"
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["enginehouse_conformance"]

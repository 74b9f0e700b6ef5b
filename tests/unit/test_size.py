"""Modules stay short enough to be read."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_no_module_has_more_than_400_lines() -> None:
    parts = ("router", "plugins", "conformance", "tests", "examples")
    modules = [path for part in parts for path in (ROOT / part).rglob("*.py") if "node_modules" not in path.parts]
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in modules}
    assert {name: number for name, number in lines.items() if number > 400} == {}

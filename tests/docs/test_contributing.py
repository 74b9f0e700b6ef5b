"""The map for those who work on it shows the house as it stands."""

from __future__ import annotations

import importlib
import re
import tomllib

import pytest

from .fenced import ROOT

PAGE = (ROOT / "CONTRIBUTING.md").read_text()
PROSE = re.sub(r"^```.*?^```$", "", PAGE, flags=re.MULTILINE | re.DOTALL)
CODE = re.findall(r"`([^`\n]+)`", PROSE)
MADE = tuple(line for line in (ROOT / ".gitignore").read_text().split() if line.endswith("/"))
"""Folders that commands make, which a fresh clone has not."""
PATHS = sorted({text for text in CODE if re.fullmatch(r"[\w.-]+(/[\w.-]*)+", text) and not text.startswith(MADE)})
NAMES = sorted({text for text in CODE if re.fullmatch(r"enginehouse\w*(\.\w+)+", text)})
TARGETS = sorted(set(re.findall(r"(?:^|`)make ([a-z-]+)", PAGE, re.MULTILINE)))
PICTURE = PAGE.partition("router/enginehouse    ")[2].partition("```")[0]


@pytest.mark.parametrize("path", PATHS)
def test_each_path_is_there(path: str) -> None:
    below = [
        ROOT,
        *(ROOT / folder for folder in ("plugins/kit/enginehouse_kit", "conformance/enginehouse_conformance")),
    ]
    assert any((folder / path).exists() for folder in below)


@pytest.mark.parametrize("name", NAMES)
def test_each_name_is_there(name: str) -> None:
    """A module, or what is in one."""
    parts = name.split(".")
    for split in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:split]))
        except ModuleNotFoundError:
            continue
        for part in parts[split:]:
            found = getattr(found, part)
        return
    raise AssertionError(name)


def test_the_page_names_paths_and_modules() -> None:
    assert len(PATHS) > 25
    assert len(NAMES) > 15


def test_the_picture_has_every_package_and_module_of_the_router() -> None:
    there = {
        path.name
        for path in (ROOT / "router/enginehouse").iterdir()
        if path.name[0] != "_" and (path.is_dir() or path.suffix == ".py")
    }
    shown = {one or other for one, other in re.findall(r"^  ([\w.]+)|│ ([\w.]+)", PICTURE, re.MULTILINE)}
    assert there <= shown


def test_the_picture_has_the_layers_in_their_order() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (one["layers"] for one in contracts if one["name"] == "The router's layers point downward")
    lines = PICTURE.splitlines()
    found = []
    for layer in layers:
        names = re.findall(r"enginehouse\.(\w+)", layer)
        found += [next(at for at, line in enumerate(lines) if all(re.search(rf"\b{name}\b", line) for name in names))]
    assert found == sorted(set(found))


@pytest.mark.parametrize("target", TARGETS)
def test_each_target_of_make_is_there(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_the_life_of_a_request_is_told_in_ten_lines() -> None:
    told = PAGE.partition("## The life of a request")[2].partition("\n## ")[0]
    assert re.findall(r"^(\d+)\. ", told, re.MULTILINE) == [str(number) for number in range(1, 11)]

from __future__ import annotations

import ast
import inspect
import re
import typing
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from enginehouse_plugin import (
    FEATURES,
    Backend,
    BackendType,
    Capabilities,
    CoroutineRun,
    GenerationRequest,
    Inspectable,
    Instance,
    Measured,
    Run,
    Sink,
    Sleepable,
    errors,
    events,
    hooks,
)

from .fenced import ROOT, blocks

PAGE = "docs/plugins.md"
GUIDE = (ROOT / PAGE).read_text()
SPECS = [function for name, function in vars(hooks).items() if name.startswith("enginehouse_")]


@pytest.mark.parametrize(
    "block", [block for block in blocks(PAGE) if block.kind == "file"], ids=lambda block: block.value
)
def test_a_file_that_the_guide_shows_is_the_file(block: Any) -> None:
    assert block.text == (ROOT / block.value).read_text()


async def test_the_code_of_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All blocks of Python in their order, as one program in an empty folder."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    ran = 0
    for block in blocks(PAGE):
        if block.language != "python" or block.kind == "file":
            continue
        # Blank lines before it, so that a failure names the line of the page.
        source = "\n" * (block.line - 1) + block.text
        code: CodeType = compile(source, PAGE, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = eval(code, names)
        if inspect.isawaitable(result):
            await result
        ran += 1
    assert ran >= 10


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.__name__)
def test_each_hook_stands_in_the_guide_with_its_exact_signature(spec: Any) -> None:
    """A hook that is added or changed without its documentation fails here."""
    signature = str(inspect.signature(spec)).replace("'", "")
    section = GUIDE.partition(f"\n### `{spec.__name__}`\n")[2].partition("\n#")[0]
    assert f"\ndef {spec.__name__}{signature}\n" in section
    assert "```python\n" in section, "the hook has no example"


def test_the_guide_names_no_hook_that_is_not_there() -> None:
    headings = set(re.findall(r"^### `(\w+)`$", GUIDE, re.MULTILINE))
    assert headings == {spec.__name__ for spec in SPECS}


def test_each_feature_stands_in_the_guide_with_its_promise() -> None:
    for name, promise in FEATURES.items():
        assert f"| `{name}` | {promise} |\n" in GUIDE


def test_each_error_that_a_plugin_raises_stands_in_the_guide() -> None:
    trees = (errors.RequestError, errors.LoadError, errors.EngineError)
    for tree in trees:
        for error in tree.__subclasses__():
            if error.__module__ == errors.__name__:
                assert f"| `{error.__name__}(" in GUIDE


def table_rows(first_header: str) -> dict[str, str]:
    """The rows of the guide's table whose first column is headed *first_header*, by their first cell."""
    (table,) = re.findall(rf"^\| {first_header} \|.*\n\|[-|]+\n((?:\|.*\n)+)", GUIDE, re.MULTILINE)
    return dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", table, re.MULTILINE))


def section(heading: str) -> str:
    """The text below *heading*, up to the next of its level or above."""
    level = heading.partition(" ")[0]
    return re.split(rf"^#{{1,{len(level)}}} ", GUIDE.partition(f"\n{heading}\n")[2], flags=re.MULTILINE)[0]


@pytest.mark.parametrize(
    ("heading", "struct"),
    [
        ("## The request", GenerationRequest),
        ("## Capabilities are data", Capabilities),
        ("## Two stages: backend and instance", BackendType),
    ],
)
def test_each_field_stands_in_the_guide_and_no_other(heading: str, struct: Any) -> None:
    table = section(heading).partition("| field |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(struct.__struct_fields__)


def test_each_event_stands_in_the_guide_with_its_fields() -> None:
    rows = {name: re.findall(r"`(\w+)`", cells.partition(" | ")[0]) for name, cells in table_rows("event").items()}
    assert rows == {kind.__name__: list(kind.__struct_fields__) for kind in typing.get_args(events.AnyEvent)}


@pytest.mark.parametrize(
    ("kind", "methods"),
    [
        (Backend, ("probe", "fit", "load")),
        (Instance, ("generate", "start", "check_ready", "drain", "unload", "wait_closed")),
    ],
)
def test_each_method_stands_in_the_guide_with_its_exact_signature(kind: type, methods: tuple[str, ...]) -> None:
    assert set(methods) >= kind.__abstractmethods__ - {"count_tokens"}
    for name in (*methods, *kind.__abstractmethods__):
        function = getattr(kind, name)
        word = "async def" if inspect.iscoroutinefunction(function) else "def"
        signature = str(inspect.signature(function)).replace("'", "")
        assert f"\n{word} {name}{signature}\n" in GUIDE


@pytest.mark.parametrize("protocol", [Sink, Run, CoroutineRun, Inspectable, Measured, Sleepable])
def test_each_small_interface_stands_in_the_guide_with_its_methods(protocol: type) -> None:
    methods = [name for name, value in vars(protocol).items() if inspect.isfunction(value) and name[0] != "_"]
    assert methods
    for name in methods:
        assert re.search(rf"`(?:async |await )?{name}\(", GUIDE), name


def test_the_guide_shows_every_way_of_hosting() -> None:
    shown = {block.value for block in blocks(PAGE) if block.kind == "file"}
    folder = "examples/hosting-plugin/enginehouse_markov_hosted"
    assert {f"{folder}/{name}.py" for name in ("__init__", "child", "remote")} <= shown


def test_the_module_of_the_tutorial_stays_below_a_hundred_lines() -> None:
    module = ROOT / "examples/tutorial-plugin/enginehouse_markov.py"
    assert len(module.read_text().splitlines()) < 100

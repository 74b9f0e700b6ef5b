"""What is committed of the console is what its source builds."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from enginehouse.dialects.openai.chat.request import ChatRequest

ROOT = Path(__file__).parents[3]
SOURCE = ROOT / "router/console"
BUILT = ROOT / "router/enginehouse/http/console/static"
MOST_KIB = 400


def node() -> str:
    if not (SOURCE / "node_modules").is_dir():
        pytest.skip("needs the console's packages: make setup")
    found = shutil.which("node", path=str(Path(sys.executable).parent)) or shutil.which("node")
    if found is None:
        pytest.skip("needs Node: make setup")
    return found


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_the_source_builds_what_is_committed(tmp_path: Path) -> None:
    subprocess.run([node(), "build.mjs", str(tmp_path)], cwd=SOURCE, check=True)
    built, committed = files(tmp_path), files(BUILT)
    assert built.keys() == committed.keys(), "run: make console"
    assert [name for name in built if built[name] != committed[name]] == [], "run: make console"


def test_its_types_are_sound() -> None:
    program = SOURCE / "node_modules/typescript/bin/tsc"
    done = subprocess.run([node(), str(program), "--noEmit"], cwd=SOURCE, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_it_is_small() -> None:
    of_console = ("app-", "index", "icon")
    sent = [gzip.compress(data, 9) for name, data in files(BUILT).items() if name.startswith(of_console)]
    assert sum(map(len, sent)) < MOST_KIB * 1024


def test_its_licences_are_with_it() -> None:
    told = (BUILT / "licences.txt").read_text()
    for name in json.loads((SOURCE / "package.json").read_text())["dependencies"]:
        assert f"{name} " in told


def test_ranges_of_its_parameters_are_those_of_the_api() -> None:
    script = "import('./src/params.ts').then(found => console.log(JSON.stringify(found.PARAMS)))"
    done = subprocess.run([node(), "-e", script], cwd=SOURCE, capture_output=True, text=True, check=True)
    schema = _fields()
    for param in json.loads(done.stdout):
        known = schema[param["name"]]
        for ours, theirs in (("least", "minimum"), ("above", "exclusiveMinimum"), ("most", "maximum")):
            if param["name"] != "seed":
                assert param.get(ours) == known.get(theirs), (param["name"], theirs)
        assert sorted(param.get("choices", ())) == sorted(known.get("enum", ())), param["name"]


def _fields() -> dict[str, dict[str, Any]]:
    schema = msgspec.json.schema(ChatRequest)
    fields = schema["$defs"]["ChatRequest"]["properties"]
    found = {}
    for name, field in fields.items():
        options = [one for one in field.get("anyOf", [field]) if one.get("type") != "null"]
        found[name] = options[0] if options else {}
    return found

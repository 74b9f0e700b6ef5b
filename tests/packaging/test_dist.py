"""`make dist`: the same bytes each time, metadata, bills of materials, and installations as users make them."""

from __future__ import annotations

import email
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from shipping.build import DISTRIBUTIONS
from tests.docs.fenced import blocks

from .conftest import ROOT, Environment, clean_environment, fill, serving
from .test_wheels import ask

UV = str(Path(sys.executable).with_name("uv"))
FOLDERS = [ROOT / name for name in DISTRIBUTIONS]


def build(folder: Path, umask: int, **variables: str) -> dict[str, bytes]:
    """What `make dist` makes of the last commit, by file."""
    command = [sys.executable, "-m", "shipping.build", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, env=clean_environment(**variables), umask=umask, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (ROOT / ".git").exists():
        pytest.skip("what is built is what is committed: this is no checkout of git")
    folder = tmp_path_factory.mktemp("dist")
    build(folder, 0o022)
    return folder


@pytest.fixture(scope="module")
def wheels_of(dist: Path) -> Mapping[str, Path]:
    """The wheels by the names of their distributions."""
    return {path.name.split("-")[0].replace("_", "-"): path for path in dist.glob("*.whl")}


def member(wheel: Path, name: str) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        (found,) = [each for each in archive.namelist() if each.endswith(f".dist-info/{name}")]
        return archive.read(found)


def metadata(wheel: Path) -> Message:
    return email.message_from_bytes(member(wheel, "METADATA"))


def test_another_folder_time_and_user_give_the_same_bytes(dist: Path, tmp_path: Path) -> None:
    again = build(tmp_path / "elsewhere", 0o077, TZ="Asia/Tokyo", LC_ALL="C", SOURCE_DATE_EPOCH="1", PYTHONHASHSEED="7")
    first = {path.name: path.read_bytes() for path in dist.iterdir()}
    assert set(again) == set(first)
    assert [name for name in first if first[name] != again[name]] == []
    assert len(first) == 2 * len(DISTRIBUTIONS) + 1


def test_a_wheel_of_the_source_archive_has_the_files_of_the_wheel(dist: Path, tmp_path: Path) -> None:
    """Whoever builds from the archive gets the same, but for the bill of materials."""
    for archive in dist.glob("*.tar.gz"):
        with tarfile.open(archive) as opened:
            opened.extractall(tmp_path, filter="data")
        source = tmp_path / archive.name.removesuffix(".tar.gz")
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(source)]
        subprocess.run(command, check=True, capture_output=True, env=clean_environment())
        (made,) = tmp_path.glob(f"{source.name}-*.whl")
        with zipfile.ZipFile(made) as one, zipfile.ZipFile(dist / made.name) as other:
            expected = {name for name in other.namelist() if "/sboms/" not in name}
            assert set(one.namelist()) == expected
            different = [name for name in expected if one.read(name) != other.read(name)]
            assert [name for name in different if not name.endswith("/RECORD")] == []


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_distribution_says_what_it_is_and_what_it_was_tried_with(folder: Path, wheels_of: Mapping[str, Path]) -> None:
    """Of what others make it allows no version beyond those that are known."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    said = metadata(wheels_of[project["name"]])
    assert (said["License-Expression"], said.get_all("License-File")) == ("Apache-2.0", ["LICENSE"])
    assert said["Description-Content-Type"] == "text/markdown"
    assert str(said.get_payload()).strip()
    classifiers = said.get_all("Classifier") or []
    assert "Typing :: Typed" in classifiers
    assert "Programming Language :: Python :: 3.11" in classifiers
    assert said["Requires-Python"] == ">=3.11"
    for requirement in said.get_all("Requires-Dist") or []:
        if not requirement.startswith("enginehouse"):
            versions = requirement.partition(";")[0]
            assert re.search(r">=\d", versions), requirement
            assert re.search(r"<\d", versions), requirement
    assert (folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert member(wheels_of[project["name"]], "licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()


def bill(wheel: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(member(wheel, f"sboms/{metadata(wheel)['Name']}.cdx.json"))
    return found


def test_bills_of_materials_keep_to_their_schema(wheels_of: Mapping[str, Path]) -> None:
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    for wheel in wheels_of.values():
        assert validator.validate_str(json.dumps(bill(wheel))) is None, wheel.name
    broken = {**bill(next(iter(wheels_of.values()))), "components": [{"type": "sorcery"}]}
    assert validator.validate_str(json.dumps(broken)) is not None


def test_a_bill_names_what_the_wheel_asks_for_and_what_it_brings(wheels_of: Mapping[str, Path]) -> None:
    for wheel in wheels_of.values():
        asked = {re.split(r"[^\w.-]", text)[0].lower() for text in metadata(wheel).get_all("Requires-Dist") or []}
        named = {each["name"].lower() for each in bill(wheel)["components"] if each["purl"].startswith("pkg:pypi/")}
        assert named == asked, wheel.name
    brought = {each["name"] for each in bill(wheels_of["enginehouse"])["components"] if "pkg:npm" in each["purl"]}
    with zipfile.ZipFile(wheels_of["enginehouse"]) as archive:
        licences = archive.read("enginehouse/http/console/static/licences.txt").decode()
    bundled = re.findall(r"^(\S+) \d\S* \(\S+\)$", licences, re.MULTILINE)
    assert sorted(brought) == sorted(bundled)
    assert brought >= {"preact", "@preact/signals", "marked", "swagger-ui-dist"}


def user(home: Path) -> dict[str, str]:
    """The variables of a user who has nothing yet, and lives in *home*; what uv has fetched is taken from its cache."""
    home.mkdir()
    cache = subprocess.run([UV, "cache", "dir"], capture_output=True, text=True, check=True).stdout.strip()
    own = {"HOME": home, "XDG_DATA_HOME": home / "data", "XDG_BIN_HOME": home / "bin", "UV_CACHE_DIR": cache}
    own |= {"PIPX_HOME": home / "pipx", "PIPX_BIN_DIR": home / "bin", "PIPX_DEFAULT_PYTHON": sys.executable}
    path = os.pathsep.join([str(home / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    return clean_environment(**{name: str(value) for name, value in own.items()}, PATH=path)


@pytest.fixture(params=["uv", "pipx"])
def tool(request: pytest.FixtureRequest, dist: Path, tmp_path: Path) -> Iterator[Environment]:
    """`enginehouse` as docs/packages.md has the tool install it, with the wheels in place of what is published."""
    home = tmp_path / "home"
    variables = user(home)
    added = {"uv": f"--find-links {dist} --python {sys.executable}", "pipx": f"--pip-args '--find-links {dist}'"}
    (block,) = [each for each in blocks("docs/packages.md") if (each.kind, each.value) == ("run", request.param)]
    *commands, last = block.text.splitlines()
    assert last == "enginehouse serve"
    commands = [re.sub(r"^(uv tool|pipx) (\w+)", rf"\1 \2 {added[request.param]}", line) for line in commands]
    for command in commands:
        done = subprocess.run(
            ["sh", "-c", command], env=variables, cwd=home, capture_output=True, text=True, timeout=400
        )
        assert done.returncode == 0, done.stdout + done.stderr
    found = Environment(home, home)
    found.variables = variables
    yield found
    shutil.rmtree(home)


@pytest.mark.engine
def test_a_tool_for_programs_installs_a_working_server(tool: Environment) -> None:
    parts = {(part["kind"], part["name"]) for part in json.loads(tool.run("enginehouse", "--version", "--json"))}
    assert parts >= {("router", "enginehouse"), ("contract", "enginehouse-plugin"), ("engine", "xllamacpp")}
    with serving(tool) as url:
        assert ask(url, "smollm2-135m", max_tokens=4)["object"] == "chat.completion"


def python_of(version: str) -> str | None:
    """A Python of *version*, where uv or pyenv has one."""
    asked = [UV, "python", "find", "--no-python-downloads", version]
    found = subprocess.run(asked, capture_output=True, text=True, env=clean_environment())
    if found.returncode == 0:
        return found.stdout.strip()
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    return next((str(path) for path in sorted(root.glob(f"versions/{version}.*/bin/python"))), None)


@pytest.mark.engine
@pytest.mark.parametrize("version", ["3.12", "3.13", "3.14"])
def test_other_pythons_serve_it(version: str, dist: Path, tmp_path: Path) -> None:
    python = python_of(version)
    if python is None:
        pytest.skip(f"needs Python {version} on the PATH or below pyenv's folder")
    environment = Environment(tmp_path / "environment", tmp_path)
    subprocess.run([UV, "venv", "--quiet", "--python", python, str(tmp_path / "environment")], check=True)
    into = ("--python", str(environment.bin / "python"), "--find-links", str(dist))
    fill(*into, "enginehouse[certify,mdns]", "enginehouse-llamacpp[engine]", "enginehouse-upstream")
    assert f"CPython {version}." in environment.run("enginehouse", "--version")
    with serving(environment) as url:
        assert ask(url, "smollm2-135m", max_tokens=4)["object"] == "chat.completion"

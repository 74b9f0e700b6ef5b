"""What the page and the workflow say is what there is."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import click
import pytest

from enginehouse_conformance.cli import cli
from enginehouse_conformance.declared import EXAMPLE, Declared, read_declared
from enginehouse_conformance.identity.bands import BANDS, FAMILIES
from enginehouse_conformance.identity.comparison import Kind
from enginehouse_conformance.rules import PROFILES, RULES
from enginehouse_conformance.verdicts import Verdict

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "conformance.md").read_text()
WORKFLOW = (ROOT / "examples" / "conformance-ci.yml").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


IDENTITY = re.sub(r"^## By the router\n.*?(?=^## )", "", (ROOT / "docs/identity.md").read_text(), flags=re.M | re.S)
"""What the page says of the suite alone."""


def options_of(command: str) -> set[str]:
    return {name for option in cli.commands[command].params for name in option.opts if name.startswith("--")}


def test_the_table_of_options_is_complete() -> None:
    table = set(re.findall(r"^\| `(--[a-z-]+)` \|", PAGE, re.MULTILINE))
    assert table == options_of("run")


def test_every_command_profile_and_verdict_is_documented() -> None:
    for name in (*cli.commands, *PROFILES, *(verdict.value for verdict in Verdict)):
        assert re.search(rf"`[^`\n]*\b{re.escape(name)}\b[^`\n]*`", PAGE) or f"conformance {name}" in PAGE, name


@pytest.mark.parametrize("text", [text for kind, text in BLOCKS if kind == "sh"] + [WORKFLOW])
def test_command_lines_can_be_parsed(text, tmp_path) -> None:
    joined = re.sub(r"\\\n\s*|\n\s+(?=--)", " ", text)
    lines = [line.strip() for line in joined.splitlines() if line.strip().startswith("enginehouse-conformance run")]
    lines += re.findall(r"enginehouse-conformance run http\S+\s+--.*", joined)
    assert lines
    for line in lines:
        words = shlex.split(line)[1:]
        with click.Context(cli):
            cli.commands["run"].make_context("run", words[1:])


def test_the_page_on_identity_has_every_option_band_and_kind() -> None:
    named = set(re.findall(r"`(--[a-z-]+)`", IDENTITY))
    assert named == options_of("compare") | options_of("fingerprint")
    assert re.findall(r"^\| (AUD\d) \|", IDENTITY, re.MULTILINE) == [rule.id for rule in RULES.values() if rule.audit]
    for band in BANDS:
        assert f"| `{band.name}` | {band.limit:g} |" in IDENTITY
    for kind in get_args(Kind):
        assert f"| `{kind}` |" in IDENTITY
    for family in FAMILIES:
        assert f"{family.low:g} to {family.high:g}" in IDENTITY.replace("0.30", "0.3") or family.what in NOT_IN_TABLE


NOT_IN_TABLE = ("a KV cache in q4_0",)
"""Measured once, about 0.28."""


def test_the_commands_on_identity_can_be_parsed(tmp_path, monkeypatch) -> None:
    text = "\n".join(re.findall(r"^```sh\n(.*?)^```$", IDENTITY, re.MULTILINE | re.DOTALL))
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line]
    monkeypatch.setenv("API_KEY", "secret")
    assert [line.split()[1] for line in lines] == ["compare", "fingerprint", "compare", "compare", "run"]
    for line in lines:
        name, *words = shlex.split(line)[1:]
        with click.Context(cli):
            cli.commands[name].make_context(name, words)


def test_the_declaration_is_that_of_the_help_and_can_be_read(tmp_path) -> None:
    shown = next(text for kind, text in BLOCKS if kind == "toml")
    assert shown == EXAMPLE
    assert {name for name in Declared.__struct_fields__ if re.search(rf"^(# |\[)?{name}\b", EXAMPLE, re.MULTILINE)} >= (
        set(Declared.__struct_fields__) - RARE
    )
    path = tmp_path / "declared.toml"
    path.write_text(shown)
    assert read_declared(path).limits == {"n": 4}


RARE = {"vocabulary_size", "max_temperature", "max_body_bytes", "ignored_header"}
"""Of a declaration, what an example does not need."""


def test_the_two_files_of_an_author_run(tmp_path) -> None:
    """With the tutorial's plugin, as the page has them."""
    conftest, suite = [
        text for kind, text in BLOCKS if kind == "python" and ("conformance_target" in text or "Suite" in text)
    ]
    (tmp_path / "conftest.py").write_text(conftest)
    (tmp_path / "test_conformance.py").write_text(suite)
    shutil.copy(ROOT / "examples" / "fables.txt", tmp_path)
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    env |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT / "examples" / "tutorial-plugin")}
    command = [sys.executable, "-m", "pytest", "-p", "enginehouse_conformance.pytest_plugin", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "--conformance-report", "out"], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 passed" in done.stdout
    assert (tmp_path / "out" / "TestConformance" / "report.html").exists()

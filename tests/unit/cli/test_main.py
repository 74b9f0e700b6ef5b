from __future__ import annotations

import sys
from pathlib import Path

import pytest

from enginehouse import __version__
from enginehouse.cli.group import _COMMANDS

from .conftest import Run, command_line, install


def test_help_lists_every_command_with_examples_and_exit_codes(enginehouse: Run) -> None:
    done = enginehouse("--help")
    assert done.code == 0
    for name in _COMMANDS:
        assert f"\n  {name} " in done.out
    assert "Examples:" in done.out
    assert "Exit codes:" in done.out


@pytest.mark.parametrize("name", [*_COMMANDS, "models pull", "keys new", "config check"])
def test_each_command_has_help_with_examples(enginehouse: Run, name: str) -> None:
    done = enginehouse(*name.split(), "--help")
    assert done.code == 0
    if name != "plugins":
        assert "Example" in done.out


def test_the_line_of_help_of_a_command_is_that_of_the_command(enginehouse: Run) -> None:
    """The list of commands is written down twice so that --help imports none of them."""
    import importlib

    for name in _COMMANDS:
        command = importlib.import_module(f"enginehouse.cli.commands.{name}").command
        assert command.help, name


@pytest.mark.parametrize("name", ["models", "keys", "limits", "credits", "config", "hosts"])
def test_what_the_commands_of_a_command_do_is_not_cut_short(enginehouse: Run, name: str) -> None:
    listed = enginehouse(name, "--help").out.split("Commands:\n")[1].split("\n\n")[0]
    assert "..." not in listed
    assert listed.endswith(".")


def test_the_version_is_told_without_importing_a_command() -> None:
    script = """
import sys
from enginehouse.cli import run
code = run(["--version"])
heavy = {"litestar", "uvicorn", "huggingface_hub", "rich", "httpx2", "enginehouse.config"} & set(sys.modules)
sys.exit(str(heavy) if heavy or code else 0)
"""
    import subprocess

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == f"enginehouse, version {__version__}"


def test_the_version_names_all_parts_and_the_engines_that_are_here(enginehouse: Run, site: Path) -> None:
    engine = site / "tinyengine-3.1.dist-info"
    engine.mkdir()
    (engine / "METADATA").write_text("Metadata-Version: 2.1\nName: TinyEngine\nVersion: 3.1\n")
    metadata = site / "markov_dist-1.0.dist-info" / "METADATA"
    wanted = ("tinyengine>=3; extra == 'engine'", "absent-engine>=1; extra == 'engine'", "tinyengine; extra == 'other'")
    metadata.write_text(metadata.read_text() + "".join(f"Requires-Dist: {each}\n" for each in wanted))
    for words in (("--version", "--json"), ("--json", "--version")):
        done = enginehouse(*words)
        found = {(part["kind"], part["name"]): part["version"] for part in done.json}
        assert found["router", "enginehouse"] == __version__
        assert {kind for kind, _ in found} >= {"router", "contract", "kit", "suite", "plugin", "engine", "python"}
        assert found["plugin", "markov-dist"] == "1.0"
        assert found["engine", "tinyengine"] == "3.1"
        assert ("engine", "absent-engine") not in found
        assert found["python", sys.implementation.name.replace("cpython", "CPython")]
    assert "\nengine    tinyengine 3.1\n" in enginehouse("--version").out


def test_json_alone_is_not_passed_over(enginehouse: Run) -> None:
    done = enginehouse("--json", "plugins")
    assert done.code == 2
    assert "--json goes with --version" in done.err


def test_help_imports_no_server() -> None:
    script = """
import sys
from enginehouse.cli import run
code = run(["--help"])
heavy = {"litestar", "uvicorn", "huggingface_hub", "httpx2"} & set(sys.modules)
sys.exit(str(heavy) if heavy or code else 0)
"""
    import subprocess

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_unknown_command_is_refused_with_those_there_are(enginehouse: Run) -> None:
    done = enginehouse("sevre")
    assert done.code == 2
    assert "serve, models, chat" in done.err
    assert done.out == ""


def test_a_plugin_adds_commands(enginehouse: Run, site: Path) -> None:
    install(
        site,
        "greeter",
        "enginehouse_greeter",
        """
import click
from enginehouse_plugin import hookimpl
enginehouse_api = "2.0"
@hookimpl
def enginehouse_cli(group):
    @group.command("greet")
    def greet():
        "Say hello."
        click.echo("hello from a plugin")
""",
    )
    assert "greet" in enginehouse("--help").out
    done = enginehouse("greet")
    assert (done.code, done.out) == (0, "hello from a plugin\n")


def test_a_faulty_configuration_is_one_line_on_standard_error(enginehouse: Run, tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text("[server]\nprot = 1\n")
    for arguments in (("serve",), ("models",), ("explain", "x"), ("models", "pull")):
        done = enginehouse(*arguments, "--config", str(file))
        assert done.code == 2
        assert done.out == ""
        assert f"Error: {file}: server.prot" in done.err
        assert "Did you mean 'port'?" in done.err
        assert len(done.err.splitlines()) == 1


def test_a_reader_that_leaves_is_no_error() -> None:
    done = command_line("--help", stdin=None)
    assert done.returncode == 0
    import subprocess

    pipe = f"{sys.executable} -c 'from enginehouse.cli import main; main()' doctor | head -c 1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {pipe}"], capture_output=True, text=True)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("command", "module", "code"), [("serve", "serve", 0), ("doctor", "doctor", 143)])
def test_a_command_that_is_told_to_end_while_it_starts_cleans_up(command: str, module: str, code: int) -> None:
    """A server has done as it was told; no other command has done its work."""
    script = f"""
import os, signal, sys, time
from enginehouse import cli
import enginehouse.cli.commands.{module} as command

def starts(*_, **__):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)
    finally:
        print("cleaned up")

command.set_up = starts
sys.argv = ["enginehouse", {command!r}]
cli.main()
"""
    import subprocess

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (code, "cleaned up\n", "")


def test_a_signal_is_heard_before_anything_else_is_imported() -> None:
    """What comes before cannot clean up; packages take most of a start."""
    import subprocess

    script = (
        "import sys, enginehouse.cli; print({'click', 'msgspec', 'importlib.metadata', 'asyncio'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("set()", "")


def test_an_argument_that_is_no_text_is_refused_by_every_command(enginehouse: Run) -> None:
    for arguments in (["serve", "\udcff.gguf"], ["keys", "new", "\udcff"], ["\udcff"]):
        assert enginehouse(*arguments).code == 2
        assert enginehouse(*arguments).err == "Error: an argument is not UTF-8.\n"

"""`enginehouse connect`."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import msgspec
import pytest

from enginehouse.cli.recipes import Recipe, Values, filled, recipes

from .conftest import Run, Scripted, command_line

OURS = ("--url", "http://box:9000/v1", "--model", "team/one")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir(folder)
    return folder


class Terminal(io.StringIO):
    """Somebody who answers."""

    def isatty(self) -> bool:
        return True


def test_it_lists_every_client(enginehouse: Run) -> None:
    done = enginehouse("connect", "--json")
    assert [one["client"] for one in done.json] == sorted(recipes())
    shown = enginehouse("connect").out
    assert all(recipe.title in shown and recipe.package in shown for recipe in recipes().values())


@pytest.mark.parametrize("name", recipes())
def test_each_recipe_names_the_server_and_the_model_and_leaves_no_gap(enginehouse: Run, name: str) -> None:
    done = enginehouse("connect", name, *OURS)
    assert done.code == 0
    assert "http://box:9000" in done.out
    assert "/v1/v1" not in done.out
    assert "team/one" in done.out
    assert "@" not in done.out.replace("@ai-sdk", "")


@pytest.mark.parametrize("name", recipes())
def test_each_recipe_names_the_variable_of_the_key_and_never_the_key(
    enginehouse: Run, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("TEAM_KEY", "a-secret-of-somebody")
    done = enginehouse("connect", name, *OURS, "--key-variable", "TEAM_KEY")
    assert "TEAM_KEY" in done.out
    assert "a-secret-of-somebody" not in done.out


def test_a_key_in_the_usual_variable_is_referred_to(enginehouse: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "ENGINEHOUSE_API_KEY" not in enginehouse("connect", "codex", *OURS).out
    monkeypatch.setenv("ENGINEHOUSE_API_KEY", "a-secret")
    assert 'env_key = "ENGINEHOUSE_API_KEY"' in enginehouse("connect", "codex", *OURS).out


def test_without_a_model_the_servers_first_and_its_context_are_taken(enginehouse: Run, scripted: Scripted) -> None:
    models = [{"id": "first/one", "context_length": 4096}, {"id": "second", "context_length": 1}]
    scripted.replies["/v1/models"] = (200, {}, msgspec.json.encode({"object": "list", "data": models}))
    text = enginehouse("connect", "codex", "--url", scripted.url, "--json").json["files"][0]["text"]
    assert 'model = "first/one"' in text
    assert "model_context_window = 4096" in text


def test_what_nobody_knows_is_left_out() -> None:
    recipe = Recipe(name="x", title="X", about="", package="", endpoint="", run="key=@KEY@ x @MODEL@")
    file = msgspec.json.decode(b'{"path": "~/x", "text": "a @URL@\\nb @CONTEXT@\\nc @VARIABLE@\\n"}', type=dict)
    recipe = msgspec.convert({**msgspec.to_builtins(recipe), "files": [file]}, Recipe)
    silent = filled(recipe, Values(url="http://u", model="m"))
    assert (silent.files[0].text, silent.run) == ("a http://u\n", "key=none x m")
    full = filled(recipe, Values(url="http://u", model="m", context=7, variable="V"))
    assert (full.files[0].text, full.run) == ("a http://u\nb 7\nc V\n", 'key="$V" x m')


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nobody", *OURS), "No client 'nobody' is known. There are: "),
        (("codex", "--model", "x", "--url", "box:8000"), "'box:8000' is no URL"),
        (("codex", "--model", 'x" y'), "--model: 'x\" y' has characters"),
        (("codex", "--url", "http://box/$(id)", "--model", "x"), "--url: "),
        (("codex", "--model", "x", "--key-variable", "1$"), "'1$' is no name of an environment variable"),
        (("codex", "--model", "x", "--context", "0"), "--context"),
        (("--write",), "--write needs a CLIENT"),
    ],
)
def test_wrong_usage_is_told(enginehouse: Run, arguments: tuple[str, ...], said: str) -> None:
    done = enginehouse("connect", *arguments)
    assert done.code == 2
    assert said in done.err
    assert done.out == ""


def test_it_writes_what_it_would_print_and_nothing_twice(enginehouse: Run, home: Path) -> None:
    told = enginehouse("connect", "codex", *OURS, "--json").json["files"][0]
    done = enginehouse("connect", "codex", *OURS, "--write")
    file = home / ".codex/config.toml"
    assert str(file) == told["path"]
    assert file.read_text() == told["text"]
    assert f"wrote {file}" in done.out
    assert f"{file} is like that already" in enginehouse("connect", "codex", *OURS, "--write").out
    assert [path.name for path in file.parent.iterdir()] == ["config.toml"]


def test_a_file_that_is_there_stays_where_nobody_can_be_asked(home: Path) -> None:
    file = home / ".codex/config.toml"
    file.parent.mkdir()
    file.write_text("theirs\n")
    done = command_line("connect", "codex", *OURS, "--write", input="y\n", cwd=home)
    assert done.returncode == 1
    assert "nobody can be asked" in done.stderr
    assert file.read_text() == "theirs\n"


@pytest.mark.parametrize("answer", ["n\n", "\n", "y\n"])
def test_a_file_that_is_there_is_replaced_only_after_a_yes_and_kept(
    enginehouse: Run, home: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    file = home / ".codex/config.toml"
    file.parent.mkdir()
    file.write_text("theirs\n")
    file.with_name("config.toml.old").write_text("of long ago\n")
    file.chmod(0o640)
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    done = enginehouse("connect", "codex", *OURS, "--write")
    left = {path.name: path.read_text() for path in file.parent.iterdir()}
    assert left["config.toml.old"] == "of long ago\n"
    if answer == "y\n":
        assert done.code == 0
        assert left["config.toml.old1"] == "theirs\n"
        assert 'model = "team/one"' in left["config.toml"]
        assert file.stat().st_mode & 0o777 == 0o640
    else:
        assert done.code == 1
        assert set(left) == {"config.toml", "config.toml.old"}
        assert left["config.toml"] == "theirs\n"


def test_a_link_stays_one(enginehouse: Run, home: Path) -> None:
    (home / "dotfiles").mkdir()
    (home / ".codex").symlink_to(home / "dotfiles", target_is_directory=True)
    assert enginehouse("connect", "codex", *OURS, "--write").code == 0
    assert (home / "dotfiles/config.toml").exists()

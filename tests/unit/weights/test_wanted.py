"""What is meant by a model that somebody names on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from enginehouse.weights import Wanted, looks_wanted, wanted
from enginehouse.weights.errors import FetchFailed, InvalidSource
from enginehouse_plugin.errors import LoadError

from .conftest import Hub

COMMIT = "1" * 40
SHARDS = ["big-Q8_0-00001-of-00002.gguf", "big-Q8_0-00002-of-00002.gguf"]


def folder(path: Path, *names: str) -> Path:
    path.mkdir(exist_ok=True)
    for name in names:
        (path / name).write_bytes(b"GGUF")
    return path


@pytest.fixture
def repository(hub: Hub) -> Hub:
    hub.branches = {"main": COMMIT}
    hub.files = dict.fromkeys(["README.md", "m-Q2_K.gguf", "m-Q4_K_M.gguf", "mmproj-m-F16.gguf", *SHARDS], b"GGUF")
    return hub


def test_a_file_and_a_folder_are_known_by_what_they_hold(tmp_path: Path) -> None:
    file = folder(tmp_path, "My-Model.Q4_1.gguf") / "My-Model.Q4_1.gguf"
    assert wanted(str(file)) == Wanted(source=str(file), format="gguf", name="My-Model.Q4_1")
    safe = folder(tmp_path / "Org-Model", "config.json", "model.safetensors", "model-Q8_0.gguf")
    assert wanted(str(safe)) == Wanted(source=str(safe), format="safetensors", name="Org-Model")
    shards = folder(tmp_path / "shards", *SHARDS)
    assert wanted(str(shards)) == Wanted(source=str(shards / SHARDS[0]), format="gguf", name="big-Q8_0")


def test_the_embedded_model_is_known_by_its_name() -> None:
    assert wanted("demo:smollm2-135m") == Wanted(source="demo:smollm2-135m", format="gguf", name="smollm2-135m")


@pytest.mark.parametrize(
    ("asked", "file"),
    [
        ("hub:org/repo", "m-Q4_K_M.gguf"),
        ("hub:org/repo@main:q2_k", "m-Q2_K.gguf"),
        ("hub:org/repo:Q8_0", SHARDS[0]),
        (f"hub:org/repo@{COMMIT}", "m-Q4_K_M.gguf"),
    ],
)
def test_of_a_repository_of_gguf_files_one_is_taken_at_its_commit(repository: Hub, asked: str, file: str) -> None:
    assert wanted(asked).source == f"hub:org/repo@{COMMIT}/{file}"


def test_a_repository_of_safetensors_is_taken_whole_unless_a_quant_is_named(repository: Hub) -> None:
    repository.files["model.safetensors"] = b""
    assert wanted("hub:org/repo") == Wanted(source=f"hub:org/repo@{COMMIT}", format="safetensors", name="repo")
    assert wanted("hub:org/repo:Q2_K").format == "gguf"


def test_a_file_of_a_repository_asks_nobody(hub: Hub) -> None:
    hub.stop()
    assert wanted("hub:org/repo@main/sub/m.gguf") == Wanted(
        source="hub:org/repo@main/sub/m.gguf", format="gguf", name="m"
    )
    with pytest.raises(FetchFailed, match="the hub cannot be reached"):
        wanted("hub:org/repo")


def test_what_cannot_be_told_is_refused_with_what_there_is(tmp_path: Path, repository: Hub) -> None:
    (tmp_path / "notes.txt").write_text("words")
    folder(tmp_path / "two", "a.gguf", "b.gguf")
    for asked, words in (
        (str(tmp_path / "lost.gguf"), "There is no such file or folder"),
        ("org/lost", "Is hub:org/lost meant?"),
        (str(tmp_path / "notes.txt"), "the file is no GGUF file"),
        (str(tmp_path / "two"), "There are: a.gguf, b.gguf."),
        (str(folder(tmp_path / "empty")), "neither safetensors nor GGUF"),
        ("hub:org/repo:Q5_0", "no one file of it is 'Q5_0'"),
        ("hub:org/repo@main/model.bin", "Safetensors are named by repository"),
        ("https://example.org/v1", "a remote server needs a configuration"),
        ("demo:none", "There are: demo:smollm2-135m"),
    ):
        with pytest.raises(LoadError) as caught:
            wanted(asked)
        assert words in str(caught.value), asked
    assert issubclass(InvalidSource, LoadError)


def test_words_are_told_from_weights(tmp_path: Path) -> None:
    assert looks_wanted(str(folder(tmp_path, "a.gguf")))
    assert all(map(looks_wanted, ("demo:x", "hub:a/b", "lost.gguf")))
    assert not any(map(looks_wanted, ("Hello", "What is", str(folder(tmp_path / "empty")), "")))

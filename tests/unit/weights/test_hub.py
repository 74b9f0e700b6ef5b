from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from enginehouse.weights import locate, resolve
from enginehouse.weights.errors import FetchFailed, InvalidSource, WrongDigest

from .conftest import Heard, Hub

FIRST = "1" * 40
SECOND = "2" * 40


@pytest.fixture
def repository(hub: Hub) -> Hub:
    hub.branches = {"main": FIRST}
    hub.files = {"config.json": b"{}", "model.safetensors": b"weights" * 100, "sub/tokenizer.json": b"[]"}
    hub.large = {"model.safetensors"}
    return hub


def test_a_commit_is_fetched_whole_and_then_asks_nobody(repository: Hub, heard: Heard) -> None:
    path = resolve(f"hub:org/repo@{FIRST}", progress=heard)
    assert path is not None
    assert {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()} == set(repository.files)
    assert (path / "model.safetensors").read_bytes() == repository.files["model.safetensors"]
    total = sum(map(len, repository.files.values()))
    assert heard.stages["downloading"] == (total, total)
    assert heard.notes == []
    repository.asked.clear()
    assert resolve(f"hub:org/repo@{FIRST}") == locate(f"hub:org/repo@{FIRST}") == path
    assert repository.asked == []


def test_one_file_of_a_repository_is_fetched_alone(repository: Hub, heard: Heard) -> None:
    path = resolve(f"hub:org/repo@{FIRST}/sub/tokenizer.json", progress=heard)
    assert path is not None
    assert path.read_bytes() == b"[]"
    assert not any("safetensors" in line for line in repository.asked)
    assert locate(f"hub:org/repo@{FIRST}") is None, "one file is not the whole repository"


def test_a_branch_is_resolved_and_the_commit_is_told(repository: Hub, heard: Heard) -> None:
    first = resolve("hub:org/repo@main", progress=heard)
    assert heard.notes == [f"org/repo@main is now commit {FIRST}. To keep it from moving, write hub:org/repo@{FIRST}"]
    repository.branches = {"main": SECOND}
    second = resolve("hub:org/repo@main", progress=heard)
    assert first != second
    assert SECOND in heard.notes[-1]


def test_without_network_a_branch_means_what_it_last_meant(repository: Hub, heard: Heard) -> None:
    path = resolve("hub:org/repo@main")
    repository.stop()
    assert resolve("hub:org/repo@main", progress=heard) == locate("hub:org/repo@main") == path
    assert heard.notes == [
        f"The hub cannot be reached; hub:org/repo@main is taken as commit {FIRST}, what it last meant."
    ]


def test_without_network_and_weights_the_error_says_what_to_do(repository: Hub) -> None:
    repository.stop()
    with pytest.raises(FetchFailed, match="HTTPS_PROXY") as caught:
        resolve(f"hub:org/repo@{FIRST}")
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (404, "RepoNotFound", "no such repository"),
        (401, "RepoNotFound", "HF_TOKEN"),
        (403, "GatedRepo", "Ask for access"),
        (404, "RevisionNotFound", "no revision '1111111111"),
        (500, "", "Try again later"),
    ],
)
def test_a_refusal_of_the_hub_says_what_to_do(repository: Hub, status: int, code: str, words: str) -> None:
    repository.status, repository.error_code = status, code
    with pytest.raises(FetchFailed, match=words):
        resolve(f"hub:org/repo@{FIRST}")


def test_an_unknown_file_is_refused_with_those_there_are(repository: Hub) -> None:
    with pytest.raises(FetchFailed, match=r"no file 'model\.gguf'.*config\.json, model\.safetensors"):
        resolve(f"hub:org/repo@{FIRST}/model.gguf")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_file_that_is_not_what_the_hub_announced_is_thrown_away(repository: Hub, name: str) -> None:
    repository.served_instead = {name: repository.files[name][::-1]}
    with pytest.raises(WrongDigest, match=name):
        resolve(f"hub:org/repo@{FIRST}")
    assert locate(f"hub:org/repo@{FIRST}") is None
    repository.served_instead = {}
    path = resolve(f"hub:org/repo@{FIRST}")
    assert path is not None
    assert (path / name).read_bytes() == repository.files[name]


def test_several_models_in_one_repository_must_be_told_apart(repository: Hub) -> None:
    repository.files = {"a-Q4.gguf": b"4", "a-Q8.gguf": b"8"}
    with pytest.raises(InvalidSource, match=r"hub:org/repo@1+/a-Q4\.gguf.*a-Q4\.gguf, a-Q8\.gguf"):
        resolve(f"hub:org/repo@{FIRST}")


def test_all_parts_of_a_split_model_are_fetched(repository: Hub) -> None:
    parts = [f"a-{at:05}-of-00003.gguf" for at in (1, 2, 3)]
    repository.files = {"other.gguf": b"o", **{part: part.encode() for part in parts}}
    path = resolve(f"hub:org/repo@{FIRST}/{parts[0]}")
    assert path is not None
    assert path.name == parts[0]
    assert [(path.parent / part).read_bytes() for part in parts] == [part.encode() for part in parts]
    assert not (path.parent / "other.gguf").exists()
    (path.parent / parts[2]).unlink()
    assert locate(f"hub:org/repo@{FIRST}/{parts[0]}") is None


def test_weights_in_older_formats_are_left_out_and_that_is_told(repository: Hub, heard: Heard) -> None:
    repository.files |= {"pytorch_model.bin": b"p", "original/consolidated.00.pth": b"o", "onnx/model.json": b"x"}
    path = resolve(f"hub:org/repo@{FIRST}", progress=heard)
    assert path is not None
    assert not (path / "pytorch_model.bin").exists()
    assert heard.notes == ["3 files of org/repo hold the same weights in other formats and are left there."]


def test_pickled_weights_are_fetched_where_there_are_no_others(repository: Hub) -> None:
    repository.files = {"pytorch_model.bin": b"p"}
    path = resolve(f"hub:org/repo@{FIRST}")
    assert path is not None
    assert (path / "pytorch_model.bin").exists()


def test_the_environment_variables_of_the_hub_hold(repository: Hub, tmp_path: Path, cache: Path) -> None:
    environment = {**os.environ, "HF_ENDPOINT": repository.url, "HF_HUB_CACHE": str(tmp_path / "own")}
    script = f"from enginehouse.weights import resolve; print(resolve('hub:org/repo@{FIRST}/config.json'))"
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    path = Path(done.stdout.strip())
    assert tmp_path / "own" in path.parents
    assert path.read_bytes() == b"{}"

from __future__ import annotations

from pathlib import Path

import pytest

from enginehouse.weights import locate, resolve
from enginehouse_plugin.errors import SourceNotFound


def test_a_local_file_or_folder_is_its_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.gguf").write_bytes(b"x")
    assert resolve(str(tmp_path)) == tmp_path
    assert resolve("m.gguf", base=tmp_path) == tmp_path / "m.gguf"
    monkeypatch.chdir(tmp_path)
    assert resolve("m.gguf") == locate("m.gguf") == tmp_path / "m.gguf"


def test_a_server_has_no_local_weights() -> None:
    assert resolve("https://example.org/v1") is None
    assert locate("http://127.0.0.1:1/v1") is None


def test_a_missing_path_is_not_found_and_the_error_names_it_whole(tmp_path: Path) -> None:
    assert locate("m.gguf", base=tmp_path) is None
    with pytest.raises(SourceNotFound, match=str(tmp_path / "m.gguf")):
        resolve("m.gguf", base=tmp_path)


@pytest.mark.parametrize(
    ("text", "meant"), [("org/repo", "hub:org/repo@REVISION"), ("org/repo@main", "hub:org/repo@main.")]
)
def test_a_repository_without_its_prefix_is_recognised(text: str, meant: str, tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound) as caught:
        resolve(text, base=tmp_path)
    assert meant in str(caught.value)

from __future__ import annotations

from pathlib import Path

import pytest

from enginehouse.cli.shared.supervisors.files import marked, remove, write, written

TEXT = "{comment}\n[Unit]\nDescription=x\n"


@pytest.mark.parametrize("comment", ["# {mark}", "<!-- {mark} -->"])
def test_a_file_is_ours_until_a_letter_of_it_changes(tmp_path: Path, comment: str) -> None:
    path = tmp_path / "a" / "b.service"
    assert written(path) == "absent"
    write(path, marked(comment, TEXT))
    assert written(path) == "ours"
    assert path.stat().st_mode & 0o777 == 0o644
    path.write_text(path.read_text().replace("=x", "=y"))
    assert written(path) == "changed"
    path.write_text("[Unit]\nDescription=x\n")
    assert written(path) == "foreign"


def test_bytes_that_are_no_text_are_of_somebody_else(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"\xff\xfe\x00")
    assert written(tmp_path / "f") == "foreign"


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f"
    path.write_text("before")

    def fails(*_: object) -> None:
        raise OSError("no")

    monkeypatch.setattr("os.replace", fails)
    with pytest.raises(OSError, match="no"):
        write(path, "after")
    assert [each.name for each in tmp_path.iterdir()] == ["f"]
    assert path.read_text() == "before"


def test_empty_folders_go_with_the_file_and_others_stay(tmp_path: Path) -> None:
    write(tmp_path / "systemd/user/x.service", "x")
    (tmp_path / "systemd/kept").touch()
    remove(tmp_path / "systemd/user/x.service", up_to=tmp_path)
    assert [each.name for each in (tmp_path / "systemd").iterdir()] == ["kept"]
    remove(tmp_path / "systemd/user/x.service", up_to=tmp_path)  # once more changes nothing
    assert (tmp_path / "systemd").exists()

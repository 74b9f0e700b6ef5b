"""Certificates on disk: whole or not at all, for the owner alone, and never believed when damaged."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import msgspec
import pytest

from enginehouse.certificates import CertificateFolder, CertificatesUnusable, default_folder

from .conftest import KEY, a_certificate, a_key


def test_what_is_saved_is_read_again(folder: CertificateFolder) -> None:
    file = folder.save(a_certificate())
    assert folder.read() == ([a_certificate()], [])
    assert file.name == f"{KEY.name}.json"


def test_one_file_for_each_key_and_the_newest_first(folder: CertificateFolder) -> None:
    folder.save(a_certificate())
    again = a_certificate(certified_at="2026-11-22T00:00:00+00:00")
    other = a_certificate(key=a_key(engine_version="2.0"), certified_at="2026-11-23T00:00:00+00:00")
    folder.save(again)
    folder.save(other)
    assert folder.read() == ([other, again], [])


def test_only_the_owner_may_look(folder: CertificateFolder) -> None:
    file = folder.save(a_certificate())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert stat.S_IMODE(folder.path.parent.stat().st_mode) == 0o700


def test_there_may_be_no_folder(folder: CertificateFolder) -> None:
    assert folder.read() == ([], [])


def damaged() -> dict[str, tuple[bytes, str]]:
    whole = msgspec.json.encode(a_certificate())
    document = msgspec.json.decode(whole)
    return {
        "empty": (b"", "it is damaged"),
        "truncated": (whole[: len(whole) // 2], "it is damaged"),
        "garbage": (b"\xff\xfe\x00certificate", "it is damaged"),
        "deep": (b"[" * 100_000, "it is damaged"),
        "other-json": (b'{"hello": 1}', "it is damaged"),
        "other-version": (msgspec.json.encode({**document, "certificate_version": 2}), "it has version 2"),
        "older-version": (b'{"certificate_version": 0}', "it has version 0"),
        "wrong-state": (whole.replace(b'"proven"', b'"surely"'), "it is damaged"),
        "unknown-field": (msgspec.json.encode({**document, "verified": True}), "it is damaged"),
        "other-key": (msgspec.json.encode(a_certificate(key=a_key(suite="1"))), "does not belong"),
        "huge": (b" " * (4 << 20) + whole, "too large"),
    }


@pytest.mark.parametrize("case", damaged())
def test_a_file_that_is_no_certificate_proves_nothing_and_says_why(folder: CertificateFolder, case: str) -> None:
    content, problem = damaged()[case]
    good = a_certificate(key=a_key(engine_version="2.0"))
    folder.save(good)
    (folder.path / f"{KEY.name}.json").write_bytes(content)
    certificates, (unreadable,) = folder.read()
    assert certificates == [good]
    assert unreadable.name == KEY.name
    assert problem in unreadable.problem


def test_a_folder_in_place_of_a_file_is_told(folder: CertificateFolder) -> None:
    (folder.path / f"{KEY.name}.json").mkdir(parents=True)
    certificates, (unreadable,) = folder.read()
    assert certificates == []
    assert "it cannot be read" in unreadable.problem


def test_a_place_that_cannot_be_a_folder_is_told_before_and_at_saving(folder: CertificateFolder, data: Path) -> None:
    data.write_text("a file")
    for attempt in (folder.prepare, lambda: folder.save(a_certificate())):
        with pytest.raises(CertificatesUnusable, match=r"cannot be stored in .*certificates: .*\[certificates\] path"):
            attempt()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere: needs another user")
def test_a_folder_that_may_not_be_written_is_told(folder: CertificateFolder) -> None:
    folder.path.mkdir(parents=True, mode=0o500)
    with pytest.raises(CertificatesUnusable, match="Permission denied"):
        folder.prepare()


def test_a_full_disk_is_told_and_the_older_certificate_stays(
    folder: CertificateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.save(a_certificate())

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CertificatesUnusable, match="the disk is full"):
        folder.save(a_certificate(seed=8))
    assert folder.read() == ([a_certificate()], [])
    assert [file.suffix for file in folder.path.iterdir()] == [".json"], "nothing unfinished is left"


def test_preparing_leaves_an_empty_folder(folder: CertificateFolder) -> None:
    folder.prepare()
    assert list(folder.path.iterdir()) == []


def test_the_default_folder_is_the_users_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, data: Path) -> None:
    assert default_folder() == data / "certificates"
    monkeypatch.delenv("ENGINEHOUSE_DATA")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    assert default_folder() == tmp_path / "enginehouse" / "certificates"

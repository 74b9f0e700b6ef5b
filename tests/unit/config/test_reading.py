"""A file that an owner names may be a pipe or a device, and may be written to while it is read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from enginehouse.config import ConfigError, load_config, reading


def test_a_pipe_is_read_while_somebody_writes_and_never_waited_for(tmp_path: Path, monkeypatch) -> None:
    """Reading it again, without a writer, must not hold up a reload for ever."""
    pipe = tmp_path / "house.toml"
    os.mkfifo(pipe)
    monkeypatch.setattr(reading, "PATIENCE_S", 0.05)
    with pytest.raises(ConfigError, match="has not come to an end"):
        load_config(pipe)
    writer = os.open(pipe, os.O_RDWR)
    try:
        os.write(writer, b"[server]\n")
        with pytest.raises(ConfigError, match="has not come to an end"):
            load_config(pipe)
    finally:
        os.close(writer)
    ours, theirs = os.pipe()
    os.close(theirs)
    with pytest.raises(ConfigError, match="nothing comes from it"):
        load_config(f"/dev/fd/{ours}")
    os.close(ours)
    monkeypatch.undo()
    ours, theirs = os.pipe()
    os.write(theirs, b"[server]\nport = 7\n")
    os.close(theirs)
    try:
        assert load_config(f"/dev/fd/{ours}").server.port == 7
    finally:
        os.close(ours)


WHOLE = b"[server]\nport = 7\n[log]\nlevel = 'debug'\n"


@pytest.mark.parametrize("first", [b"", WHOLE[:9], WHOLE[:18]], ids=["empty", "cut in a section", "cut between two"])
def test_a_file_that_is_being_written_is_read_when_it_is_whole(tmp_path: Path, monkeypatch, first: bytes) -> None:
    file, read = tmp_path / "house.toml", os.read
    file.write_bytes(first)
    left = [WHOLE[len(first) :]]

    def write_on(number: int, size: int) -> bytes:
        piece = read(number, size)
        if not piece and left:
            with file.open("ab") as writing:
                writing.write(left.pop())
        return piece

    monkeypatch.setattr(reading.os, "read", write_on)
    config = load_config(file)
    assert (config.server.port, config.log.level) == (7, "debug")


def test_a_file_that_is_written_to_without_end_is_refused(tmp_path: Path, monkeypatch) -> None:
    file, read = tmp_path / "house.toml", os.read

    def write_on(number: int, size: int) -> bytes:
        with file.open("ab") as writing:
            writing.write(b"# and so on\n")
        return read(number, 1 << 10)

    file.write_bytes(WHOLE)
    monkeypatch.setattr(reading, "PATIENCE_S", 0.1)
    monkeypatch.setattr(reading, "MAX_CONFIG_BYTES", 1 << 30)
    calls = []

    def seldom(number: int, size: int) -> bytes:
        calls.append(number)
        return read(number, size) if len(calls) % 2 == 0 else write_on(number, size)

    monkeypatch.setattr(reading.os, "read", seldom)
    with pytest.raises(ConfigError, match="has been written to"):
        load_config(file)


@pytest.mark.parametrize(("text", "told"), [("", "is empty"), (" \n\n", "is empty"), ("# later\n", "but comments")])
def test_a_file_that_says_nothing_is_refused_by_its_name(tmp_path: Path, monkeypatch, text: str, told: str) -> None:
    file = tmp_path / "house.toml"
    file.write_text(text)
    monkeypatch.setattr(reading, "_FILLING_S", 0.0)
    with pytest.raises(ConfigError, match=rf"house\.toml: it .*{told}.*Write `\[models\]`"):
        load_config(file)
    file.write_text("[models]\n")
    assert list(load_config(file).models) == ["smollm2-135m"]


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there is no device that has no end")
def test_a_file_without_end_is_refused() -> None:
    with pytest.raises(ConfigError, match="more than 16 MiB"):
        load_config("/dev/zero")

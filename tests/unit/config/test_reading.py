"""A file that an owner names may be a pipe or a device."""

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


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there is no device that has no end")
def test_a_file_without_end_is_refused() -> None:
    with pytest.raises(ConfigError, match="more than 16 MiB"):
        load_config("/dev/zero")

"""Only regular files are read of weights: nobody waits for a pipe."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from enginehouse_kit.files import read_file
from enginehouse_kit.generation_config import recommended_in
from enginehouse_kit.text.inputs import pooling_in
from enginehouse_kit.text.templates import template_in
from enginehouse_plugin.errors import LoadFailed


def test_a_file_and_what_leads_to_one_are_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert read_file(tmp_path / "file") == read_file(tmp_path / "link") == b"content"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "file")
    before = len(os.listdir("/dev/fd"))
    with pytest.raises(OSError, match="no regular file"):
        read_file(tmp_path / "file")
    assert len(os.listdir("/dev/fd")) == before


def test_what_is_beside_weights_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "1_Pooling").mkdir()
    for name in ("generation_config.json", "chat_template.jinja", "tokenizer_config.json", "1_Pooling/config.json"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(LoadFailed, match="no regular file"):
        recommended_in(tmp_path)
    assert template_in(tmp_path) is None
    assert pooling_in(tmp_path) is None

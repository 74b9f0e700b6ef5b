"""How a configuration's text may be encoded."""

from __future__ import annotations

from pathlib import Path

from enginehouse.config import load_config


def test_a_mark_of_encoding_before_the_first_line_is_read_over(tmp_path: Path) -> None:
    file = tmp_path / "house.toml"
    file.write_text("[server]\nport = 9\n", encoding="utf-8-sig")
    assert load_config(file).server.port == 9

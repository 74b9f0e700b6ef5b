"""docs/hosts.md has the numbers of the code, and its file is one."""

from __future__ import annotations

from pathlib import Path

import pytest

from enginehouse.config import load_config
from enginehouse.fleet.hosts import HOST_HEADER, PROOF_PATH, SNAPSHOT_PATH
from enginehouse.fleet.hosts.host import ANSWER_S, MOST_S, POLL_S
from enginehouse.fleet.hosts.mdns import MOST_FOUND

from .fenced import ROOT, blocks

PAGE = " ".join((ROOT / "docs/hosts.md").read_text().split())


def test_the_page_says_how_often_hosts_are_asked() -> None:
    assert POLL_S == 1
    assert f"asked every second and has {ANSWER_S:g} s to answer" in PAGE
    assert f"after {POLL_S:g} s, {2 * POLL_S:g} s, and so on up to {MOST_S:g} s" in PAGE
    assert SNAPSHOT_PATH in PAGE
    assert f"`GET {PROOF_PATH}?key=…&nonce=…`" in PAGE
    assert HOST_HEADER.decode() in PAGE


def test_the_file_of_the_page_can_be_used(tmp_path: Path) -> None:
    text, of_mdns = (block.text for block in blocks("docs/hosts.md") if block.language == "toml")
    (tmp_path / "house.toml").write_text(text)
    config = load_config(tmp_path / "house.toml")
    assert list(config.hosts) == ["mac", "box"]
    assert config.hosts["box"].wake is not None
    pytest.importorskip("zeroconf", reason="install zeroconf for the file that announces and finds hosts")
    (tmp_path / "house.toml").write_text(of_mdns)
    config = load_config(tmp_path / "house.toml")
    assert (config.mdns.announce, config.mdns.discover, config.hosts["mac"].announced_as) == (True, True, "mac")
    assert f"At most {MOST_FOUND} of them are remembered" in PAGE

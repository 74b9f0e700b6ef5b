"""Codex CLI, unmodified, finishes a small task on files: create, read, edit. The engine is scripted, the rest real.

It runs where `ENGINEHOUSE_CODEX` names the program, or `make clients` has installed it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from .served import Served

_HERE = Path(__file__).parent
_INSTALLED = _HERE.parents[1] / ".cache/clients/node_modules/.bin"
_CODEX = os.environ.get("ENGINEHOUSE_CODEX") or shutil.which("codex", path=_INSTALLED)
CONFIG = '[server]\nport = 0\n\n[models.scripted]\nplacements = [{ backend = "scripted", source = "none" }]\n'


@pytest.mark.skipif(_CODEX is None, reason="Codex is not installed: make clients, or ENGINEHOUSE_CODEX")
def test_codex_creates_reads_and_edits_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site, home, work, house = (tmp_path / name for name in ("site", "home", "work", "house"))
    info = site / "enginehouse_scripted-0.dist-info"
    for folder in (info, home, work, house):
        folder.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: enginehouse-scripted\nVersion: 0\n")
    (info / "entry_points.txt").write_text("[enginehouse.plugins]\nscripted = scripted_agent\n")
    shutil.copy(_HERE / "scripted/scripted_agent.py", site)
    monkeypatch.setenv("PYTHONPATH", str(site))
    served = Served(CONFIG, house)
    try:
        served.wait_ready()
        (home / "config.toml").write_text(
            'model = "scripted"\nmodel_provider = "enginehouse"\n\n'
            '[model_providers.enginehouse]\nname = "Enginehouse"\n'
            f'base_url = "{served.url}/v1"\nwire_api = "responses"\n'
        )
        asked = [str(_CODEX), "exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"]
        ended = subprocess.run(
            [*asked, "Create made.txt, read it, edit it."],
            cwd=work,
            env=os.environ | {"CODEX_HOME": str(home)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        assert (work / "made.txt").read_text() == "two\n"
        assert "All 3 steps are done; reasoning came back: True." in ended.stdout
    finally:
        served.close()

"""`enginehouse explain` of a file for a cluster says that it knows of this machine alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_a_file_for_a_cluster_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "house.toml").write_text(
        '[cluster]\nengine = "ray"\n[models.m]\nplacements = [{ backend = "llamacpp", source = "demo:smollm2-135m" }]\n'
    )
    program = str(Path(sys.executable).with_name("enginehouse"))
    done = subprocess.run(
        [program, "explain", "--config", str(tmp_path / "house.toml")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "this is what this machine alone would do" in done.stderr

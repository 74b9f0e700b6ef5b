"""`make serve` sets up what the model it is given needs, and nothing more."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MLX = "plugins/mlx[engine]"


def would_run(tmp_path: Path, *words: str) -> str:
    """What `make` would run in a fresh clone."""
    if shutil.which("make") is None:
        pytest.skip("make is not here")
    command = ["make", "--dry-run", "--no-print-directory", "serve", f"VENV={tmp_path / 'venv'}", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_without_a_model_the_embedded_one_is_fetched_and_mlx_is_not(tmp_path: Path) -> None:
    run = would_run(tmp_path)
    assert "enginehouse models pull" in run
    assert MLX not in run


def test_a_gguf_file_needs_nothing_more(tmp_path: Path) -> None:
    run = would_run(tmp_path, "MODEL=weights/model.gguf")
    assert "enginehouse serve weights/model.gguf" in run
    assert "models pull" not in run
    assert MLX not in run


def test_a_folder_with_safetensors_brings_its_engine(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "model.safetensors").touch()
    run = would_run(tmp_path, f"MODEL={tmp_path / 'folder'}")
    assert run.index(MLX) < run.index(f"enginehouse serve {tmp_path / 'folder'}")

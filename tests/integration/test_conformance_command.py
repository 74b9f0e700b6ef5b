"""`make conformance` on an engine: its report, and what it says where there is none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.docs.fenced import ROOT

from enginehouse_conformance import read_report
from tests.conformance import engines


def conformance(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.conformance", *words], cwd=ROOT, capture_output=True, text=True, timeout=600
    )


@pytest.mark.engine
@pytest.mark.parametrize(("way", "folder"), [("contract", "llamacpp-tiny"), ("http", "llamacpp-tiny-http")])
def test_a_run_shows_each_result_and_writes_one_compact_file(way: str, folder: str, tmp_path: Path) -> None:
    words = ("--rules", "BIAS1,ENV2", "--time-scale", "20", "--over", way, "--into", str(tmp_path))
    done = conformance("llamacpp", *words)
    assert done.returncode == 0, done.stderr
    assert [file.name for file in (tmp_path / folder).iterdir()] == ["report.json"]
    report = read_report(tmp_path / folder / "report.json")
    assert report.target.model == "tiny"
    assert {result.rule for result in report.results} == {"BIAS1", "ENV2"}
    assert not any(result.transcripts for result in report.results)
    assert report.summary.must.passed == (2 if way == "http" else 1)
    assert f"--over {way}" in report.reproduce
    assert "pass           BIAS1" in done.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [(["tgi"], "there is no engine 'tgi'; there are: llamacpp, mlx, vllm"), (["--rules", "STOPP"], "STOPP")],
)
def test_what_does_not_exist_is_refused_before_anything_is_loaded(words: list[str], told: str, tmp_path: Path) -> None:
    done = conformance(*words, "--into", str(tmp_path))
    assert done.returncode == 2
    assert told in done.stderr
    assert not any(tmp_path.iterdir())


def test_without_its_environment_vllm_is_told_to_be_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(engines.PYTHON_VARIABLE, raising=False)
    monkeypatch.setattr(engines, "_VLLM_PYTHON", tmp_path / "bin/python")
    with pytest.raises(engines.Missing, match="make vllm-env"), engines.target_of("vllm", "tiny", "contract"):
        pytest.fail("there is no such engine")

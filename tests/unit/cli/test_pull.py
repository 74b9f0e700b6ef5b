from __future__ import annotations

from pathlib import Path

import pytest

from enginehouse.cli.shared.progress import Lines

from .conftest import Run


def test_a_model_is_pulled_from_its_chosen_placement(enginehouse: Run, parrot: Path) -> None:
    done = enginehouse("models", "pull", "parrot", "--config", str(parrot))
    assert (done.code, done.out) == (0, f"{parrot.parent / 'fables.txt'}\n")


def test_without_a_name_all_that_this_host_needs_is_pulled(enginehouse: Run, parrot: Path) -> None:
    listing = enginehouse("models", "--config", str(parrot), "pull", "--json").json
    assert listing == [{"source": str(parrot.parent / "fables.txt"), "path": str(parrot.parent / "fables.txt")}]


def test_a_path_is_its_own_place(enginehouse: Run, parrot: Path) -> None:
    done = enginehouse("models", "pull", str(parrot), "--config", str(parrot))
    assert done.out == f"{parrot}\n"


def test_a_model_without_a_place_is_not_pulled(enginehouse: Run, parrot: Path) -> None:
    done = enginehouse("models", "pull", "big/one", "--config", str(parrot))
    assert done.code == 1
    assert "enginehouse explain big/one" in done.err


@pytest.mark.parametrize("source", ["hub:org/repo", "demo:none", "/there/is/no/such/file"])
def test_a_source_that_is_wrong_is_one_line_on_standard_error(enginehouse: Run, parrot: Path, source: str) -> None:
    done = enginehouse("models", "pull", source, "--config", str(parrot))
    assert done.code == 1
    assert done.out == ""
    assert done.err.startswith("Error: ")
    assert len(done.err.splitlines()) == 1


def test_progress_without_a_terminal_is_a_few_lines(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Lines("weights")
    for done_bytes in range(0, 1_000_001, 1000):
        progress.advance("downloading", done_bytes, 1_000_000)
    progress.advance("verifying", 5, None)
    progress.note("a note")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "weights: downloading 0 B of 1.0 MB"
    assert len(lines) == 13
    assert lines[-2:] == ["weights: verifying 5 B", "a note"]

"""The seed of this installation's probes."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from enginehouse.certificates import CertificatesUnusable, secret_seed
from enginehouse.certificates.secret import NAME


def test_it_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    seed = secret_seed(folder)
    assert seed.bit_length() <= 62
    assert stat.S_IMODE((folder / NAME).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert secret_seed(folder) == seed
    assert [file.name for file in folder.iterdir()] == [NAME]
    assert secret_seed(tmp_path / "other") != seed


def test_processes_that_make_it_at_once_have_the_same(tmp_path: Path) -> None:
    script = (
        "from pathlib import Path; from enginehouse.certificates import secret_seed; "
        f"print(secret_seed(Path({str(tmp_path)!r})))"
    )
    made = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert len({process.communicate(timeout=60)[0] for process in made}) == 1


@pytest.mark.parametrize("content", ["", "none", "1.5"])
def test_what_is_no_seed_is_told_and_stays(tmp_path: Path, content: str) -> None:
    (tmp_path / NAME).write_text(content)
    with pytest.raises(CertificatesUnusable, match=NAME):
        secret_seed(tmp_path)
    assert (tmp_path / NAME).read_text() == content

from __future__ import annotations

from pathlib import Path

import pytest

from enginehouse.cli.shared.supervisors import Trouble, job_of
from enginehouse.cli.shared.supervisors.job import _check_visible
from enginehouse.config import ConfigError

CONFIG = "[server]\nport = 443\ndrain_timeout_s = 7\n"


def test_the_job_is_what_is_installed_here_with_the_file_s_own_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "house.toml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    job = job_of("house.toml", None, is_system=False)
    assert job.arguments == (str(job.program), "serve", "--config", str(tmp_path / "house.toml"))
    assert job.program.is_file()
    assert (job.port, job.drain_timeout_s, job.run_as) == (443, 7, None)


def test_a_configuration_that_cannot_be_used_is_told_before_anything_is_written(tmp_path: Path) -> None:
    file = tmp_path / "house.toml"
    file.write_text("[server]\nprot = 1\n")
    with pytest.raises(ConfigError, match="prot"):
        job_of(str(file), None, is_system=False)
    file.write_text('[server]\nhost = "0.0.0.0"\n')
    with pytest.raises(ConfigError):
        job_of(str(file), None, is_system=False)


def test_an_account_that_is_not_there_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "house.toml"
    file.write_text(CONFIG)
    with pytest.raises(Trouble, match="no account 'nobody-of-that-name'"):
        job_of(str(file), "nobody-of-that-name", is_system=False)


def test_a_path_that_would_break_the_file_s_lines_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a\nExecStartPre=evil.toml"
    file.write_text(CONFIG)
    with pytest.raises(Trouble, match="move it to a plainer path"):
        job_of(str(file), None, is_system=False)


def test_what_a_service_of_the_system_cannot_read_is_refused(tmp_path: Path) -> None:
    program = tmp_path / "open" / "enginehouse"
    program.parent.mkdir(mode=0o700)
    program.touch(0o755)
    with pytest.raises(Trouble, match=r"may not read .* Fix it\."):
        _check_visible(program, "Fix it.")
    with pytest.raises(Trouble, match=r"does not see /root"):
        _check_visible(Path("/root/house.toml"), "Fix it.")

"""A log that is stuck, broken or absent costs log lines, never the server."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from .served import LAZY

PROGRAM = str(Path(sys.executable).with_name("enginehouse"))
MANY = 400
"""Requests whose log lines fill a pipe several times over."""

Start = Callable[[str], "tuple[subprocess.Popen[bytes], str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a server, its standard error redirected as a shell writes it; returns it and its address."""
    processes = []

    def start(redirection: str) -> tuple[subprocess.Popen[bytes], str]:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        (tmp_path / "enginehouse.toml").write_text(LAZY)
        command = f'exec "$0" serve --config enginehouse.toml --log-format json --port {port} {redirection}'
        process = subprocess.Popen(["sh", "-c", command, PROGRAM], cwd=tmp_path, stderr=subprocess.PIPE)
        processes.append(process)
        url = f"http://127.0.0.1:{port}"
        ends_at = time.monotonic() + 120
        while True:
            try:
                assert httpx.get(f"{url}/health").status_code == 200
                return process, url
            except httpx.ConnectError:
                assert process.poll() is None
                assert time.monotonic() < ends_at
                time.sleep(0.1)

    yield start
    for process in processes:
        process.kill()
        process.wait(30)
        process.stderr.close()


def ask_often(url: str) -> httpx.Response:
    """Make many lines of log; the answer to another request then."""
    with httpx.Client(base_url=url, timeout=20) as client:
        for _ in range(MANY):
            assert client.post("/v1/chat/completions", json={}).status_code == 400
        return client.get("/metrics")


def test_a_log_that_nobody_reads_stops_neither_requests_nor_the_end(start: Start) -> None:
    process, url = start("")
    assert f"}} {MANY}\n" in ask_often(url).text
    process.terminate()
    assert process.wait(30) == 0


def test_a_log_whose_reader_has_gone_loses_lines_and_says_so_in_the_metrics(start: Start) -> None:
    process, url = start("")
    assert process.stderr is not None
    process.stderr.close()
    metrics = ask_often(url).text
    (lost,) = (line.split()[1] for line in metrics.splitlines() if line.startswith("enginehouse_log_lines_lost_total"))
    assert float(lost) > 0
    process.terminate()
    assert process.wait(30) == 0


@pytest.mark.parametrize("redirection", ["2>&-", "<&- >&- 2>&-"])
def test_a_server_without_standard_error_serves(start: Start, redirection: str) -> None:
    process, url = start(redirection)
    assert f"}} {MANY}\n" in ask_often(url).text
    process.terminate()
    assert process.wait(30) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_full_disk_loses_lines_only(start: Start) -> None:
    process, url = start("2>/dev/full")
    assert "enginehouse_log_lines_lost_total 0" not in ask_often(url).text
    process.terminate()
    assert process.wait(30) == 0

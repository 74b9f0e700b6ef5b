"""Programs that end with their process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from enginehouse.weights import leash

SLEEPER = "import os, sys, time; print(os.getpid(), flush=True); time.sleep(600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SLEEPER
ROUTER = """
import os, sys, time
from enginehouse.weights.leash import leashed
with leashed([sys.executable, "-c", sys.argv[1]], sys.stdout.buffer, os.environ):
    time.sleep(600)
"""


def gone(pid: int) -> bool:
    until = time.monotonic() + 30
    while psutil.pid_exists(pid) and time.monotonic() < until:
        time.sleep(0.02)
    return not psutil.pid_exists(pid)


def test_a_program_ends_when_its_process_is_killed() -> None:
    """A download does not outlive a router that was killed."""
    router = subprocess.Popen([sys.executable, "-c", ROUTER, SLEEPER], stdout=subprocess.PIPE)
    assert router.stdout is not None
    pid = int(router.stdout.readline())
    router.kill()
    router.wait()
    router.stdout.close()
    assert gone(pid)


@pytest.mark.parametrize("code", [SLEEPER, STUBBORN])
def test_a_program_has_ended_when_its_block_is_left(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that ignores SIGTERM."""
    monkeypatch.setattr(leash, "_END_S", 0.2)
    words = tmp_path / "words"
    with words.open("wb") as output, leash.leashed([sys.executable, "-c", code], output, os.environ):
        until = time.monotonic() + 30
        while not words.read_bytes().endswith(b"\n") and time.monotonic() < until:
            time.sleep(0.02)
    assert not psutil.pid_exists(int(words.read_text()))


@pytest.mark.parametrize("times", [1, 2])
def test_a_program_that_is_told_to_end_has_its_time_and_is_killed_when_it_is_told_again(times: int) -> None:
    patience_s = 600.0 if times == 2 else 0.2
    code = SLEEPER if times == 1 else STUBBORN.replace("SIGTERM", "SIGINT")
    command = leash.on_leash([sys.executable, "-c", code], signal.SIGINT, patience_s)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        for _ in range(times):
            process.stdin.write(b".")
            process.stdin.flush()
        assert process.wait(30) != 0
        assert gone(pid)


def test_a_program_tells_how_it_ended(tmp_path: Path) -> None:
    """Its exit code is the leash's."""
    with (
        (tmp_path / "words").open("wb") as output,
        leash.leashed([sys.executable, "-c", "raise SystemExit(3)"], output, os.environ) as process,
    ):
        assert process.wait(30) == 3

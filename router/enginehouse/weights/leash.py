"""A program that ends with this process, however that ends."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import IO

_END_S = 5.0

# Between the router and the program, because no system-wide call ties a child to its parent: the pipe's end does.
_LEASH = f"""
import os, signal, subprocess, sys, threading
signal.signal(signal.SIGINT, signal.SIG_IGN)
process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)
def follow():
    os.read(0, 1)
    for number, wait_s in ((signal.SIGTERM, {_END_S}), (signal.SIGKILL, None)):
        os.killpg(process.pid, number)
        try:
            process.wait(wait_s)
        except subprocess.TimeoutExpired:
            continue
        return
threading.Thread(target=follow, daemon=True).start()
os._exit(process.wait() & 255)
"""


@contextlib.contextmanager
def leashed(
    command: Sequence[str], output: IO[bytes], environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run *command*, which writes to *output*; it has ended when the block is left, or when this process is gone."""
    process = subprocess.Popen(  # noqa: S603  # made by the caller, of no outside text
        [sys.executable, "-I", "-S", "-c", _LEASH, *command],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=output,
        env=environment,
    )
    try:
        yield process
    finally:
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(2 * _END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

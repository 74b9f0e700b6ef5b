"""A program that ends with this process, however that ends."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import IO

_END_S = 5.0
_LATE_S = 5.0

# Between the router and the program, because no system-wide call ties a child to its parent: the pipe's end does.
_LEASH = """
import contextlib, os, select, signal, subprocess, sys, threading
gently, patience_s = signal.Signals[sys.argv[1]], float(sys.argv[2])
heard = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.SIG_IGN)
process = subprocess.Popen(sys.argv[3:], stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=heard)
def follow():
    told = os.read(0, 1)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, gently)
        select.select([0] if told else [], [], [], patience_s)
        os.killpg(process.pid, signal.SIGKILL)
threading.Thread(target=follow, daemon=True).start()
os._exit(process.wait() & 255)
"""


def on_leash(command: Sequence[str], gently: signal.Signals, patience_s: float) -> list[str]:
    """The command that runs *command* until it ends, or until its standard input, a pipe, has ended or a byte comes.

    Then it is told to end by *gently*, and killed after *patience_s*; at once when a second byte comes, or the end
    behind the first.
    """
    return [sys.executable, "-I", "-S", "-c", _LEASH, gently.name, str(patience_s), *command]


@contextlib.contextmanager
def leashed(
    command: Sequence[str], output: IO[bytes], environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run *command*, which writes to *output*; it has ended when the block is left, or when this process is gone."""
    process = subprocess.Popen(  # noqa: S603  # made by the caller, of no outside text
        on_leash(command, signal.SIGTERM, _END_S),
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
            process.wait(_END_S + _LATE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

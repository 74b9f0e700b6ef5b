"""The process between the router and an engine: it ends the engine when the router is gone.

Run as a file by a bare interpreter (`python -I -S guardian.py FD FOLDER ARGV…`), so that it starts in
milliseconds; it imports nothing but a few modules of the standard library. *FD* is one end of a socket pair:

- it writes `started PID`, or `failed MESSAGE`, then `exited CODE` or `killed SIGNAL`
- it reads `stop SECONDS`: SIGTERM to the engine's group, SIGKILL when the seconds are over
- its end (the router is gone, however it went): SIGKILL at once

While it lives it holds a lock on *FOLDER*, as the router does: a folder that nobody holds was left behind.

The engine leads a session of its own; whatever it started ends with it. On Linux the guardian is also the
parent of orphans, so that processes that left the group are found, and the engine is told to die with the
guardian (PR_SET_PDEATHSIG). Elsewhere the router ends the group when it sees the guardian gone.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys
import time

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_DEFAULT_GRACE_S = 5.0
_KILL_AGAIN_S = 0.2


def main() -> None:
    """Start the engine, watch it and the router, and end what is left."""
    control = int(sys.argv[1])
    folder = sys.argv[2]
    argv = sys.argv[3:]
    _close_strangers(control)
    fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_SH)
    wake, is_asked_to_end = _prepare(control)
    engine = _start(argv, control)

    watched = [wake, control]
    status: int | None = None
    kill_at: float | None = None  # monotonic seconds
    while status is None:
        timeout: float | None = None if kill_at is None else max(0.0, kill_at - time.monotonic())
        readable, _, _ = select.select(watched, [], [], timeout)
        if wake in readable:
            _read(wake)
        if is_asked_to_end and kill_at is None:
            kill_at = time.monotonic() + _DEFAULT_GRACE_S
            _ask_to_end(engine)
        if control in readable:
            command = _read(control)
            if command:
                kill_at = time.monotonic() + float(command.split()[-1])
                _ask_to_end(engine)
            else:  # the router is gone
                watched.remove(control)
                kill_at = 0.0
        if kill_at is not None and time.monotonic() >= kill_at:
            _signal_group(engine, signal.SIGKILL)
            kill_at = time.monotonic() + _KILL_AGAIN_S
        status = _reap(engine)
    # The group's id stays taken while a process of the group lives, so this cannot hit a stranger's group.
    _signal_group(engine, signal.SIGKILL)
    _end_orphans()
    _remove(folder)
    _tell(control, f"killed {-status}" if status < 0 else f"exited {status}")


def _close_strangers(control: int) -> None:
    """Close what uvloop lets a child inherit: an engine that held the router's files would keep them alive."""
    end = min(os.sysconf("SC_OPEN_MAX"), 65536)
    os.closerange(3, control)
    os.closerange(control + 1, end)


def _prepare(control: int) -> tuple[int, list[bool]]:
    """Set signals up; the descriptor that wakes the loop, and a list that SIGTERM puts something into."""
    os.set_inheritable(control, False)
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_read, False)
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    is_asked_to_end: list[bool] = []
    signal.signal(signal.SIGTERM, lambda *_: is_asked_to_end.append(True))
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(ignored, signal.SIG_IGN)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    return wake_read, is_asked_to_end


def _start(argv: list[str], control: int) -> int:
    guardian = os.getpid()
    problem_read, problem_write = os.pipe()  # closed by a successful exec
    engine = os.fork()
    if engine:
        os.close(problem_write)
        problem = os.read(problem_read, 4096)
        os.close(problem_read)
        _tell(control, f"failed {problem.decode()}" if problem else f"started {engine}")
        return engine
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == guardian:  # else it died before it could be watched
            os.execvp(argv[0], argv)  # noqa: S606  # no shell is the point
    except OSError as error:
        os.write(problem_write, (error.strerror or str(error)).encode())
    finally:
        os._exit(127)


def _prctl(option: int, value: int) -> None:
    if not sys.platform.startswith("linux"):
        return
    try:
        import ctypes

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
    except (ImportError, OSError, AttributeError):
        return  # an interpreter without ctypes: the router's own watch remains


def _tell(control: int, line: str) -> None:
    try:
        os.write(control, line.encode("utf-8", "replace") + b"\n")
    except OSError:
        return  # the router is gone, or has closed its end


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:
        return b""


def _ask_to_end(group: int) -> None:
    """SIGTERM, and what lets a stopped process take it."""
    _signal_group(group, signal.SIGTERM)
    _signal_group(group, signal.SIGCONT)


def _signal_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return


def _reap(engine: int) -> int | None:
    """Take in every child that has ended; the engine's status (minus the signal) if it is among them."""
    status = None
    while True:
        try:
            pid, raw = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status
        if pid == 0:
            return status
        if pid == engine:
            status = os.waitstatus_to_exitcode(raw)


def _end_orphans() -> None:
    """End processes that left the engine's group; on Linux they are the guardian's children by now."""
    for _ in range(100):
        try:
            with open(f"/proc/self/task/{os.getpid()}/children") as listing:
                children = listing.read().split()
        except OSError:
            children = []
        for child in children:
            try:
                os.kill(int(child), signal.SIGKILL)
            except ProcessLookupError:
                continue
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.01)


def _remove(folder: str) -> None:
    try:
        for name in os.listdir(folder):
            os.unlink(os.path.join(folder, name))
        os.rmdir(folder)
    except OSError:
        return  # gone already, or the engine left a folder in it; the router removes the tree


if __name__ == "__main__":
    main()

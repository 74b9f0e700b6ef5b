# ruff: noqa: ASYNC240 -- looks at folders on the way; nothing else runs
"""Processes that are stopped (SIGSTOP), and the folder of the socket, also when those that clean up are killed."""

import asyncio
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from enginehouse_kit.process import child as module
from enginehouse_kit.process import folders
from enginehouse_kit.process.child import Child
from enginehouse_kit.process.folders import MAX_SOCKET_PATH_BYTES
from enginehouse_plugin.errors import LoadFailed

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux: /proc tells of activity")

SLEEPER = "import time; time.sleep(600)"
WORKER = "while True: pass"


def python(code):
    return lambda path: [sys.executable, "-I", "-S", "-c", code, path]


def guardian_of(child):
    return psutil.Process(child.pid).ppid()


async def never():
    await asyncio.sleep(600)
    return True


@pytest.fixture
async def start():
    children = []

    async def start(code):
        children.append(await Child.start("engine", python(code)))
        return children[-1]

    yield start
    for child in children:
        await child.stop(0)


async def test_a_stopped_engine_ends_as_soon_as_it_is_asked(start):
    child = await start(SLEEPER)
    os.kill(child.pid, signal.SIGSTOP)
    begun = time.monotonic()
    await child.stop(30)
    assert time.monotonic() - begun < 15
    assert (await child.wait_closed()).signal == signal.SIGTERM


async def test_a_stopped_guardian_does_not_hold_up_the_end(start, monkeypatch):
    monkeypatch.setattr(module, "_GUARDIAN_SLACK_S", 0.1)
    child = await start(SLEEPER)
    guardian = guardian_of(child)
    os.kill(guardian, signal.SIGSTOP)
    await child.stop(0)
    assert (await child.wait_closed()).is_expected
    assert not psutil.pid_exists(guardian)
    assert not os.path.exists(os.path.dirname(child.socket_path))


async def test_a_stopped_guardian_of_a_dead_engine_does_not_hold_up_the_end(start, monkeypatch):
    monkeypatch.setattr(module, "_GUARDIAN_SLACK_S", 0.1)
    child = await start(SLEEPER)
    os.kill(guardian_of(child), signal.SIGSTOP)
    os.kill(child.pid, signal.SIGKILL)
    async with asyncio.timeout(15):
        await child.stop(0)


@linux_only
async def test_the_end_of_an_engine_is_known_although_its_guardian_is_stopped(start, monkeypatch):
    """The guardian is let go on then, and tells how the engine ended."""
    monkeypatch.setattr(module, "_GUARDIAN_SLACK_S", 0.5)
    child = await start(SLEEPER)
    os.kill(guardian_of(child), signal.SIGSTOP)
    os.kill(child.pid, signal.SIGKILL)
    async with asyncio.timeout(60):
        report = await child.wait_closed()
    assert (report.is_expected, report.signal) == (False, signal.SIGKILL)
    assert not os.path.exists(os.path.dirname(child.socket_path))


@linux_only
async def test_a_load_whose_guardian_is_stopped_and_whose_engine_is_dead_fails_at_once(start, monkeypatch):
    monkeypatch.setattr(module, "_GUARDIAN_SLACK_S", 0.5)
    child = await start(SLEEPER)
    loading = asyncio.create_task(child.wait_ready(never, timeout_s=600))
    await asyncio.sleep(0)
    os.kill(guardian_of(child), signal.SIGSTOP)
    os.kill(child.pid, signal.SIGKILL)
    async with asyncio.timeout(50):  # before it would be taken for hung
        with pytest.raises(LoadFailed, match=r"ended by SIGKILL while loading"):
            await loading


DEAF_GUARDIAN = """
import os, sys, time
engine = os.fork()
if not engine:
    os.setsid()
    os.execvp(sys.argv[3], sys.argv[3:])
os.write(int(sys.argv[1]), b"started %d\\n" % engine)
time.sleep(600)
"""


@linux_only
async def test_a_guardian_that_never_tells_of_the_end_is_killed(start, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_GUARDIAN_SLACK_S", 0.2)
    deaf = tmp_path / "deaf.py"
    deaf.write_text(DEAF_GUARDIAN)
    monkeypatch.setattr(module.guardian, "__file__", str(deaf))
    child = await start(SLEEPER)
    guardian = guardian_of(child)
    os.kill(child.pid, signal.SIGKILL)
    async with asyncio.timeout(60):
        report = await child.wait_closed()
    assert not report.is_expected
    assert not psutil.pid_exists(guardian)


async def test_a_guardian_that_starts_nothing_fails_the_load(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_GUARDIAN_SLACK_S", 0.2)
    monkeypatch.setattr(module, "_START_S", 0.5)
    idle = tmp_path / "idle.py"
    idle.write_text("import time; time.sleep(600)")
    monkeypatch.setattr(module.guardian, "__file__", str(idle))
    with pytest.raises(LoadFailed, match=r"its guardian did not start it within 0\.5 s") as failed:
        await Child.start("engine", python(SLEEPER))
    assert failed.value.retryable
    assert not [each for each in psutil.Process().children() if str(idle) in each.cmdline()]


@linux_only
async def test_a_load_that_does_nothing_is_taken_for_hung(start, monkeypatch):
    monkeypatch.setattr(module, "INERT_S", 0.3)
    monkeypatch.setattr(module, "_LOOK_S", 0.1)
    child = await start(WORKER)
    os.kill(child.pid, signal.SIGSTOP)
    with pytest.raises(LoadFailed, match=r"did nothing for 0.3 s while loading; it is taken for hung") as failed:
        await child.wait_ready(never, timeout_s=60)
    assert failed.value.retryable
    assert not psutil.pid_exists(child.pid)


@linux_only
async def test_a_load_that_works_is_left_in_peace_however_long_it_takes(start, monkeypatch):
    monkeypatch.setattr(module, "INERT_S", 0.3)
    monkeypatch.setattr(module, "_LOOK_S", 0.1)
    child = await start(WORKER)
    with pytest.raises(LoadFailed, match=r"was not ready after 1\.5 s"):
        await child.wait_ready(never, timeout_s=1.5)


ROUTER = """
import asyncio, sys
from enginehouse_kit.process.child import Child
from enginehouse_kit.process.folders import MAX_SOCKET_PATH_BYTES
async def main():
    child = await Child.start("engine", lambda path: [sys.executable, "-I", "-S", "-c", sys.argv[1], path])
    print(child.pid, child.socket_path, flush=True)
    await child.wait_closed()
asyncio.run(main())
"""


@linux_only
async def test_a_folder_that_a_killed_router_and_guardian_left_goes_with_the_next_start(monkeypatch):
    monkeypatch.setattr(folders, "_YOUNG_S", 0.0)
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        monkeypatch.setattr(tempfile, "tempdir", short)
        router = await asyncio.create_subprocess_exec(
            sys.executable, "-c", ROUTER, SLEEPER, stdout=asyncio.subprocess.PIPE, env={**os.environ, "TMPDIR": short}
        )
        pid, path = (await router.stdout.readline()).decode().split()
        guardian = psutil.Process(int(pid)).ppid()
        for process in (guardian, router.pid):  # stopped first, so that neither cleans up after the other
            os.kill(process, signal.SIGSTOP)
        for process in (guardian, router.pid):
            os.kill(process, signal.SIGKILL)
        await router.wait()
        left = Path(path).parent
        assert left.is_dir()
        living = await Child.start("engine", python(SLEEPER))
        other = await Child.start("engine", python(SLEEPER))
        assert list(Path(short).iterdir()) != []
        assert not left.exists()
        assert os.path.isdir(os.path.dirname(living.socket_path))
        await living.stop(0)
        await other.stop(0)
        assert list(Path(short).iterdir()) == []


async def test_a_temporary_folder_with_a_long_path_is_passed_over(start, tmp_path, monkeypatch):
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    child = await start(SLEEPER)
    assert len(child.socket_path) <= MAX_SOCKET_PATH_BYTES
    assert list(deep.iterdir()) == []


async def test_a_socket_path_that_is_too_long_everywhere_is_refused_with_the_fix():
    with pytest.raises(LoadFailed, match=rf"{MAX_SOCKET_PATH_BYTES} bytes .*Set TMPDIR"):
        await Child.start("engine", python(SLEEPER), socket_name="x" * 120)

# ruff: noqa: ASYNC240, ASYNC230 -- looks at folders on the way; nothing else runs
import asyncio
import logging
import os
import signal
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from enginehouse_kit.process import child as module
from enginehouse_kit.process.child import LAST_WORDS, Child
from enginehouse_plugin.errors import EngineUnavailable, LoadFailed

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux: subreaper and PDEATHSIG")

SLEEPER = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SLEEPER
FORKER = """
import os, sys, time, signal
own = os.fork()
if not own:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)
print("group", own, flush=True)
if "leave" in sys.argv:
    apart = os.fork()
    if not apart:
        os.setsid()
        print("apart", os.getpid(), flush=True)
        time.sleep(600)
time.sleep(600)
"""


def python(code, *arguments):
    return lambda path: [sys.executable, "-I", "-S", "-c", code, path, *arguments]


def lives(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def until_gone(*pids):
    async with asyncio.timeout(30):
        while any(map(lives, pids)):  # noqa: ASYNC110  # no event tells of a stranger's process
            await asyncio.sleep(0.005)


class Log:
    """Collects lines and waits for one."""

    def __init__(self):
        self.lines = []

    def __call__(self, line):
        self.lines.append(line)

    async def find(self, start):
        async with asyncio.timeout(30):
            while True:
                for line in self.lines:
                    if line.text.startswith(start):
                        return line
                await asyncio.sleep(0.005)


@pytest.fixture
async def start():
    children = []

    async def start(argv, **fields):
        child = await Child.start("engine", argv, **fields)
        children.append(child)
        return child

    yield start
    for child in children:
        await child.stop(0)


async def test_the_socket_lies_in_a_private_folder_that_goes_with_the_process(start):
    child = await start(python(SLEEPER))
    folder = os.path.dirname(child.socket_path)
    assert os.stat(folder).st_mode & 0o777 == 0o700
    assert not os.path.exists(child.socket_path)
    assert lives(child.pid)
    with open(os.path.join(folder, "left behind"), "w"):
        pass
    os.mkdir(os.path.join(folder, "a folder"))
    await child.stop()
    assert not os.path.exists(folder)
    assert not lives(child.pid)


async def test_a_stopped_process_reports_that_it_was_asked(start):
    log = Log()
    child = await start(python(SLEEPER), on_log=log)
    await log.find("up")
    await child.stop()
    await child.stop()
    report = await child.wait_closed()
    assert (report.is_expected, report.signal, report.exit_code) == (True, signal.SIGTERM, None)
    assert report.last_words == ("up",)
    assert "SIGTERM, as asked" in report.reason


async def test_several_may_stop_and_wait_at_once(start):
    child = await start(python(SLEEPER))
    reports = await asyncio.gather(child.stop(), child.wait_closed(), child.stop(0), child.wait_closed())
    assert reports[1] == reports[3]


@pytest.mark.parametrize(
    ("code", "exit_code", "number"),
    [("raise SystemExit(3)", 3, None), ("", 0, None), ("import os; os.kill(os.getpid(), 11)", None, signal.SIGSEGV)],
)
async def test_a_process_that_ends_itself_is_reported_as_it_went(start, code, exit_code, number):
    child = await start(python(code))
    report = await child.wait_closed()
    assert (report.is_expected, report.exit_code, report.signal) == (False, exit_code, number)
    assert not os.path.exists(os.path.dirname(child.socket_path))


async def test_a_process_that_ignores_sigterm_is_killed(start):
    log = Log()
    child = await start(python(STUBBORN), on_log=log)
    await log.find("up")
    await child.stop(0.05)
    assert (await child.wait_closed()).signal == signal.SIGKILL


@pytest.mark.parametrize("end", ["stop", "killed", "exited"])
async def test_the_whole_group_ends_with_the_engine(start, end):
    log = Log()
    child = await start(python(FORKER), on_log=log)
    grandchild = int((await log.find("group")).text.split()[1])
    if end == "stop":
        await child.stop()
    else:
        os.kill(child.pid, signal.SIGKILL if end == "killed" else signal.SIGTERM)
    await child.wait_closed()
    await until_gone(grandchild)


@linux_only
async def test_a_grandchild_that_left_the_group_ends_too(start):
    log = Log()
    child = await start(python(FORKER, "leave"), on_log=log)
    pids = [int((await log.find(kind)).text.split()[1]) for kind in ("group", "apart")]
    await child.stop()
    await until_gone(*pids)


@linux_only
async def test_the_engine_ends_when_its_guardian_is_killed(start):
    log = Log()
    child = await start(python(FORKER), on_log=log)
    grandchild = int((await log.find("group")).text.split()[1])
    guardian = psutil.Process(child.pid).ppid()
    assert guardian != os.getpid()
    os.kill(guardian, signal.SIGKILL)
    report = await child.wait_closed()
    assert not report.is_expected
    assert "guardian" in report.reason
    await until_gone(child.pid, grandchild)
    assert not os.path.exists(os.path.dirname(child.socket_path))


async def test_a_guardian_that_gets_sigterm_ends_the_engine(start):
    child = await start(python(SLEEPER))
    os.kill(psutil.Process(child.pid).ppid(), signal.SIGTERM)
    assert (await child.wait_closed()).signal == signal.SIGTERM


ROUTER = """
import asyncio, sys
from enginehouse_kit.process.child import Child
async def main():
    child = await Child.start("engine", lambda path: [sys.executable, "-I", "-S", "-c", sys.argv[1], path],
                              on_log=lambda line: print(line.text, flush=True))
    print("engine", child.pid, child.socket_path, flush=True)
    await child.wait_closed()
asyncio.run(main())
"""


async def test_a_router_that_is_killed_leaves_nobody():
    router = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ROUTER, FORKER, stdout=asyncio.subprocess.PIPE, start_new_session=True
    )
    found = {}
    while len(found) < 2:
        words = (await router.stdout.readline()).decode().split()
        found[words[0]] = words[1:]
    engine, grandchild = int(found["engine"][0]), int(found["group"][0])
    guardian = psutil.Process(engine).ppid()
    os.kill(router.pid, signal.SIGKILL)
    await router.wait()
    await until_gone(engine, grandchild, guardian)
    assert not os.path.exists(os.path.dirname(found["engine"][1]))


async def test_ctrl_c_of_a_terminal_does_not_reach_the_engine(start):
    child = await start(python(SLEEPER))
    guardian = psutil.Process(child.pid).ppid()
    groups = {os.getpgid(0), os.getpgid(guardian), os.getpgid(child.pid)}
    assert len(groups) == 3
    assert os.getsid(child.pid) == child.pid


# ---- starting ----


async def test_a_program_that_is_not_there_says_so():
    with pytest.raises(LoadFailed, match=r"engine: '/no/such/program' cannot be started: No such file") as failed:
        await Child.start("engine", lambda path: ["/no/such/program", path])
    assert not failed.value.retryable


async def test_a_working_folder_that_is_not_there_says_so(tmp_path):
    with pytest.raises(LoadFailed, match="gone"):
        await Child.start("engine", python(SLEEPER), cwd=str(tmp_path / "gone"))


async def test_a_failed_start_leaves_no_folder(monkeypatch):
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        monkeypatch.setattr(tempfile, "tempdir", short)
        with pytest.raises(LoadFailed):
            await Child.start("engine", lambda path: ["/no/such/program", path])
        with pytest.raises(LoadFailed):
            await Child.start("engine", python(SLEEPER), cwd="/no/such/folder")
        with pytest.raises(ZeroDivisionError):
            await Child.start("engine", lambda path: 1 // 0)
        assert list(Path(short).iterdir()) == []


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 5, 8, 13])
async def test_a_cancelled_start_leaves_no_process(steps):
    me = psutil.Process()
    before = {process.pid for process in me.children(recursive=True)}
    starting = asyncio.ensure_future(Child.start("engine", python(SLEEPER)))
    for _ in range(steps):
        await asyncio.sleep(0)
    starting.cancel()
    try:
        child = await starting
    except asyncio.CancelledError:
        pass
    else:
        await child.stop(0)
    await until_gone(*({process.pid for process in me.children(recursive=True)} - before))


async def test_the_environment_is_added_to_and_nothing_else_is_inherited(start, monkeypatch):
    monkeypatch.setenv("KIT_INHERITED", "1")
    log = Log()
    code = (
        "import os; print('env', os.environ['KIT_INHERITED'], os.environ['KIT_ADDED'], flush=True);"
        "print('fds', sorted(f for f in map(int, os.listdir('/dev/fd')) if f > 2 and os.path.exists(f'/dev/fd/{f}')))"
    )
    child = await start(python(code), env={"KIT_ADDED": "2"}, on_log=log)
    await child.wait_closed()
    assert child.last_words == ("env 1 2", "fds []")


# ---- readiness ----


async def no():
    return False


async def test_ready_is_when_the_question_says_so(start):
    answers = iter([False, EngineUnavailable("not up"), TimeoutError(), True])

    async def is_ready():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    child = await start(python(SLEEPER))
    await child.wait_ready(is_ready, timeout_s=30, poll_s=0.001)
    assert next(answers, None) is None
    assert lives(child.pid)


async def test_a_process_that_dies_while_loading_fails_with_its_last_words(start):
    child = await start(python("import sys; print('no such tensor'); sys.exit('bad weights')"))
    with pytest.raises(LoadFailed, match="exit code 1 while loading") as failed:
        await child.wait_ready(no, timeout_s=60, poll_s=60)
    assert set(failed.value.last_words) == {"no such tensor", "bad weights"}


async def test_a_question_that_never_returns_does_not_hide_the_death(start):
    child = await start(python("print('bye')"))
    with pytest.raises(LoadFailed, match="exit code 0"):
        await child.wait_ready(asyncio.Event().wait, timeout_s=60)


async def test_a_process_that_is_not_ready_in_time_is_ended(start):
    log = Log()
    child = await start(python(STUBBORN), on_log=log)
    await log.find("up")
    with pytest.raises(LoadFailed, match=r"not ready after 0\.02 s") as failed:
        await child.wait_ready(no, timeout_s=0.02, poll_s=0.001)
    assert failed.value.last_words == ("up",)
    assert not lives(child.pid)


async def test_cancelling_the_wait_ends_the_process(start):
    child = await start(python(STUBBORN))
    waiting = asyncio.ensure_future(child.wait_ready(no, timeout_s=60))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not lives(child.pid)


# ---- log ----


async def test_both_streams_are_logged_in_lines_with_levels(start):
    log = Log()
    code = r"""
import sys
print("plain")
print("WARNING: hot", flush=True)
sys.stderr.write("\x1b[31mERROR\x1b[0m bad\n")
sys.stderr.write("10%\r50%\r100%\n")
sys.stdout.buffer.write(b"\xff broken\n\n   \nunended")
"""
    child = await start(python(code), on_log=log)
    await child.wait_closed()
    assert [(line.level, line.text) for line in log.lines] == [
        ("info", "plain"),
        ("warning", "WARNING: hot"),
        ("error", "ERROR bad"),
        ("info", "10%"),
        ("info", "50%"),
        ("info", "100%"),
        ("info", "\ufffd broken"),
        ("info", "unended"),
    ]


async def test_a_flood_of_output_never_blocks_the_engine_and_the_last_lines_are_kept(start):
    child = await start(python("for i in range(50000): print('line', i)\nprint('x' * 1000000)\nprint('end')"))
    assert (await child.wait_closed()).exit_code == 0
    assert len(child.last_words) == LAST_WORDS
    assert child.last_words[-1] == "end"
    assert child.last_words[-3] == "line 49999"
    assert len(child.last_words[-2]) < 10_000


async def test_an_observer_that_raises_stops_nothing(start, caplog):
    def fails(line):
        raise RuntimeError("observer")

    with caplog.at_level(logging.CRITICAL + 1, logger=module.__name__):
        child = await start(python("print('a'); print('b')"), on_log=fails)
        await child.wait_closed()
    assert child.last_words == ("a", "b")


@linux_only
async def test_a_process_that_keeps_the_log_open_does_not_hold_up_the_report(start, monkeypatch):
    """Whoever got the pipe by other ways than descent is not ended, and may keep it."""
    monkeypatch.setattr(module, "_LOG_DRAIN_S", 0.01)
    log = Log()
    child = await start(python(SLEEPER), on_log=log)
    await log.find("up")
    held = os.open(f"/proc/{child.pid}/fd/1", os.O_WRONLY)
    try:
        await child.stop()
        assert (await child.wait_closed()).is_expected
    finally:
        os.close(held)
        await asyncio.sleep(0.01)

"""Runs of the suite that a server starts: one at a time, their progress, their reports, their end."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from enginehouse.certificates import ReportNotFound, Run, RunNotPossible, Runs, runs

HEAD = {
    "started_at": "2026-01-01T00:00:00Z",
    "duration_s": 1.5,
    "selection": "quick",
    "summary": {"conforms": "yes"},
    "target": {"model": "m"},
    "results": [],
}
WRITES = f"""
import pathlib, sys
folder = pathlib.Path(sys.argv[sys.argv.index("--report") + 1])
folder.mkdir()
(folder / "report.json").write_text({json.dumps(json.dumps(HEAD))})
print("loading: weights", "[  3/20] pass CH1", "[ 20/20] pass CH2", sep="\\n", file=sys.stderr)
"""
WAITS = "import sys, time; print('[ 1/9] pass', file=sys.stderr, flush=True); time.sleep(60)"

SERVER = """
import asyncio, sys
from pathlib import Path
from enginehouse.certificates import Runs, runs
runs._COMMAND = "import os, sys, time; print(os.getpid(), file=sys.stderr, flush=True); time.sleep(600)"
async def main():
    those = Runs("house.toml", Path(sys.argv[1]), None)
    run = await those.start("m", quick=True)
    while not run.lines:
        await asyncio.sleep(0.01)
    print(run.lines[0], flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], tuple[Runs, list[int]]]:
    def make(program: str) -> tuple[Runs, list[int]]:
        monkeypatch.setattr(runs, "_COMMAND", program)
        ended: list[int] = []

        async def end() -> None:
            ended.append(1)

        return Runs("house.toml", tmp_path / "reports", end), ended

    return make


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_run_is_followed_and_its_report_kept(made: Callable[[str], tuple[Runs, list[int]]]) -> None:
    those, ended = made(WRITES)
    run = await those.start("m", quick=True)
    await until(lambda: run.state != "running")
    assert ended == [1]
    assert (run.state, run.done, run.total, run.selection) == ("certified", 20, 20, "quick")
    assert run.lines[0] == "loading: weights"
    (kept,) = those.reports()
    assert (kept.name, kept.model, kept.duration_s) == (run.report, "m", 1.5)
    assert json.loads(those.file(kept.name, "report.json")) == HEAD
    for name, file in ((kept.name, "../x"), (kept.name, "badge.svg"), ("..", "report.json"), ("none", "report.json")):
        with pytest.raises(ReportNotFound):
            those.file(name, file)


async def test_one_at_a_time_and_it_can_be_stopped(made: Callable[[str], tuple[Runs, list[int]]]) -> None:
    those, ended = made(WAITS)
    run = await those.start("m", quick=False)
    await until(lambda: run.done == 1)
    with pytest.raises(RunNotPossible):
        await those.start("m", quick=True)
    those.stop()
    await until(lambda: ended == [1])
    assert (run.state, run.report) == ("stopped", None)
    await those.close()


async def test_of_two_orders_at_once_one_is_a_run(made: Callable[[str], tuple[Runs, list[int]]]) -> None:
    those, _ = made(WAITS)
    given = await asyncio.gather(those.start("m", quick=True), those.start("m", quick=True), return_exceptions=True)
    assert [type(one) for one in given] == [Run, RunNotPossible]
    await those.close()
    with pytest.raises(RunNotPossible):
        await those.start("m", quick=True)


async def test_a_run_that_does_not_hear_is_ended(
    made: Callable[[str], tuple[Runs, list[int]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "_STOP_S", 0.1)
    those, ended = made("import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + WAITS)
    run = await those.start("m", quick=True)
    await until(lambda: run.done == 1)
    those.stop()
    await until(lambda: ended == [1])
    assert run.state == "stopped"
    await those.close()


async def test_a_run_has_ended_whatever_comes_of_it(
    made: Callable[[str], tuple[Runs, list[int]]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def breaks() -> None:
        raise OSError

    made(WRITES)
    those = Runs(None, tmp_path / "reports", breaks)
    run = await those.start("m", quick=True)
    await until(lambda: run.state != "running")
    assert run.state == "certified"


async def test_a_run_that_fails_says_so_and_the_end_of_the_server_is_its_end(
    made: Callable[[str], tuple[Runs, list[int]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    those, ended = made("import sys; sys.exit('Error: no such model' + 1000 * 'x')")
    run = await those.start("m", quick=True)
    await until(lambda: run.state != "running")
    assert ended == [1]
    assert run.state == "failed"
    assert run.lines[0].startswith("Error: no such model")
    assert len(run.lines[0]) == 300
    monkeypatch.setattr(runs, "_COMMAND", WAITS)
    run = await those.start("m", quick=True)
    await until(lambda: run.done == 1)
    await those.close()
    assert run.state == "stopped"


async def test_a_run_ends_with_a_server_that_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SERVER, str(tmp_path)]
    server = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert server.stdout is not None
    pid = int(await server.stdout.readline())
    assert psutil.pid_exists(pid)
    server.kill()
    await server.communicate()
    await until(lambda: not psutil.pid_exists(pid))


async def test_only_the_last_reports_are_kept(made: Callable[[str], tuple[Runs, list[int]]], tmp_path: Path) -> None:
    those, ended = made(WRITES)
    for day in range(1, 26):
        folder = tmp_path / "reports" / f"202501{day:02}T000000-0000"
        folder.mkdir(parents=True)
        (folder / "report.json").write_text("no report")
    run = await those.start("m", quick=True)
    await until(lambda: run.state != "running")
    assert ended == [1]
    names = sorted(one.name for one in (tmp_path / "reports").iterdir())
    assert (len(names), names[-1], names[0]) == (20, run.report, "20250107T000000-0000")
    assert [one.name for one in those.reports()] == [run.report], "what is no report is not shown"

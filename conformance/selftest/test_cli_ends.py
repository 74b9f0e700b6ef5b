"""How long a run will go on, and what it leaves when it is ended from outside."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time

import pytest

from conformance_stub import Behaviour
from enginehouse_conformance.cli.estimate import Estimate
from enginehouse_conformance.cli.progress import Lines
from enginehouse_conformance.results import Result as Outcome
from enginehouse_conformance.rules import RULES
from enginehouse_conformance.verdicts import Verdict

from .test_cli import program


class StopsInTheMiddle(Behaviour):
    """Two stop strings are never answered."""

    async def events(self, events, request):
        if len(request.stop) > 1:
            await asyncio.sleep(600)
        async for event in super().events(events, request):
            yield event


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_ended_from_outside_says_and_writes_what_is_known_so_far(sign, code, stub, tmp_path) -> None:
    child = subprocess.Popen(
        program(
            *("run", stub(StopsInTheMiddle()).url, "--model", "stub-1", "--concurrency", "1"),
            *("--rules", "ENV1,ENV2,STOP2,STOP5,S1", "--report", str(tmp_path)),
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job has it ignored
    )
    try:
        assert child.stderr is not None
        assert [child.stderr.readline().split()[2] for _ in range(2)] == ["ENV1", "ENV2"]
        child.send_signal(sign)
        out, err = child.communicate(timeout=120)
    finally:
        child.kill()
        child.wait()
    assert child.returncode == code
    assert "Traceback" not in out + err
    assert f"The run was cut short: interrupted by {sign.name} after 2 of 5 rules" in out
    assert "No verdict whether stub-1 conforms" in out
    assert "must 2/" in out
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["fault"] == f"interrupted by {sign.name} after 2 of 5 rules"
    assert report["summary"]["partial"]
    found = {result["rule"]: result["verdict"] for result in report["results"]}
    assert found["ENV1"] == found["ENV2"] == "pass"
    assert found["S1"] == "not_applicable"
    assert found["STOP5"] == "error"
    assert (tmp_path / "report.html").exists()


def test_an_interruption_before_there_is_an_answer_is_told(serve) -> None:
    async def silent(reader, writer):
        await reader.read()

    child = subprocess.Popen(
        program("run", serve(silent), "--model", "m"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not is_connected(child.pid):
            time.sleep(0.05)
        child.send_signal(signal.SIGTERM)
        out, err = child.communicate(timeout=120)
    finally:
        child.kill()
        child.wait()
    assert child.returncode == 143
    assert b"nothing was asked" in out
    assert b"Traceback" not in err


def is_connected(pid: int) -> bool:
    """Whether the process has a connection open, so that it is inside its run."""
    import psutil

    return bool(psutil.Process(pid).net_connections())


def test_an_estimate_counts_what_is_done_and_weighs_what_runs_alone() -> None:
    rules = [RULES[name] for name in ("ENV1", "ENV2", "ISO1")]
    now = [100.0]
    estimate = Estimate(rules, lambda: now[0])
    assert estimate.words() == "0 of 3 rules after 0:00"
    now[0] += 30
    estimate.done("ENV1")
    assert estimate.words() == "1 of 3 rules after 0:30, about 2:30 left"
    estimate.done("ENV2")
    estimate.done("ISO1")
    assert estimate.words() == "3 of 3 rules after 0:30"


def test_now_and_then_a_line_tells_how_long_it_will_go_on(capsys) -> None:
    rules = [RULES[name] for name in ("ENV1", "ENV2", "ENV3", "ENV4")]
    now = [0.0]
    lines = Lines(rules, Estimate(rules, lambda: now[0]))
    for rule, at in zip(rules, (1.0, 20.0, 25.0, 90.0), strict=True):
        now[0] = at
        lines.result(Outcome(rule=rule.id, level="MUST", verdict=Verdict.PASS))
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("--")]
    assert told == ["-- 2 of 4 rules after 0:20, about 0:20 left"]

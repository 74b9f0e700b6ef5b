"""An engine behind two servers honours what it honours behind one, and what is worse there is told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from tests.conformance.engines import REPORTS
from tests.conformance.through import worse
from tests.docs.fenced import ROOT

from enginehouse_conformance import Verdict, read_report


@pytest.mark.engine
def test_no_verdict_is_worse_through_an_upstream_or_a_host(tmp_path: Path) -> None:
    words = ["--rules", "ENV*,BIAS1,STOP1,LP1,ANT70", "--time-scale", "20", "--into", str(tmp_path)]
    argv = [sys.executable, "-m", "tests.conformance.through", *words]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    for way in ("direct", "upstream", "host"):
        summary = read_report(tmp_path / way / "report.json").summary
        assert summary.must.passed == summary.must.total >= 10


def test_what_is_worse_is_told_and_what_fails_directly_too_is_not() -> None:
    direct = read_report(REPORTS / "llamacpp-tiny-http/report.json")
    must = [result for result in direct.results if result.level == "MUST"]
    passed = [result.rule for result in must if result.verdict is Verdict.PASS]
    apart = next(result.rule for result in must if result.verdict is Verdict.NOT_APPLICABLE)

    def told(verdicts: dict[str, Verdict], of_direct: dict[str, Verdict] | None = None) -> list[tuple[str, str]]:
        def changed(by: dict[str, Verdict]) -> list:
            return [msgspec.structs.replace(one, verdict=by.get(one.rule, one.verdict)) for one in direct.results]

        first = msgspec.structs.replace(direct, results=changed(of_direct or {}))
        second = msgspec.structs.replace(direct, results=changed({**(of_direct or {}), **verdicts}))
        return [(one.rule, one.through) for one in worse({"direct": first, "host": second})]

    assert told({}) == []
    assert told({passed[0]: Verdict.FAIL}) == [(passed[0], "fail")]
    assert told({passed[0]: Verdict.UNSUPPORTED}) == [(passed[0], "unsupported")]
    assert told({apart: Verdict.FAIL}) == [(apart, "fail")]
    assert told({apart: Verdict.PASS}) == []
    assert told({passed[0]: Verdict.ERROR}, {passed[0]: Verdict.FAIL}) == []

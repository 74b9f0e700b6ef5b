"""The suite inside an author's own tests: two small files, run by pytest as the author would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest

CONFTEST = """
import pytest
from enginehouse_conformance.declared import Declared
from conformance_stub import Behaviour, stub_backend
from enginehouse_conformance.targets import BackendTarget
from enginehouse_plugin import Placement, Started

class {behaviour}(Behaviour):
    "The stub without its first event."
    async def events(self, events, request):
        async for event in super().events(events, request):
            if not isinstance(event, Started) or type(self) is Behaviour:
                yield event

@pytest.fixture(scope="session")
def conformance_target():
    placement = Placement(model="stub-1", backend="stub", source="toy")
    return BackendTarget(stub_backend({behaviour}()), placement)
"""
SUITE = """
from enginehouse_conformance.suite import ConformanceSuite

class TestConformance(ConformanceSuite):
    rules = ("ENV1", "SSE6", "SSE11", "S1")
    {body}
"""


def run(
    folder: Path, *words: str, behaviour="Behaviour", body="", conftest=CONFTEST
) -> tuple[dict[str, str], str, int]:
    """Outcome and message per test, what pytest said, its exit code."""
    if conftest:
        (folder / "conftest.py").write_text(conftest.format(behaviour=behaviour))
    (folder / "test_conformance.py").write_text(SUITE.format(body=body))
    command = [sys.executable, "-W", "error", "-m", "pytest", "-p", "enginehouse_conformance.pytest_plugin"]
    command += ["-p", "no:cacheprovider", "-W", "error", "--junitxml=out.xml", *words]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # the other plugins of this environment take seconds
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=env)
    assert (folder / "out.xml").exists(), done.stdout + done.stderr
    outcomes = {}
    for case in ElementTree.parse(folder / "out.xml").iter("testcase"):
        rule = (case.get("name") or "").removeprefix("test_rule[").removesuffix("]")
        outcomes[rule] = next(
            (outcome.get("type") or outcome.tag for outcome in case if outcome.tag != "properties"), "passed"
        )
    return outcomes, done.stdout + done.stderr, done.returncode


def test_installing_the_suite_installs_the_plugin(pytestconfig) -> None:
    assert pytestconfig.pluginmanager.has_plugin("enginehouse_conformance")


def test_two_files_give_a_test_for_each_rule(tmp_path) -> None:
    outcomes, said, code = run(tmp_path)
    assert code == 0, said
    assert outcomes == {"ENV1": "pytest.skip", "SSE6": "passed", "SSE11": "passed", "S1": "passed"}


def test_a_failure_shows_what_was_expected_and_seen(tmp_path) -> None:
    outcomes, said, code = run(tmp_path, behaviour="NeverStarts")
    assert code == 1
    assert outcomes["S1"] == "failure"
    assert "FAIL S1 (MUST)" in said
    assert "expected: " in said
    assert "Traceback" not in said


def test_an_expected_failure_is_no_failure(tmp_path) -> None:
    outcomes, said, code = run(
        tmp_path, "-rx", behaviour="NeverStarts", body='expected_failures = {"S1": "no Started"}'
    )
    assert code == 0, said
    assert outcomes["S1"] == "pytest.xfail"
    assert "no Started" in said


def test_an_unexpected_pass_of_a_rule_listed_as_expected_failure_fails(tmp_path) -> None:
    outcomes, said, code = run(tmp_path, body='expected_failures = {"SSE6": "it was broken once"}')
    assert code == 1
    assert outcomes["SSE6"] == "failure"
    assert "SSE6 is expected to fail (it was broken once), but it passes." in said


@pytest.mark.parametrize(
    ("body", "said_part"),
    [
        ('expected_failures = {"SSE66": "a slip"}', "no rule is meant by 'SSE66'"),
        ('expected_failures = {"SSE6": ""}', "needs a reason"),
        ('profile = "nobody"', "no profile is called 'nobody'"),
        ('skip = {"QQ1": "a slip"}', "no rule is meant by 'QQ1'"),
        ('rules = ()\n    profile = "krosai"\n    expected_failures = {"SSE6": "no streams"}', "has no SSE6"),
    ],
)
def test_what_does_not_exist_is_named_when_tests_are_collected(body, said_part, tmp_path) -> None:
    _, said, code = run(tmp_path, body=body)
    assert code == 2
    assert said_part in said


def test_a_disabled_rule_is_skipped(tmp_path) -> None:
    outcomes, _, code = run(tmp_path, behaviour="NeverStarts", body='skip = {"S1": "not now"}')
    assert code == 0
    assert outcomes["S1"] == "pytest.skip"


def test_only_the_selected_rules_run_and_are_reported(tmp_path) -> None:
    _, said, code = run(tmp_path, "-k", "SSE6", "--conformance-report", "out", "--conformance-seed", "9")
    assert code == 0, said
    report = json.loads((tmp_path / "out" / "TestConformance" / "report.json").read_text())
    assert [result["rule"] for result in report["results"]] == ["SSE6"]
    assert report["seed"] == 9
    assert report["reproduce"] == "pytest 'test_conformance.py::TestConformance' --conformance-seed 9"


READS_NO_BLANKS = """
import pytest
from conformance_stub.small import SmallInstance, small_backend
from enginehouse_conformance.targets import BackendTarget
from enginehouse_plugin import Placement

@pytest.fixture(scope="session")
def conformance_target():
    return BackendTarget(small_backend(SmallInstance()), Placement(model="m", backend="small", source="toy"))
"""


@pytest.mark.parametrize(("must_judge", "outcome", "ends"), [(False, "pytest.skip", 0), (True, "failure", 1)])
def test_a_rule_without_a_verdict_is_told_and_fails_only_who_asks_for_it(must_judge, outcome, ends, tmp_path) -> None:
    (tmp_path / "conftest.py").write_text(READS_NO_BLANKS)
    body = f'rules = ("MSG33", "S1")\n    must_judge = {must_judge}'
    outcomes, said, code = run(tmp_path, body=body, conftest="")
    assert (outcomes, code) == ({"MSG33": outcome, "S1": "passed"}, ends), said
    assert ("conformance: rules without a verdict" in said) is not must_judge
    assert "MSG33" in said


def test_a_backend_that_does_not_load_fails_every_test_with_the_reason(tmp_path) -> None:
    conftest = """
import msgspec, pytest
from enginehouse_conformance.targets import BackendTarget
from enginehouse_plugin import Backend, BackendType, Placement
from enginehouse_plugin.errors import LoadFailed

class Broken(Backend):
    async def probe(self): ...
    async def load(self, placement, devices, progress):
        raise LoadFailed("the weights are sour")

@pytest.fixture(scope="session")
def conformance_target():
    kind = BackendType(name="broken", version="1", create=Broken, options=msgspec.Struct)
    return BackendTarget(kind, Placement(model="m", backend="broken", source="s"))
"""
    (tmp_path / "conftest.py").write_text(conftest)
    outcomes, said, code = run(tmp_path, conftest="")
    assert code == 1
    assert Counter(outcomes.values()) == {"failure": 3, "pytest.skip": 1}
    assert "the weights are sour" in said


def test_a_mistake_in_the_target_ends_in_errors_and_not_in_waiting(tmp_path) -> None:
    conftest = CONFTEST.replace("stub_backend({behaviour}())", "object()")
    outcomes, said, code = run(tmp_path, conftest=conftest)
    assert code == 1
    assert set(outcomes.values()) == {"failure"}
    assert "AttributeError" in said


def test_without_a_target_the_two_ways_to_give_one_are_named(tmp_path) -> None:
    _, said, code = run(tmp_path, conftest="")
    assert code == 1
    assert "conformance_target" in said
    assert "--conformance-url" in said


def test_a_url_can_be_the_target(stub, tmp_path) -> None:
    server = stub(key="k")
    (tmp_path / "f.toml").write_text("keys = true\n")
    os.environ["CONFORMANCE_TEST_KEY"] = "k"
    try:
        outcomes, said, code = run(
            tmp_path, "--conformance-url", server.url, "--conformance-model", "stub-1",
            "--conformance-key-env", "CONFORMANCE_TEST_KEY", "--conformance-features", "f.toml", conftest="",
        )  # fmt: skip
    finally:
        del os.environ["CONFORMANCE_TEST_KEY"]
    assert code == 0, said
    assert outcomes == {"ENV1": "passed", "SSE6": "passed", "SSE11": "passed", "S1": "pytest.skip"}


@pytest.mark.parametrize(("scale", "outcome"), [("1", "passed"), ("0.1", "failure")])
def test_times_that_rules_allow_can_be_scaled(scale, outcome, tmp_path) -> None:
    """A backend that needs 0.4 s to let go of a request, where the rule gives it two."""
    conftest = """
import asyncio, pytest
from conformance_stub import Behaviour, stub_backend
from enginehouse_conformance.targets import BackendTarget
from enginehouse_plugin import Placement

class Lingers(Behaviour):
    async def events(self, events, request):
        try:
            async for event in super().events(events, request):
                yield event
        except (GeneratorExit, asyncio.CancelledError):
            await asyncio.sleep(0.4)
            raise

@pytest.fixture(scope="session")
def conformance_target():
    return BackendTarget(stub_backend(Lingers()), Placement(model="stub-1", backend="stub", source="toy"))
"""
    (tmp_path / "conftest.py").write_text(conftest)
    words = ("--conformance-time-scale", scale, "--conformance-report", "out")
    outcomes, said, _ = run(tmp_path, *words, body='rules = ("C1",)', conftest="")
    assert outcomes == {"C1": outcome}, said
    report = json.loads((tmp_path / "out" / "TestConformance" / "report.json").read_text())
    assert report["reproduce"].endswith(f"--conformance-time-scale {scale}")
    assert report["results"][0].get("notes", []) == (
        ["the target has 0.1 times as long as the rule says"] if scale != "1" else []
    )

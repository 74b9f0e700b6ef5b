"""The class that makes the suite part of a backend's own tests.

Two files are all that an author writes. `conftest.py` says what is tested:

    @pytest.fixture(scope="session")
    def conformance_target():
        return BackendTarget(BACKEND, Placement(model="m", backend="mine", source="weights.bin"))

`test_conformance.py` says what is expected of it:

    class TestConformance(ConformanceSuite):
        expected_failures = {"RF9": "references are not resolved yet"}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import pytest

from .background import BackgroundRun
from .report.text import details
from .results import Result
from .rules import PROFILES, Rule
from .runner import Options, selected_rules
from .selection import SelectionError, select, skips
from .verdicts import Verdict

_SKIPPED = (Verdict.UNSUPPORTED, Verdict.NOT_APPLICABLE, Verdict.DISABLED)


class ConformanceSuite:
    """A test for each rule of `profile`, on the fixture `conformance_target`. Subclass it, with `Test` in the name.

    Every failure fails its test, whatever the level of the rule, and so does an `error`; it is either mended or listed
    in `expected_failures` with the reason. A rule listed there that passes fails its test too. What does not apply to
    the target is skipped. So is what is `inconclusive`, which says nothing against the target, and pytest's summary
    names it with its reason; with `must_judge` it fails its test. `skip` leaves rules out.
    Names are ids, sections or patterns. `time_scale` multiplies what rules give the target to do something in, and
    every time limit: for machines that do other work meanwhile. A report notes it.
    """

    profile: ClassVar[str] = "openai"
    rules: ClassVar[tuple[str, ...]] = ()
    quick: ClassVar[bool] = False
    expected_failures: ClassVar[Mapping[str, str]] = {}
    skip: ClassVar[Mapping[str, str]] = {}
    concurrency: ClassVar[int] = 4
    check_timeout_s: ClassVar[float] = 120.0
    time_scale: ClassVar[float] = 1.0
    must_judge: ClassVar[bool] = False

    @classmethod
    def options(
        cls, *, seed: int = 0, only: frozenset[str] | None = None, time_scale: float | None = None, reproduce: str = ""
    ) -> Options:
        """How to run the rules of this class, or of them the rules *only*.

        Raises:
            SelectionError: the class names what does not exist.
        """
        if cls.profile not in PROFILES:
            raise SelectionError(f"profile: no profile is called '{cls.profile}'. There is {', '.join(PROFILES)}.")
        return Options(
            profile=cls.profile,
            seed=seed,
            only=only if only is not None else (select(cls.rules) if cls.rules else None),
            quick=cls.quick,
            skip=skips(dict(cls.skip), "skip"),
            concurrency=cls.concurrency,
            check_timeout_s=cls.check_timeout_s,
            time_scale=cls.time_scale if time_scale is None else time_scale,
            reproduce=reproduce,
        )

    @classmethod
    def expected(cls) -> dict[str, str]:
        """The rules that are expected to fail, with the reasons.

        Raises:
            SelectionError: one of them does not exist, or has no reason.
        """
        return skips(dict(cls.expected_failures), "expected_failures")

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """A test for each rule."""
        if "conformance_rule" not in metafunc.fixturenames:
            return
        try:
            rules = selected_rules(self.options())
            strangers = self.expected().keys() - {rule.id for rule in rules}
        except SelectionError as exc:
            raise pytest.Collector.CollectError(f"{type(self).__name__}: {exc}") from exc
        if strangers and not self.rules and not self.quick:
            raise pytest.Collector.CollectError(
                f"{type(self).__name__}: expected_failures: the profile {self.profile} has no {', '.join(strangers)}"
            )
        metafunc.parametrize("conformance_rule", rules, ids=[rule.id for rule in rules])

    def test_rule(self, conformance_rule: Rule, conformance_run: BackgroundRun) -> None:
        """The target does what the rule requires."""
        known = self.expected().get(conformance_rule.id)
        judge(conformance_run.result(conformance_rule.id), known, must_judge=self.must_judge)


def judge(result: Result, expected_failure: str | None, *, must_judge: bool) -> None:
    """End the running test as *result* says; *expected_failure* is the reason why a failure is known."""
    if result.verdict in _SKIPPED:
        pytest.skip(f"{result.verdict.value}: {result.message}")
    if result.verdict in (Verdict.PASS, Verdict.INFO):
        if expected_failure is not None:
            pytest.fail(f"{result.rule} is expected to fail ({expected_failure}), but it passes.", pytrace=False)
        return
    if expected_failure is not None:
        pytest.xfail(f"{expected_failure} ({result.verdict.value}: {result.message})")
    if result.provisional:
        pytest.xfail(f"the rule is provisional ({result.verdict.value}: {result.message})")
    if result.verdict is Verdict.INCONCLUSIVE and not must_judge:
        pytest.skip(f"{result.verdict.value}: {result.rule}: {result.message}")
    pytest.fail("\n".join(details(result, with_answer=True)), pytrace=False)

"""The pytest plugin: options, the fixture `conformance_target`, and the run behind a `ConformanceSuite`.

It is loaded into every pytest run of its environment, so it imports the suite only where that is used.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

if TYPE_CHECKING:
    from .background import BackgroundRun
    from .suite import ConformanceSuite
    from .targets import Target

_NO_TARGET = (
    "Nothing to test: write a fixture `conformance_target` in conftest.py, "
    "or give --conformance-url and --conformance-model."
)


_UNJUDGED = "inconclusive: "


def _scale(text: str) -> float:
    scale = float(text)
    if not 0 < scale < 1e6:
        raise ValueError(text)
    return scale


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("conformance", "conformance of chat-completions backends")
    group.addoption("--conformance-url", metavar="URL", help="test this URL where no conftest.py names a target")
    group.addoption("--conformance-model", metavar="ID", help="model to ask for at --conformance-url")
    group.addoption("--conformance-key-env", metavar="NAME", help="environment variable with the key for the URL")
    group.addoption("--conformance-features", metavar="FILE", help="TOML file with what the URL declares")
    group.addoption("--conformance-seed", type=int, default=0, metavar="N", help="seed of nonces and prompts")
    group.addoption(
        "--conformance-time-scale", type=_scale, metavar="X", help="multiply the times that rules allow by X"
    )
    group.addoption("--conformance-report", metavar="DIR", help="write the reports of class C into DIR/C")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which rules came to no verdict, and why: a skipped test is not seen unless somebody asks for it."""
    skipped = [report.longrepr for report in terminalreporter.stats.get("skipped", ())]
    reasons = [reason[2].removeprefix("Skipped: ") for reason in skipped if isinstance(reason, tuple)]
    unjudged = [reason for reason in reasons if reason.startswith(_UNJUDGED)]
    if unjudged:
        terminalreporter.section("conformance: rules without a verdict")
        for reason in unjudged:
            terminalreporter.line(reason)


@pytest.fixture(scope="session")
def conformance_target(request: pytest.FixtureRequest) -> Target:
    """What is tested; write a fixture of this name to test something of your own."""
    from .declared import DeclarationError, read_declared
    from .targets import UrlTarget

    url, model, path, variable = (
        request.config.getoption(f"--conformance-{name}") for name in ("url", "model", "features", "key-env")
    )
    if not url or not model:
        pytest.fail(_NO_TARGET, pytrace=False)
    try:
        declared = read_declared(Path(path)) if path else None
    except DeclarationError as exc:
        pytest.fail(f"--conformance-features: {exc}", pytrace=False)
    key = os.environ.get(variable) if variable else None
    return UrlTarget(url, model=model, key=key, declared=declared)


@pytest.fixture(scope="class")
def conformance_run(request: pytest.FixtureRequest, conformance_target: Target) -> Iterator[BackgroundRun]:
    """The run of the class's rules, of those that were selected."""
    from . import report as reports
    from .background import BackgroundRun
    from .runner import selected_rules

    suite = cast("type[ConformanceSuite]", request.cls)
    seed = int(request.config.getoption("--conformance-seed") or 0)
    mine = [item for item in request.session.items if isinstance(item, pytest.Function) and item.cls is suite]
    chosen = frozenset(item.callspec.id for item in mine if hasattr(item, "callspec"))
    time_scale = request.config.getoption("--conformance-time-scale")
    reproduce = f"pytest '{request.node.nodeid}' --conformance-seed {seed}"
    if time_scale is not None:
        reproduce += f" --conformance-time-scale {time_scale:g}"
    is_whole = not suite.rules and len(chosen) == len(selected_rules(suite.options()))
    only = None if is_whole else chosen
    options = suite.options(seed=seed, only=only, time_scale=time_scale, reproduce=reproduce)
    run = BackgroundRun(conformance_target, options)
    run.start()
    try:
        yield run
    finally:
        report = run.stop()
    folder = request.config.getoption("--conformance-report")
    if folder and report is not None:
        reports.write_report(report, Path(folder) / suite.__name__)

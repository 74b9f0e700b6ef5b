"""Chromium, and houses of a scripted engine that it looks at."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.integration.served import Served

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

KEY = "the-owner"
HOSTILE_NAME = '"><img src=x onerror=fell()><b>bold'
SCRIPTED = Path(__file__).parents[1] / "scripted/scripted_console.py"
AXE = Path(__file__).parents[3] / "router/console/node_modules/axe-core/axe.min.js"
MOST_BLOCKED_MS = 250
"""Of the router's loop: a browser with its many processes takes the cores from it."""
NEEDED = "needs Chromium: apt-get install chromium, or name one in ENGINEHOUSE_CHROMIUM"

MODELS = f"""
[budget]
limits = {{ cpu = "1GiB" }}
turn_s = 0.001
swaps_per_minute = 600

[models.small]
placements = [{{ backend = "scripted", source = "none" }}]

[models.large]
load = "first_request"
placements = [{{ backend = "scripted", source = "none", options = {{ mib = 600, load_s = 3.0 }} }}]

[models.larger]
load = "first_request"
placements = [{{ backend = "scripted", source = "none", options = {{ mib = 700, load_s = 3.0 }} }}]

[models.plain]
placements = [{{ backend = "scripted", source = "none", options = {{ features = [] }} }}]

[models.nowhere]
placements = [{{ backend = "scripted", source = "none", requires = ["cuda"] }}]

[models.'{HOSTILE_NAME}']
placements = [{{ backend = "scripted", source = "none" }}]
"""
OPEN = f"[server]\nport = 0\n{MODELS}"


def chromium() -> str | None:
    """The browser's program; None: there is none."""
    named = os.environ.get("ENGINEHOUSE_CHROMIUM")
    return named or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")  # while it is there, no test of the same process has an event loop
def browser() -> Iterator[Browser]:
    """Chromium, without a window."""
    program = chromium()
    if program is None:
        pytest.skip(NEEDED)
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=20_000)  # a busy machine draws late
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium as root has none
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=program, args=[*sandbox, "--disable-gpu"])
        yield made
        made.close()


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Served]]:
    """`start(config)` starts a server with the scripted engine; all are ended after the tests."""
    site = tmp_path_factory.mktemp("site")
    info = site / "enginehouse_scripted-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: enginehouse-scripted\nVersion: 0\n")
    (info / "entry_points.txt").write_text("[enginehouse.plugins]\nscripted = scripted_console\n")
    shutil.copy(SCRIPTED, site)
    running: list[Served] = []

    def begin(config: str) -> Served:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", str(site))
            running.append(Served(config, tmp_path_factory.mktemp("house"), most_blocked_ms=MOST_BLOCKED_MS))
        return running[-1].wait_ready()

    try:
        yield begin
    finally:
        for served in running:
            served.close()


@pytest.fixture(scope="module")
def house(start: Callable[[str], Served]) -> Served:
    """A house on loopback without keys."""
    return start(OPEN)


class Look:
    """A browser's context, with what went wrong in its pages."""

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self.problems: list[str] = []
        self.requested: list[str] = []
        self.allowed: tuple[str, ...] = ()
        context.on("request", lambda request: self.requested.append(request.url))
        context.on("console", self._said)
        context.on("weberror", lambda error: self.problems.append(f"error: {error.error}"))

    def _said(self, message: Any) -> None:
        if message.type in ("error", "warning") and not any(each in message.text for each in self.allowed):
            self.problems.append(f"{message.type}: {message.text}")

    def open(self, served: Served, place: str = "house") -> Page:
        """A page of the console at *place*."""
        page = self.context.new_page()
        page.set_default_navigation_timeout(30_000)
        page.set_default_timeout(20_000)
        page.goto(f"{served.url}/console#/{place}")
        return page

    def check(self) -> None:
        """Nothing went wrong, and nothing was asked of another origin."""
        assert self.problems == []
        hosts = {url.split("/")[2] for url in self.requested if not url.startswith(("data:", "blob:"))}
        assert len(hosts) <= 1, hosts


def violations(page: Page) -> list[str]:
    """What axe finds on *page*."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice']})")
    return [f"{one['id']}: {[node['html'][:200] for node in one['nodes'][:3]]}" for one in found["violations"]]


@pytest.fixture
def look(browser: Browser) -> Iterator[Look]:
    """A fresh browser of nobody, that must not have seen a problem in the end."""
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    made = Look(context)
    try:
        yield made
        made.check()
    finally:
        context.close()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go: ENGINEHOUSE_PICTURES, or a folder of the tests."""
    named = os.environ.get("ENGINEHOUSE_PICTURES")
    folder = Path(named) if named else tmp_path_factory.mktemp("pictures")
    folder.mkdir(parents=True, exist_ok=True)
    return folder

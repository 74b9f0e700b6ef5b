"""`make clients-all`: starts every client, and ends with a table of what each has done, and in which version.

A client that is not installed, or whose test did not pass, has done nothing: the table says so, and the exit code is 1.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from tests.integration.clients.shown import ABILITIES, FOLDER, SHAPES, SHOWN, versions

from enginehouse.cli.recipes import recipes

_TESTS = {
    "aider": "test_aider_",
    "home-assistant": "test_home_assistant_",
    "llm": "test_llm",
    "n8n": "test_n8n_",
    "open-webui": "test_open_webui",
}
"""By client, how its own tests begin; those that several share have its name in brackets."""


class Outcomes:
    """Hears how each test has ended."""

    def __init__(self) -> None:
        self.by_test: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """See pytest: of a test's three parts the one that is not passed counts."""
        name = report.nodeid.rpartition("::")[2]
        if report.outcome != "passed" or name not in self.by_test:
            self.by_test[name] = report.outcome

    def of(self, client: str) -> str:
        """How the client's tests have ended, the worst of them."""
        begins, ends = _TESTS.get(client, "test_"), "" if client in _TESTS else f"[{client}]"
        mine = {outcome for name, outcome in self.by_test.items() if name.startswith(begins) and name.endswith(ends)}
        return next((each for each in ("failed", "skipped", "passed") if each in mine), "not run")


def main() -> int:
    """Run the tests, and print the table."""
    heard = Outcomes()
    code = pytest.main(["-n0", "-q", "-rs", str(FOLDER), *sys.argv[1:]], plugins=[heard])
    print("\n".join(_table(heard)))
    is_whole = all(heard.of(name) == "passed" for name in (*SHOWN, *SHAPES))
    return int(code) or int(not is_whole and not sys.argv[1:])


def _table(heard: Outcomes) -> Iterator[str]:
    pinned = versions()
    rows = [("client", "version", "tests", *ABILITIES)]
    for name, recipe in recipes().items():
        outcome = heard.of(name)
        done = (SHOWN.get(name, frozenset()) | SHAPES.get(name, frozenset())) if outcome == "passed" else ()
        word = "yes" if name in SHOWN else "shape"
        cells = (word if each in done else "-" for each in ABILITIES)
        rows.append((recipe.title, pinned.get(recipe.package, "-"), outcome, *cells))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


if __name__ == "__main__":
    sys.exit(main())

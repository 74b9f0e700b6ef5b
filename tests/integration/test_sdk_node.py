"""The OpenAI SDK for Node, unmodified: the tests are in node/sdk.test.mjs and are reported here one by one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .served import MODEL, SLASHED, Served, locked

pytestmark = pytest.mark.engine

FOLDER = Path(__file__).parent / "node"
NAMES = re.findall(r'^test\("(.+)", ', (FOLDER / "sdk.test.mjs").read_text(), re.MULTILINE)
KEY = "the key of these tests"
_LINE = re.compile(r"^(?P<not>not )?ok \d+ - (?P<name>.+)$", re.MULTILINE)


def node() -> str:
    """The environment's own Node, else the machine's."""
    found = shutil.which("node", path=str(Path(sys.executable).parent)) or shutil.which("node")
    assert found is not None, "there is no Node: `make setup` installs it"
    assert (FOLDER / "node_modules" / "openai").is_dir(), "the SDK is not installed: `make setup` does that"
    return found


@pytest.fixture(scope="module")
def locked_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    served = Served(locked(KEY), tmp_path_factory.mktemp("locked"))
    yield served
    served.close()


@pytest.fixture(scope="module")
def report(server: Served, locked_server: Served) -> dict[str, tuple[bool, str]]:
    """Each test's verdict, with what the runner printed about it."""
    done = subprocess.run(
        [node(), "--test", "--test-reporter=tap", "sdk.test.mjs"],
        cwd=FOLDER,
        env={
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            "BASE_URL": f"{server.url}/v1",
            "LOCKED_URL": f"{locked_server.url}/v1",
            "KEY": KEY,
            "MODEL": MODEL,
            "SLASHED": SLASHED,
        },
        capture_output=True,
        text=True,
        timeout=180,
    )
    found = list(_LINE.finditer(done.stdout))
    assert found, done.stdout + done.stderr
    ends = [match.start() for match in found[1:]] + [len(done.stdout)]
    return {
        match["name"].replace("\\#", "#"): (match["not"] is None, done.stdout[match.start() : end])
        for match, end in zip(found, ends, strict=True)
    }


@pytest.mark.parametrize("name", NAMES)
def test_the_node_sdk(report: dict[str, tuple[bool, str]], name: str) -> None:
    passed, shown = report[name]
    assert passed, shown

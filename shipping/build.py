"""Builds the wheel and the source archive of every distribution, byte for byte the same of the same commit.

    python -m shipping.build [FOLDER] [--commit COMMIT]

They are built of what is committed, in a folder of their own, with the commit's time; FOLDER (dist) gets them, and
SHA256SUMS. Beside the files of the commit the version of hatchling is all that they depend on. Each wheel has its bill
of materials in `sboms` (PEP 770). Wheels with compiled modules are `make compiled`'s.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path

from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

from .sbom import bill

ROOT = Path(__file__).parents[1]
DISTRIBUTIONS = (
    ".",
    "conformance",
    "plugins/contract",
    "plugins/kit",
    "plugins/llamacpp",
    "plugins/mlx",
    "plugins/upstream",
    "plugins/vllm",
)


def main() -> int:
    """Build them where the command line says; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "dist")
    parser.add_argument("--commit", default="HEAD", help="what to build (HEAD)")
    asked = parser.parse_args()
    if asked.commit == "HEAD" and git("status", "--porcelain", "--untracked-files=no"):
        print("Some files have changes that are not committed: they are not in what is built.", file=sys.stderr)
    made = build(asked.folder.absolute(), asked.commit)
    print(f"hatchling {version('hatchling')}, commit {git('rev-parse', asked.commit).decode().strip()}")
    print("\n".join(f"{path.stat().st_size:>9}  {path.name}" for path in made))
    return 0


def build(folder: Path, commit: str = "HEAD") -> list[Path]:
    """Build all of *commit* into *folder*, whose other files stay; returns what was made."""
    folder.mkdir(parents=True, exist_ok=True)
    made_at_s = int(git("show", "--no-patch", "--format=%ct", commit))
    os.environ["SOURCE_DATE_EPOCH"] = str(made_at_s)
    os.environ.pop("ENGINEHOUSE_COMPILED", None)
    with tempfile.TemporaryDirectory(prefix="enginehouse-dist-") as work:
        tree = Path(work)
        with tarfile.open(fileobj=io.BytesIO(git("archive", "--format=tar", commit))) as archive:
            archive.extractall(tree, filter="data")
        made = [path for name in DISTRIBUTIONS for path in build_one(tree / name, folder, made_at_s)]
    sums = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(made))
    (folder / "SHA256SUMS").write_text(sums)
    return made


def build_one(source: Path, folder: Path, made_at_s: int) -> list[Path]:
    """Build the distribution in *source* into *folder*: a source archive, and a wheel with its bill."""
    sdist = SdistBuilder(str(source))
    made = [Path(path) for path in sdist.build(directory=str(folder), versions=["standard"])]
    wheel = WheelBuilder(str(source))
    with tempfile.TemporaryDirectory(prefix="enginehouse-sbom-") as beside:
        file = Path(beside) / f"{wheel.metadata.core.name}.cdx.json"
        file.write_bytes(bill(source, made_at_s))
        wheel.config.target_config["sbom-files"] = [str(file)]
        made += [Path(path) for path in wheel.build(directory=str(folder), versions=["standard"])]
    return made


def git(*words: str) -> bytes:
    """Run git in this project; returns what it printed."""
    command = ["git", "-C", str(ROOT), *words]
    return subprocess.run(command, capture_output=True, check=True).stdout  # noqa: S603  # git, with words of this module


if __name__ == "__main__":
    sys.exit(main())

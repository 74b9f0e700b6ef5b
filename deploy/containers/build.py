"""Build the images with buildah, and try each of them with runc: `make containers`.

No daemon is needed, and no network by what is tried. `--base debian` makes the base of Debian's packages, where no
registry of images can be reached; all further steps are those of the Containerfile.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trial import Failed, try_image

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TARGETS = ("router", "cpu", "cuda")
SUITE = "trixie"
OWN_BASE = "localhost/enginehouse-base"
NOT_SLIM = ("doc", "man", "locale", "info", "lintian")
"""Folders of /usr/share that Debian's own slim images leave out."""


def main() -> int:
    """Do what the command line says; returns the exit code."""
    parser = argparse.ArgumentParser(description="Build the images, and try each of them.")
    parser.add_argument(
        "targets", nargs="*", default=["router", "cpu"], help="of router, cpu and cuda (not by default)"
    )
    parser.add_argument("--base", help="image to build on, or 'debian': one that is made of Debian's packages")
    parser.add_argument("--tag", default="0.1.0", help="images are called enginehouse:TAG-TARGET")
    parser.add_argument("--json", action="store_true", dest="as_json", help="print JSON for programs")
    said = parser.parse_args()
    for target in said.targets:
        if target not in TARGETS:
            parser.error(f"there is no target '{target}'. There are: {', '.join(TARGETS)}.")
    needed = ["buildah", "runc", *(["mmdebstrap"] if said.base == "debian" else [])]
    if missing := [program for program in needed if shutil.which(program) is None]:
        print(f"{' and '.join(missing)} missing: apt-get install {' '.join(missing)}", file=sys.stderr)
        return 1
    results: list[dict[str, Any]] = []
    say = _nothing if said.as_json else _line
    try:
        base = _own_base() if said.base == "debian" else said.base
        results += [_built_and_tried(one, f"enginehouse:{said.tag}-{one}", base, say) for one in said.targets]
    except Failed as error:
        print(error, file=sys.stderr)
        return 1
    if said.as_json:
        print(json.dumps(results, indent=2))
    return 0


def _built_and_tried(target: str, image: str, base: str | None, say: Callable[[str], None]) -> dict[str, Any]:
    began_at = time.monotonic()
    _build(target, image, base)
    build_s = round(time.monotonic() - began_at, 1)
    (listed,) = json.loads(_output("buildah", "images", "--json", image))
    say(f"{image}: {listed['size']}, built in {build_s:g} s")
    shown = try_image(image, with_model=target == "cpu", say=lambda line: say(f"  {line}"))
    return {"image": image, "size": listed["size"], "build_s": build_s, "base": base or "the Containerfile's", **shown}


def _build(target: str, image: str, base: str | None) -> None:
    """Build *target* on *base*, out of what the list of files beside the Containerfile lets in."""
    containerfile = HERE / "Containerfile"
    command = ["buildah", "bud", "--quiet", "--layers", "--format", "docker", "--target", target, "--tag", image]
    command += ["--file", str(containerfile), "--ignorefile", f"{containerfile}.dockerignore"]
    command += ["--build-arg", f"BASE={base}"] if base else []
    # Inside a container or a sandbox that has no namespaces to give.
    command += ["--isolation", os.environ.get("BUILDAH_ISOLATION", "chroot")]
    # A network with an authority of its own tells it so; without one the secret is empty.
    command += ["--secret", f"id=ca,src={os.environ.get('SSL_CERT_FILE', '/dev/null')}"]
    done = subprocess.run([*command, str(ROOT)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"{image} cannot be built:\n{(done.stdout + done.stderr)[-4000:]}")


def _own_base() -> str:
    """Make a base like Debian's slim image of its packages, and return its name."""
    found = [line.split()[1] for line in _sources().splitlines() if line.startswith(("URIs:", "deb "))]
    options = [f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in NOT_SLIM]
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder, "base.tar")
        made = ["mmdebstrap", "--quiet", "--variant=minbase", *options, SUITE, str(archive), *found[:1]]
        done = subprocess.run(made, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failed(f"the base cannot be made of Debian's packages:\n{done.stderr[-2000:]}")
        Path(folder, "Containerfile").write_text("FROM scratch\nADD base.tar /\n")
        _output("buildah", "bud", "--quiet", "--isolation", "chroot", "--tag", OWN_BASE, folder)
    return OWN_BASE


def _sources() -> str:
    """The lines of this machine's list of Debian's mirrors."""
    return "".join(path.read_text() for path in sorted(Path("/etc/apt/sources.list.d").glob("debian.sources")))


def _line(text: str) -> None:
    print(text, flush=True)


def _nothing(_: str) -> None:
    pass


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    sys.exit(main())

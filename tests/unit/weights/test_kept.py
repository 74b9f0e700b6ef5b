"""Weights that are held: downloads that go on where they were, damage that is found, and a limit of the disk."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants

from enginehouse.weights import Disk, all_held, held_bytes, hub, locate, remove, resolve
from enginehouse.weights.errors import CacheUnusable, NoRoom, WeightsInUse, WrongDigest

from .conftest import Heard, Hub

FIRST, SECOND = "1" * 40, "2" * 40
LARGE = bytes(range(256)) * 8192
SOURCE = f"hub:org/repo@{FIRST}"
CHUNK_BYTES = 100_000
RESOLVE = (
    f"import sys; from huggingface_hub import constants; constants.DOWNLOAD_CHUNK_SIZE = {CHUNK_BYTES}; "
    "from enginehouse.weights import resolve; resolve(sys.argv[1], is_used=True)"
)
LIMITED = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6)); " + RESOLVE


@pytest.fixture
def repository(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A part grows by this much at a time, else by ten megabytes."""
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", CHUNK_BYTES)
    hub.branches = {"main": FIRST, "other": SECOND}
    hub.files = {"config.json": b"{}", "model.safetensors": LARGE, "small.safetensors": b"weights" * 1000}
    hub.large = {"model.safetensors", "small.safetensors"}
    return hub


def process(hub: Hub, code: str, source: str) -> subprocess.Popen[str]:
    """Another process that uses the same hub and the same folders."""
    own = {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": constants.HF_HUB_CACHE}
    return subprocess.Popen(
        [sys.executable, "-c", code, source], env=os.environ | own, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        stdin=subprocess.PIPE, text=True,
    )  # fmt: skip


def rest_asked(hub: Hub) -> list[int]:
    """From where the large file was asked for."""
    return [int(line.rpartition(" ")[2]) for line in hub.asked if "model.safetensors from" in line]


def test_a_download_that_was_killed_goes_on_where_it_was(repository: Hub, heard: Heard) -> None:
    """A million bytes have come when the process is killed; the next one asks for the rest alone."""
    repository.stalls_after = 1_000_000
    killed = process(repository, RESOLVE, SOURCE)
    assert repository.stalled.wait(60)
    while max(each.stat().st_size for each in Path(constants.HF_HUB_CACHE).rglob("*.enginehouse-part")) < 900_000:
        assert killed.poll() is None
    killed.kill()
    killed.communicate()
    repository.stalls_after = None
    repository.going_on.set()
    path = resolve(SOURCE, progress=heard)
    assert path is not None
    assert (path / "model.safetensors").read_bytes() == LARGE
    (begins_at,) = rest_asked(repository)
    assert 900_000 <= begins_at <= 1_000_000
    assert any("are here of an earlier try" in note for note in heard.notes)
    assert not list(Path(constants.HF_HUB_CACHE).rglob("*part"))


@pytest.mark.parametrize("has_ranges", [True, False])
def test_a_download_that_breaks_off_is_gone_on_with(repository: Hub, *, has_ranges: bool) -> None:
    """Within the same try; also with a server that can only begin anew."""
    repository.cut_after, repository.has_ranges = 700_000, has_ranges
    path = resolve(SOURCE)
    assert path is not None
    assert (path / "model.safetensors").read_bytes() == LARGE
    assert repository.cut_after is None
    assert rest_asked(repository) == ([700_000] if has_ranges else [])


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_file_that_comes_damaged_is_said_and_fetched_again(repository: Hub, heard: Heard, name: str) -> None:
    repository.files["config.json"] = b'{"a": 1}'
    repository.served_wrong = [name]
    path = resolve(SOURCE, progress=heard)
    assert path is not None
    assert (path / name).read_bytes() == repository.files[name]
    assert heard.notes == [f"'{name}' of {SOURCE} came with a wrong digest, and is fetched again."]


def test_one_that_comes_damaged_each_time_is_an_error_and_nothing_of_it_stays(repository: Hub) -> None:
    repository.served_instead = {"model.safetensors": LARGE[::-1]}
    with pytest.raises(WrongDigest):
        resolve(SOURCE)
    assert not any(
        path.is_file() and path.stat().st_size >= len(LARGE) for path in Path(constants.HF_HUB_CACHE).rglob("*")
    )


def test_a_part_that_was_damaged_is_found_when_it_is_whole(repository: Hub, heard: Heard) -> None:
    blob = hub.part.blob_path("org/repo", hub.held.digest_of(_file(LARGE), "0" * 64))
    blob.parent.mkdir(parents=True)
    blob.with_name(f"{blob.name}.enginehouse-part").write_bytes(b"\0" * 900_000)
    path = resolve(SOURCE, progress=heard)
    assert path is not None
    assert (path / "model.safetensors").read_bytes() == LARGE
    assert rest_asked(repository) == [900_000]
    assert any("wrong digest" in note for note in heard.notes)


def _file(content: bytes) -> Path:
    path = Path(constants.HF_HUB_CACHE).parent / "as-announced"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("damage", [b"\0" * len(LARGE), LARGE[:-1], b""])
def test_a_file_that_was_damaged_since_is_said_and_fetched_again(repository: Hub, heard: Heard, damage: bytes) -> None:
    path = resolve(SOURCE)
    assert path is not None
    real = (path / "model.safetensors").resolve()
    real.write_bytes(damage)
    os.utime(real, ns=(1, 1))
    assert resolve(SOURCE, progress=heard) == path
    assert (path / "model.safetensors").read_bytes() == LARGE
    assert len([note for note in heard.notes if "is damaged" in note and "fetched again" in note]) == 1
    heard.notes.clear()
    assert resolve(SOURCE, progress=heard) == path
    assert heard.notes == []


def test_damage_that_left_size_and_time_is_found_where_all_is_read(repository: Hub, heard: Heard) -> None:
    path = resolve(SOURCE)
    assert path is not None
    real = (path / "model.safetensors").resolve()
    status = real.stat()
    real.write_bytes(LARGE[::-1])
    os.utime(real, ns=(status.st_atime_ns, status.st_mtime_ns))
    resolve(SOURCE, progress=heard)
    assert heard.notes == []
    resolve(SOURCE, progress=heard, is_all_read=True)
    assert ["is damaged" in note for note in heard.notes] == [True]
    assert (path / "model.safetensors").read_bytes() == LARGE


def test_what_was_used_longest_ago_goes_where_the_disk_has_a_limit(repository: Hub, heard: Heard) -> None:
    """Two fit: the third takes the place of the one that was used longest ago and is not named."""
    names = ("a.gguf", "b.gguf", "c.gguf", "d.gguf")
    repository.files = {name: name.encode() * 100_000 for name in names}
    repository.large = set(names)
    a, b, c, d = (f"{SOURCE}/{name}" for name in names)
    disk = Disk(limit_bytes=1_300_000, stays=frozenset({"hub:org/repo@main/a.gguf"}))
    resolve("hub:org/repo@main/a.gguf", disk=disk)
    resolve(b, disk=disk)
    assert held_bytes() == 1_200_000
    resolve(c, disk=disk, progress=heard)
    assert [held.source for held in all_held()] == [a, c]
    assert heard.notes == [f"{b} was removed to make room: 1 MB."]
    assert locate(b) is None
    with pytest.raises(NoRoom, match=r"weights\.disk"):
        resolve(d, disk=Disk(limit_bytes=1_300_000, stays=frozenset({a, c})))
    assert [held.source for held in all_held()] == [a, c], "nothing is removed in vain"
    with pytest.raises(NoRoom):
        resolve(b, disk=Disk(limit_bytes=500_000))
    assert [held.source for held in all_held()] == [a, c]


def test_what_a_process_uses_stays_until_that_ends(repository: Hub) -> None:
    user = process(repository, RESOLVE + "; print('uses it', flush=True); input()", SOURCE)
    assert user.stdout is not None
    assert user.stdout.readline() == "uses it\n"
    (held,) = all_held()
    assert held.is_in_use
    with pytest.raises(WeightsInUse):
        remove(held)
    with pytest.raises(NoRoom):
        resolve(f"hub:org/repo@{SECOND}/config.json", disk=Disk(limit_bytes=held.size_bytes))
    user.kill()
    user.communicate()
    assert not held.is_in_use
    assert remove(held) == held.size_bytes
    assert all_held() == []
    assert not list(Path(constants.HF_HUB_CACHE).rglob("*.safetensors"))


def test_files_that_two_sources_have_stay_until_both_are_removed(repository: Hub) -> None:
    resolve(SOURCE)
    path = resolve(f"{SOURCE}/model.safetensors")
    resolve(f"hub:org/repo@{SECOND}")
    assert held_bytes() == sum(map(len, repository.files.values()))
    one, whole, other = sorted(all_held(), key=lambda held: (len(held.files), held.source))
    assert remove(whole) == len(repository.files["config.json"]) * 0
    assert path is not None
    assert path.read_bytes() == LARGE
    assert locate(SOURCE) is None
    assert remove(one) == 0
    assert not path.exists()
    assert remove(other) == sum(map(len, repository.files.values()))
    assert not (Path(constants.HF_HUB_CACHE) / "models--org--repo").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such limits")
def test_a_disk_that_takes_no_more_is_said_and_what_came_is_kept(repository: Hub) -> None:
    limited = process(repository, LIMITED, SOURCE)
    _, said = limited.communicate(timeout=60)
    assert limited.returncode == 1
    assert CacheUnusable.__name__ in said
    assert "Make room there" in said
    assert resolve(SOURCE) is not None
    assert rest_asked(repository) == [1_000_000]


def test_what_another_program_fetched_is_listed_and_never_removed_to_make_room(repository: Hub) -> None:
    from huggingface_hub import hf_hub_download

    hf_hub_download("org/repo", "small.safetensors", revision=FIRST)
    resolve(f"{SOURCE}/small.safetensors")
    (held,) = all_held()
    assert not held.is_fetched
    assert held_bytes() == 0
    with pytest.raises(NoRoom):
        resolve(f"{SOURCE}/model.safetensors", disk=Disk(limit_bytes=1000))

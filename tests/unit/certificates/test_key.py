"""What goes into a key, and how little it takes to change it."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from enginehouse.certificates import Certificates, Key, changes
from enginehouse.certificates.digests import Digests

from .conftest import CPU, Options, a_certificate, kind, placement


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return old(tmp_path / "weights.bin", b"weights")


def old(file: Path, content: bytes) -> Path:
    """Write *file* as if it had been there for long."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    os.utime(file, (1_000_000_000, 1_000_000_000))
    return file


async def key(*, of=kind(), place, devices=(CPU,)) -> Key:  # noqa: B008  # immutable
    return await Certificates().key(of, place, devices)


async def test_the_same_things_have_the_same_key(weights: Path) -> None:
    first, second = await key(place=placement(weights)), await key(place=placement(weights))
    assert first == second
    assert first.name == second.name


async def test_the_place_of_the_weights_and_the_name_of_the_model_do_not_matter(weights: Path, tmp_path: Path) -> None:
    copy = old(tmp_path / "elsewhere" / "copy.bin", b"weights")
    assert await key(place=placement(weights)) == await key(place=placement(copy, model="other", source="copy"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"context_tokens": 99}, "the option context_tokens changed"),
        ({"options": Options(slots=5)}, "the option slots changed"),
        ({"options": Options(chat_template="{{ x }}")}, "the chat template changed"),
    ],
)
async def test_what_the_owner_changes_in_a_placement_changes_the_key(weights: Path, change: dict, words: str) -> None:
    before = await key(place=placement(weights))
    assert changes(before, await key(place=placement(weights, **change))) == (words,)


async def test_versions_and_hardware_are_part_of_the_key(weights: Path) -> None:
    before = await key(place=placement(weights))
    assert "version" in changes(before, await key(of=kind("1.1"), place=placement(weights)))[0]
    assert "plugin" in changes(before, await key(of=kind(version="0.2"), place=placement(weights)))[0]
    faster = msgspec.structs.replace(CPU, name="Faster CPU")
    assert "hardware" in changes(before, await key(place=placement(weights), devices=(faster,)))[0]


async def test_values_of_options_are_not_in_the_key(weights: Path) -> None:
    """They may be secrets."""
    assert b"s3cret-token" not in msgspec.json.encode(await key(place=placement(weights)))


async def test_a_file_that_an_option_names_counts_with_what_is_in_it(weights: Path, tmp_path: Path) -> None:
    template = old(tmp_path / "template.jinja", b"one")
    place = placement(weights, options=Options(chat_template_file=str(template)))
    before = await key(place=place)
    template.write_bytes(b"two")
    assert changes(before, await key(place=place)) == ("the chat template changed",)


async def test_a_program_that_an_option_names_counts_with_what_is_in_it(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = old(tmp_path / "bin/engine-server", b"#!/bin/sh")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    place = placement(weights, options=Options(binary="engine-server"))
    before = await key(place=place)
    program.write_bytes(b"#!/bin/sh\necho newer")
    assert changes(before, await key(place=place)) == ("the option binary changed",)


async def test_a_folder_counts_with_all_files_in_it_and_its_template_apart(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    for name in ("config.json", "model-00001.safetensors", "chat_template.jinja", "sub/tokenizer.json"):
        old(folder / name, name.encode())
    before = await key(place=placement(folder))
    old(folder / ".cache" / "note", b"hidden")
    assert await key(place=placement(folder)) == before
    (folder / "chat_template.jinja").write_bytes(b"new")
    assert changes(before, await key(place=placement(folder))) == ("the chat template changed",)
    (folder / "sub/tokenizer.json").write_bytes(b"new")
    assert changes(before, await key(place=placement(folder))) == ("the weights changed", "the chat template changed")


async def test_files_in_parts_count_with_all_parts(tmp_path: Path) -> None:
    first = old(tmp_path / "big-00001-of-00002.gguf", b"1")
    second = old(tmp_path / "big-00002-of-00002.gguf", b"2")
    old(tmp_path / "other-00002-of-00002.gguf", b"3")
    before = await key(place=placement(first))
    old(tmp_path / "other-00002-of-00002.gguf", b"4")
    assert await key(place=placement(first)) == before
    second.write_bytes(b"5")
    assert changes(before, await key(place=placement(first))) == ("the weights changed",)


async def test_without_weights_here_the_source_counts() -> None:
    here, there = placement(None, source="https://a.example"), placement(None, source="https://b.example")
    assert changes(await key(place=here), await key(place=there)) == ("the weights changed",)


async def test_what_a_server_of_somebody_else_shows_counts_and_numbers_may_differ_a_little() -> None:
    plain = await key(place=placement(None, source="https://a.example"))
    assert b"identity" not in msgspec.json.encode(plain), "older certificates keep their names"
    one, near, far, other = (
        msgspec.structs.replace(plain, identity=shown)
        for shown in (
            {"server": "s", "logprob": -1.0},
            {"server": "s", "logprob": -1.4},
            {"server": "s", "logprob": -1.6},
            {"server": "t", "logprob": -1.0},
        )
    )
    assert changes(one, near) == ()
    assert changes(one, far) == ("its server's logprob was -1.0 and is -1.6",)
    assert changes(one, other) == ("its server's server was 's' and is 't'",)
    assert len(changes(plain, one)) == 2


async def test_what_is_installed_beside_another_interpreter_counts(weights: Path, tmp_path: Path) -> None:
    packages = tmp_path / "env/lib/python3.12/site-packages"
    (packages / "engine-1.0.dist-info").mkdir(parents=True)
    (tmp_path / "env/bin").mkdir()
    (tmp_path / "env/bin/python").symlink_to("/usr/bin/env")
    place = placement(weights, python=str(tmp_path / "env/bin/python"))
    before = await key(place=place)
    assert before.engine_version == f"1.0 of {place.python}"
    (packages / "engine-1.0.dist-info").rename(packages / "engine-1.1.dist-info")
    assert changes(before, await key(place=place)) == ("the environment of the engine changed",)


async def test_missing_weights_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="absent"):
        await key(place=placement(tmp_path / "absent"))


# ---- digests that are remembered ----


def digest(weights: Path, data: Path) -> tuple[str, int]:
    """The digest, and how many bytes had to be read for it."""
    read = []
    digests = Digests(data / "digests.json")
    found = digests.of(weights, lambda _: True, read.append)
    digests.remember()
    return found, len(read)


def test_a_digest_is_remembered_until_the_file_changes(weights: Path, data: Path) -> None:
    first, reads = digest(weights, data)
    assert reads == 1
    assert digest(weights, data) == (first, 0)
    old(weights, b"WEIGHTS")  # of the same size, and its time is set back
    second, reads = digest(weights, data)
    assert (second != first, reads) == (True, 1)


def test_a_file_that_has_just_changed_is_read_again(weights: Path, data: Path) -> None:
    weights.write_bytes(b"fresh")
    assert digest(weights, data)[1] == 1
    assert digest(weights, data)[1] == 1


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": 1}', b"\xff", b'{"a": [1, 2, 3, 4, 5]}'])
def test_a_damaged_memory_is_no_memory(weights: Path, data: Path, content: bytes) -> None:
    data.mkdir()
    (data / "digests.json").write_bytes(content)
    first = digest(weights, data)
    assert first[1] == 1
    assert digest(weights, data) == (first[0], 0)


def test_a_memory_that_cannot_be_written_does_not_matter(weights: Path, data: Path) -> None:
    data.write_text("a file, not a folder")
    assert digest(weights, data)[1] == 1


# ---- assessing ----


async def test_an_instance_is_compared_with_what_is_stored(weights: Path) -> None:
    certificates = Certificates()
    place = placement(weights)
    assert (await certificates.assess(kind(), place, (CPU,))).state == "none"
    certificates.folder.save(a_certificate(key=await key(place=place)))
    assert (await certificates.assess(kind(), place, (CPU,))).state == "current"
    standing = await certificates.assess(kind("1.1"), place, (CPU,))
    assert (standing.state, "the engine's version was 1.0 and is 1.1" in standing.reason) == ("stale", True)


async def test_what_cannot_be_compared_is_not_proven(weights: Path, tmp_path: Path) -> None:
    certificates = Certificates()
    certificates.folder.save(a_certificate(key=await key(place=placement(weights))))
    for of, place in ((kind("broken"), placement(weights)), (kind(), placement(tmp_path / "absent"))):
        standing = await certificates.assess(of, place, (CPU,))
        assert (standing.state, standing.proven) == ("none", frozenset())
        assert "it cannot be compared" in standing.reason

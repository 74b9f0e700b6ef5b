"""Fingerprints: the same for the same, another where anything differs that answers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from enginehouse.certificates import fingerprint_of
from enginehouse_plugin import Backend, BackendType, Device, Placement

CPU = Device(id="cpu", kind="cpu", name="Test CPU", memory_bytes=8 << 30)
ENGINE = ("toy engine", "1.0")


class Options(msgspec.Struct, frozen=True):
    threads: int = 1
    template: str = ""


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    return folder


def of(path: Path, *, engine: tuple[str, str | None] = ENGINE, version: str = "1", **placed: Any) -> str:
    kind = BackendType(name="toy", version=version, create=Backend, options=Options)  # type: ignore[type-abstract]
    fields = {"source": str(path), "options": Options(), **placed}
    placement = Placement(model="m", backend="toy", path=str(path), **fields)
    return fingerprint_of(kind, placement, (CPU,), engine)


def test_the_same_has_the_same_fingerprint(weights: Path) -> None:
    assert of(weights) == of(weights)
    assert of(weights).startswith("fp_")


def test_the_engine_the_plugin_and_the_options_have_fingerprints_of_their_own(weights: Path) -> None:
    found = [
        of(weights),
        of(weights, engine=("toy engine", "1.1")),
        of(weights, version="2"),
        of(weights, options=Options(threads=2)),
        of(weights, context_tokens=512),
    ]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("name", ["model.safetensors", "chat_template.jinja"])
def test_weights_and_templates_that_change_have_another(weights: Path, name: str) -> None:
    before = of(weights)
    (weights / name).write_bytes(b"others")
    assert of(weights) != before


def test_a_file_of_the_same_size_that_was_written_again_counts(weights: Path) -> None:
    before, file = of(weights / "model.safetensors"), weights / "model.safetensors"
    os.utime(file, ns=(1, 1))
    assert of(file) != before


def test_a_template_that_an_option_names_counts_with_what_is_in_it(weights: Path, tmp_path: Path) -> None:
    template = tmp_path / "own.jinja"
    template.write_text("a")
    before = of(weights, options=Options(template=str(template)))
    template.write_text("longer")
    assert of(weights, options=Options(template=str(template))) != before
    assert of(weights, options=Options(template="no \0 path")) != before

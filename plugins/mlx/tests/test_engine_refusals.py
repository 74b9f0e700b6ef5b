"""What cannot be loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import msgspec
import pluggy
import psutil
import pytest
from tests.asking import ask

from enginehouse_mlx.backend import MlxBackend
from enginehouse_mlx.engine import loading
from enginehouse_mlx.options import MlxOptions
from enginehouse_plugin import (
    Device,
    Instance,
    JsonObject,
    Placement,
)
from enginehouse_plugin.errors import EngineMissing, InvalidRequest, LoadFailed

from .folders import copy_of, with_tokenizer

Load = Callable[..., Awaitable[Instance]]
Place = Callable[..., Placement]
on_the_loop = pytest.mark.asyncio(loop_scope="session")
CPU = Device(id="cpu", kind="cpu", name="cpu", memory_bytes=2**34)


def no_template(content: dict[str, Any]) -> None:
    del content["chat_template"]


def bad_template(content: dict[str, Any]) -> None:
    content["chat_template"] = "{% for %}"


@pytest.mark.parametrize(
    ("config", "without", "change", "code"),
    [
        ({"model_type": "no_such_model"}, (), None, "unknown_architecture"),
        ({"model_file": "custom.py"}, (), None, "unknown_architecture"),
        ({"vocab_size": 100}, (), None, "bad_weights"),
        ({"num_hidden_layers": 3}, (), None, "bad_weights"),
        ({}, ("tokenizer.json", "tokenizer_config.json"), None, "bad_tokenizer"),
        ({}, (), no_template, "no_chat_template"),
        ({}, (), bad_template, "bad_chat_template"),
    ],
)
def test_what_cannot_be_loaded_is_refused_with_the_reason(
    tiny: Path,
    tmp_path: Path,
    config: dict[str, Any],
    without: tuple[str, ...],
    change: Callable[[dict[str, Any]], None] | None,
    code: str,
) -> None:
    folder = copy_of(tiny, tmp_path / "model", without=without, **config)
    if change is not None:
        with_tokenizer(folder, change)
    with pytest.raises(LoadFailed) as refused:
        loading.load(folder, MlxOptions(), (CPU,), None, lambda _: None)
    assert refused.value.code == code, refused.value.message
    assert not refused.value.retryable


def with_more_tokens(tiny: Path, target: Path) -> Path:
    """The tiny model with tokens that it has no logits for: a special one and a plain one."""
    folder = copy_of(tiny, target)
    content = json.loads((folder / "tokenizer.json").read_text())
    special = content["added_tokens"][0]
    content["added_tokens"] += [
        {**special, "id": 49152, "content": "<|image|>"},
        {**special, "id": 49153, "content": "<new>", "special": False},
    ]
    (folder / "tokenizer.json").write_text(json.dumps(content))
    return folder


@on_the_loop
async def test_tokens_that_the_model_lacks_are_text_or_refused(load: Load, tiny: Path, tmp_path: Path) -> None:
    """A model for text may come with the tokenizer of its sibling for images."""
    instance = await load(with_more_tokens(tiny, tmp_path / "model"))
    answer = await ask(instance, "<|image|>", max_tokens=3, output=JsonObject())
    assert answer.text
    with pytest.raises(InvalidRequest, match="'<new>', which this model lacks"):
        await ask(instance, "a <new> one", max_tokens=3)


def test_a_tokenizer_of_a_larger_model_is_refused(tiny: Path, tmp_path: Path) -> None:
    folder = copy_of(tiny, tmp_path / "model")
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["vocab"]["one more"] = 49152
    (folder / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(LoadFailed, match="49153 tokens, and the model only 49152") as refused:
        loading.load(folder, MlxOptions(), (CPU,), None, lambda _: None)
    assert (refused.value.code, refused.value.retryable) == ("bad_tokenizer", False)


def test_an_end_of_sequence_token_that_the_model_does_not_have_is_none(tiny: Path, tmp_path: Path) -> None:
    folder = copy_of(tiny, tmp_path / "model", without=("generation_config.json",), eos_token_id=[2, 60000])
    assert loading.load(folder, MlxOptions(), (CPU,), None, lambda _: None).vocabulary.eos_ids == {2}


@on_the_loop
async def test_a_refusal_crosses_from_the_worker(placement: Place, tiny: Path, tmp_path: Path) -> None:
    folder = copy_of(tiny, tmp_path / "model", model_type="no_such_model")
    with pytest.raises(LoadFailed, match="no_such_model") as refused:
        await MlxBackend().load(placement(folder), (CPU,), lambda _: None)
    assert refused.value.code == "unknown_architecture"


def test_a_device_that_this_build_cannot_use_is_refused(tiny: Path) -> None:
    if mx.metal.is_available():
        pytest.skip("needs a build of MLX without Metal")
    apple = Device(id="apple", kind="apple", name="apple", memory_bytes=2**34)
    with pytest.raises(LoadFailed, match="Metal") as refused:
        loading.load(tiny, MlxOptions(), (apple,), None, lambda _: None)
    assert refused.value.code == "engine_without_gpu"


@on_the_loop
async def test_a_load_that_takes_too_long_fails_and_leaves_nothing(placement: Place) -> None:
    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(LoadFailed, match="within"):
        await MlxBackend().load(placement(load_timeout_s=0.05), (CPU,), lambda _: None)
    assert set(psutil.Process().children(recursive=True)) <= before


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that has msgspec and pluggy alone."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for module in (msgspec, pluggy):
        (site / module.__name__).symlink_to(Path(str(module.__file__)).parent)
    return folder / "bin/python"


@on_the_loop
async def test_an_interpreter_without_the_engine_is_told_what_to_install(placement: Place, bare_python: Path) -> None:
    elsewhere = msgspec.structs.replace(placement(), python=str(bare_python))
    with pytest.raises(EngineMissing) as missing:
        await MlxBackend().load(elsewhere, (CPU,), lambda _: None)
    assert "enginehouse-mlx[engine]" in missing.value.fix

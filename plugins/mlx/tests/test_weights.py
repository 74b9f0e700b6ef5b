"""What is refused before anything is loaded, and what a model is said to take."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from enginehouse_mlx import footprint, weights
from enginehouse_mlx.backend import MlxBackend
from enginehouse_mlx.options import MlxOptions
from enginehouse_plugin import Device, Placement
from enginehouse_plugin.errors import DoesNotFit, LoadFailed, SourceNotFound

from .folders import copy_of

Place = Callable[..., Placement]
CONFIG = b'{"model_type": "llama"}'
CPU = Device(id="cpu", kind="cpu", name="cpu", memory_bytes=2**34)


def refusal(placement: Placement) -> LoadFailed:
    with pytest.raises(LoadFailed) as refused:
        weights.read(placement)
    assert not refused.value.retryable
    return refused.value


def test_a_source_that_is_not_there_is_said_so(placement: Place, tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match=r"config\.json"):
        weights.read(placement(tmp_path / "nothing"))


def test_a_gguf_file_is_llama_cpps(placement: Place, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF")
    assert "llama.cpp" in refusal(placement(path)).message


@pytest.mark.parametrize(
    ("files", "word"),
    [
        ({}, "no config.json"),
        ({"config.json": b"{"}, "cannot be read"),
        ({"config.json": b"[]"}, "cannot be read"),
        ({"config.json": b'{"model_type": "\xff"}'}, "cannot be read"),
        ({"config.json": b'{"model_type": ' + b"[" * 9999 + b"]" * 9999 + b"}"}, "cannot be read"),
        ({"config.json": b"{}"}, "model_type"),
        ({"config.json": CONFIG}, "no model*.safetensors"),
        ({"config.json": CONFIG, "pytorch_model.bin": b""}, ".bin files, which MLX cannot read"),
        ({"config.json": CONFIG, "model.safetensors": b""}, "no safetensors file"),
        ({"config.json": CONFIG, "model.safetensors": b"\xff" * 100}, "cut short"),
        (
            {"config.json": CONFIG, "model.safetensors": b"\x02" + bytes(7) + b"[]"},
            "no safetensors",
        ),
    ],
)
def test_a_folder_that_holds_no_model_is_refused_with_the_reason(
    placement: Place, tmp_path: Path, files: dict[str, bytes], word: str
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    refused = refusal(placement(tmp_path))
    assert word in refused.message
    assert refused.code == "bad_weights"


def test_weights_that_were_cut_short_are_noticed(placement: Place, tiny: Path, tmp_path: Path) -> None:
    folder = copy_of(tiny, tmp_path / "cut", without=("model.safetensors",))
    (folder / "model.safetensors").write_bytes((tiny / "model.safetensors").read_bytes()[:-1])
    assert "cut short" in refusal(placement(folder)).message


def test_a_type_that_mlx_cannot_read_is_named(placement: Place, tiny: Path, tmp_path: Path) -> None:
    folder = copy_of(tiny, tmp_path / "odd", without=("model.safetensors",))
    header = json.dumps({"w": {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\x00")
    assert "'w' as F4" in refusal(placement(folder)).message


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(placement: Place, tiny: Path, tmp_path: Path, name: str) -> None:
    folder = copy_of(tiny, tmp_path / "weights", without=(name,))
    os.mkfifo(folder / name)
    assert "no regular file" in refusal(placement(folder)).message


def test_files_that_the_index_names_must_be_there(placement: Place, tiny: Path, tmp_path: Path) -> None:
    folder = copy_of(tiny, tmp_path / "half")
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "lacks model-00002-of-00002.safetensors" in refusal(placement(folder)).message


@pytest.mark.parametrize("index", [b"{", b'{"weight_map": {"a": ["x"]}}', b'{"weight_map": 3}', b"[]"])
def test_an_index_that_says_nothing_readable_is_no_obstacle(
    placement: Place, tiny: Path, tmp_path: Path, index: bytes
) -> None:
    """The files are found by their names, not by the index."""
    folder = copy_of(tiny, tmp_path / "odd")
    (folder / "model.safetensors.index.json").write_bytes(index)
    assert weights.read(placement(folder)).tensors


@pytest.mark.parametrize("where", [{}, {"text_config": {}}])
@pytest.mark.parametrize("method", ["bitsandbytes", "hqq", None])
def test_a_quantisation_that_mlx_cannot_read_is_named_with_the_way_out(
    placement: Place, tiny: Path, tmp_path: Path, method: str | None, where: dict[str, Any]
) -> None:
    told = {"quantization_config": {"quant_method": method}}
    folder = copy_of(tiny, tmp_path / "quantised", **({"text_config": told} if where else told))
    refused = refusal(placement(folder))
    assert refused.code == "unsupported_quantisation"
    assert str(method) in refused.message
    assert "mlx_lm.convert" in refused.message


def test_quantisations_of_mlx_are_taken(placement: Place, tiny: Path, tmp_path: Path) -> None:
    folder = copy_of(tiny, tmp_path / "q", quantization={"bits": 4}, quantization_config={"bits": 4})
    assert weights.read(placement(folder)).tensors


# ---- sizes ----


def test_the_bytes_of_weights_are_those_of_their_file(placement: Place, tiny: Path) -> None:
    found = weights.read(placement())
    size = (tiny / "model.safetensors").stat().st_size
    assert size - 8192 < found.weight_bytes(None) < size
    assert found.dtype == "float32"
    assert found.weight_bytes("bfloat16") == found.weight_bytes(None) // 2


def config(**fields: Any) -> weights.Weights:
    tensor = weights.TensorInfo("BF16", (1,), (0, 2))
    return weights.Weights(path=Path(), config={"model_type": "x", **fields}, tensors={"w": tensor})


@pytest.mark.parametrize(
    ("fields", "dtype", "size"),
    [
        ({"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 64}, None, 2 * 2 * 64 * 2),
        ({"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 64}, "float32", 2 * 2 * 64 * 4),
        ({"num_hidden_layers": 3, "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 16}, None, 384),
        ({"n_layer": 1, "n_head": 2, "n_embd": 8}, None, 32),
        ({"text_config": {"num_hidden_layers": 1, "num_attention_heads": 1, "hidden_size": 8}}, None, 32),
        ({"num_hidden_layers": 2, "kv_lora_rank": 12, "qk_rope_head_dim": 4, "num_attention_heads": 9}, None, 64),
    ],
)
def test_the_cache_of_a_token_follows_from_the_configuration(
    fields: dict[str, Any], dtype: str | None, size: int
) -> None:
    assert footprint.token_bytes(config(**fields), dtype) == size


def test_the_cache_of_a_token_is_told_by_the_tensors_where_the_configuration_leaves_heads_out(
    placement: Place,
) -> None:
    whole = weights.read(placement())
    left_out = ("num_attention_heads", "num_key_value_heads", "head_dim")
    tower = {"vision_tower.layers.0.self_attn.k_proj.weight": weights.TensorInfo("F32", (99, 9), (0, 0))}
    bare = weights.Weights(
        path=whole.path,
        config={name: value for name, value in whole.config.items() if name not in left_out},
        tensors={**whole.tensors, **tower},
    )
    assert footprint.token_bytes(bare, None) == footprint.token_bytes(whole, None) > 0


@pytest.mark.parametrize(("trained", "asked", "tokens"), [(2048, None, 2048), (99999, None, 8192), (2048, 64, 64)])
def test_the_context_is_what_was_asked_for_or_trained(
    placement: Place, trained: int, asked: int | None, tokens: int
) -> None:
    found = config(max_position_embeddings=trained)
    assert footprint.context_tokens(placement(context_tokens=asked), found) == tokens


def test_more_context_than_the_model_was_trained_for_is_refused(placement: Place) -> None:
    with pytest.raises(LoadFailed, match="2048 tokens"):
        footprint.context_tokens(placement(context_tokens=4096), config(max_position_embeddings=2048))


async def test_the_estimate_grows_with_what_it_depends_on(placement: Place) -> None:
    async def estimate(**options: Any) -> int:
        return (await MlxBackend().fit(placement(**options), (CPU,))).footprint_bytes["cpu"]

    plain = await estimate()
    assert await estimate(slots=8) > plain
    assert await estimate(context_tokens=512) < plain
    assert await estimate(dtype="bfloat16") < plain
    assert await estimate(prefix_cache=False) < plain


async def test_weights_beyond_the_memory_limit_do_not_fit(placement: Place) -> None:
    with pytest.raises(DoesNotFit) as refused:
        await MlxBackend().load(placement(memory_limit_mib=8), (CPU,), lambda _: None)
    assert refused.value.free_bytes == 8 * 2**20
    assert refused.value.needed_bytes > 12_000_000


def test_a_template_and_a_file_of_one_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="not both"):
        MlxOptions(chat_template="x", chat_template_file="y")


def test_every_option_is_documented() -> None:
    page = (Path(__file__).parents[1] / "README.md").read_text()
    missing = [name for name in MlxOptions.__struct_fields__ if f"`{name}`" not in page]
    assert missing == []

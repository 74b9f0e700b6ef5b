import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from enginehouse_plugin.errors import LoadFailed
from enginehouse_vllm import checkpoint as checkpoints
from enginehouse_vllm import vocabulary
from enginehouse_vllm.backend import VllmBackend
from enginehouse_vllm.checkpoint import NotACheckpoint

from .conftest import CPU, Place


def test_a_folder_tells_its_model(tiny: Path) -> None:
    found = checkpoints.read(tiny)
    assert found.model_type == "llama"
    assert found.architectures == ("LlamaForCausalLM",)
    assert found.context_tokens == 2048
    assert found.vocabulary_size == 49152
    assert found.layers == 2
    assert found.template is not None
    assert "<|im_start|>" in found.template
    assert "<|im_end|>" in found.control_tokens
    assert found.controls[2] == "<|im_end|>"
    assert found.weight_bytes == (tiny / "model.safetensors").stat().st_size
    assert found.loaded_bytes("float32") == 4 * found.parameters["F32"]
    assert found.loaded_bytes("bfloat16") == 2 * found.parameters["F32"]
    assert found.cache_bytes_per_token(4) == 2 * 2 * 1 * 32 * 4  # layers, keys and values, heads, size, width


@pytest.mark.parametrize(
    ("wanted", "stored", "on_gpu", "used"),
    [
        ("auto", "float32", False, "float32"),
        ("auto", "float32", True, "float16"),
        ("auto", "float16", False, "bfloat16"),
        ("auto", "float16", True, "float16"),
        ("auto", "bfloat16", False, "bfloat16"),
        ("auto", None, True, "bfloat16"),
        ("float32", "bfloat16", False, "float32"),
    ],
)
def test_the_type_of_numbers_follows_weights_and_device(
    tiny: Path, tmp_path: Path, wanted: str, stored: str | None, on_gpu: bool, used: str
) -> None:
    config = json.loads((tiny / "config.json").read_text())
    config.pop("torch_dtype", None)
    config.pop("dtype", None)
    if stored is not None:
        config["dtype"] = stored
    shutil.copytree(tiny, tmp_path, dirs_exist_ok=True)
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert checkpoints.read(tmp_path).dtype(wanted, on_gpu) == used


def test_a_multimodal_configuration_tells_by_its_text_part(tiny: Path, tmp_path: Path) -> None:
    config = json.loads((tiny / "config.json").read_text())
    shutil.copytree(tiny, tmp_path, dirs_exist_ok=True)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "some_vl", "text_config": config}))
    found = checkpoints.read(tmp_path)
    assert (found.model_type, found.context_tokens, found.layers) == ("some_vl", 2048, 2)


def weights(path: Path, kind: object, numbers: int, width: int) -> None:
    """A file with one tensor."""
    tensor = {"dtype": kind, "shape": [numbers], "data_offsets": [0, numbers * width]}
    header = json.dumps({"t": tensor}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(numbers * width))


@pytest.mark.parametrize(("kind", "width"), [("I32", 4), ("I64", 8), ("I16", 2), ("U8", 1), ("F8_E4M3", 1)])
def test_quantised_weights_take_what_they_take_in_the_file(tiny: Path, tmp_path: Path, kind: str, width: int) -> None:
    """AWQ and GPTQ keep eight numbers of four bits in one of 32."""
    shutil.copytree(tiny, tmp_path, dirs_exist_ok=True)
    weights(tmp_path / "model.safetensors", kind, 1000, width)
    assert checkpoints.read(tmp_path).loaded_bytes("bfloat16") == 1000 * width


def test_weights_that_lie_there_in_two_forms_are_counted_once(tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny, tmp_path, dirs_exist_ok=True)
    whole = checkpoints.read(tmp_path)
    weights(tmp_path / "consolidated.safetensors", "BF16", 1000, 2)
    assert checkpoints.read(tmp_path).parameters == whole.parameters
    (tmp_path / "model.safetensors").unlink()
    assert checkpoints.read(tmp_path).parameters == {"BF16": 1000}


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(tiny: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(tiny, tmp_path / "weights")
    (tmp_path / "weights" / name).unlink()
    os.mkfifo(tmp_path / "weights" / name)
    with pytest.raises(NotACheckpoint, match="no regular file"):
        checkpoints.read(tmp_path / "weights")


def test_a_file_of_weights_that_the_index_names_and_nobody_fetched_is_told(tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny, tmp_path, dirs_exist_ok=True)
    (tmp_path / "model.safetensors").unlink()
    names = [f"model-{at}-of-3.safetensors" for at in (1, 2, 3)]
    (tmp_path / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": dict(zip("abc", names, strict=True))})
    )
    for name in names[:2]:
        weights(tmp_path / name, "BF16", 10, 2)
    with pytest.raises(NotACheckpoint, match=r"1 of its 3 files of weights are missing: 'model-3-of-3\.safetensors'"):
        checkpoints.read(tmp_path)
    weights(tmp_path / names[2], "BF16", 10, 2)
    weights(tmp_path / "other.safetensors", "BF16", 99, 2)
    assert checkpoints.read(tmp_path).parameters == {"BF16": 30}


@pytest.mark.parametrize(
    ("config", "devices", "numbers"),
    [
        ({"num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128}, 1, 2 * 8 * 128),
        ({"num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128}, 4, 2 * 2 * 128),
        ({"num_attention_heads": 32, "num_key_value_heads": 2, "head_dim": 128}, 8, 2 * 1 * 128),
        ({"num_attention_heads": 128, "kv_lora_rank": 512, "qk_rope_head_dim": 64}, 8, 576),
    ],
    ids=["one GPU", "heads are shared out", "more GPUs than heads", "a latent cache is on each"],
)
def test_several_gpus_share_the_cache_by_heads(
    tiny: Path, tmp_path: Path, config: dict[str, int], devices: int, numbers: int
) -> None:
    shutil.copytree(tiny, tmp_path, dirs_exist_ok=True)
    (tmp_path / "config.json").write_text(json.dumps({"num_hidden_layers": 3, "hidden_size": 4096, **config}))
    assert checkpoints.read(tmp_path).cache_bytes_per_token(2, devices) == 3 * numbers * 2


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json' cannot be read"),
        (lambda folder: (folder / "model.safetensors").unlink(), "has no weights"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\xff" * 64), "is no safetensors file"),
        (
            lambda folder: (folder / "model.safetensors").write_bytes(b"\x08" + b"\0" * 7 + b"not json"),
            "is no safetens",
        ),
        (lambda folder: weights(folder / "model.safetensors", 7, 10, 1), "is no safetensors file"),
        (lambda folder: (folder / "tokenizer.json").write_text('{"added_tokens": [{"id": 1}]}'), "added tokens cannot"),
        (lambda folder: (folder / "tokenizer.json").write_text('{"a": ' + "[" * 100_000), "tokenizer.json' cannot be"),
        (
            lambda folder: (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": ["b"]}}'),
            "1 of its 1 files of weights are missing",
        ),
        (
            lambda folder: (folder / "model.safetensors").write_bytes(
                (folder / "model.safetensors").read_bytes()[:-1000]
            ),
            "cut short: 1000 bytes are missing",
        ),
    ],
)
def test_what_is_no_model_is_told_before_anything_is_started(tiny: Path, tmp_path: Path, spoil, words: str) -> None:
    shutil.copytree(tiny, tmp_path, dirs_exist_ok=True)
    spoil(tmp_path)
    with pytest.raises(NotACheckpoint, match=words):
        checkpoints.read(tmp_path)


def test_control_tokens_are_those_of_the_tokenizer_and_of_its_configuration(tiny: Path, tmp_path: Path) -> None:
    """Text of either would act: transformers adds the configuration's to the tokenizer."""
    shutil.copytree(tiny, tmp_path, dirs_exist_ok=True)
    known = checkpoints.read(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    added = {"70000": {"content": "<|more|>", "special": True}, "70001": {"content": "<b>", "special": False}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**config, "added_tokens_decoder": added}))
    assert set(checkpoints.read(tmp_path).control_tokens) == {*known.control_tokens, "<|more|>"}
    (tmp_path / "tokenizer.json").unlink()
    assert checkpoints.read(tmp_path).controls == {70000: "<|more|>"}


def test_tokens_have_their_bytes_also_inside_a_character(tiny: Path) -> None:
    found = vocabulary.read(checkpoints.read(tiny).tokenizer or {})
    assert len(found) == 49152
    assert found.piece(2) == b"<|im_end|>"
    pieces = {found.piece(token_id) for token_id in range(len(found))}
    assert {bytes([byte]) for byte in range(0x80, 0xC0)} <= pieces
    assert b" the" in pieces
    assert found.piece(10**6) == b""


def test_sentencepiece_marks_and_byte_tokens_are_read() -> None:
    found = vocabulary.read(
        {
            "model": {"type": "BPE", "vocab": {"<0xE2>": 3, "\u2581Hello": 4}},
            "decoder": {"type": "Sequence", "decoders": [{"type": "Replace"}, {"type": "ByteFallback"}]},
            "added_tokens": [{"id": 1, "content": "<s>", "special": True}],
        }
    )
    assert (found.piece(3), found.piece(4), found.piece(1)) == (b"\xe2", b" Hello", b"<s>")


def test_a_unigram_vocabulary_is_read_in_its_order() -> None:
    found = vocabulary.read({"model": {"type": "Unigram", "vocab": [["<unk>", 0.0], ["\u2581a", -1.0]]}})
    assert found.piece(1) == b" a"


@pytest.mark.parametrize(
    "content", [{"model": {"vocab": [5]}}, {"added_tokens": [{"content": "x"}]}, {"decoder": ["ByteLevel"]}]
)
async def test_a_tokenizer_of_another_form_is_told_before_anything_is_started(
    placement: Place, tiny: Path, tmp_path: Path, content: dict[str, Any]
) -> None:
    shutil.copytree(tiny, tmp_path, dirs_exist_ok=True)
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(LoadFailed, match=r"'tokenizer\.json' cannot be read") as caught:
        await VllmBackend().load(placement(tmp_path), (CPU,), lambda _: None)
    assert caught.value.code == "bad_tokenizer"

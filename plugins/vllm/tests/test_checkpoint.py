import json
import shutil
from pathlib import Path

import pytest

from enginehouse_vllm import checkpoint as checkpoints
from enginehouse_vllm import vocabulary
from enginehouse_vllm.checkpoint import NotACheckpoint


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
    assert 2 in found.control_ids
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

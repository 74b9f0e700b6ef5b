"""Headers of GGUF files."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import pytest

from enginehouse_llamacpp import gguf

STRING, ARRAY, UINT32, INT32, FLOAT32, BOOL = 8, 9, 4, 5, 6, 7


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def pair(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def array(kind: int, values: list[bytes]) -> bytes:
    return struct.pack("<IQ", kind, len(values)) + b"".join(values)


def header(*pairs: bytes, version: int = 3) -> bytes:
    return struct.pack("<4sIQQ", b"GGUF", version, 0, len(pairs)) + b"".join(pairs)


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


LLAMA = header(
    pair("general.architecture", STRING, text("llama")),
    pair("llama.block_count", UINT32, u32(2)),
    pair("llama.context_length", UINT32, u32(4096)),
    pair("llama.embedding_length", UINT32, u32(64)),
    pair("llama.feed_forward_length", UINT32, u32(256)),
    pair("llama.attention.head_count", UINT32, u32(4)),
    pair("llama.attention.head_count_kv", ARRAY, array(UINT32, [u32(1), u32(3)])),
    pair("llama.odd", FLOAT32, struct.pack("<f", 0.5)),
    pair("llama.flag", BOOL, b"\x01"),
    pair("tokenizer.ggml.tokens", ARRAY, array(STRING, [text("<s>"), text("a"), text("</s>")])),
    pair("tokenizer.ggml.token_type", ARRAY, array(INT32, [struct.pack("<i", kind) for kind in (3, 1, 3)])),
)


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def to(content: bytes, name: str = "model.gguf") -> str:
        path = tmp_path / name
        path.write_bytes(content)
        return str(path)

    return to


def test_metadata_is_read_by_key(write: Any) -> None:
    model = gguf.read(write(LLAMA + b"\0" * 100))
    assert model.architecture == "llama"
    assert model.training_context == 4096
    assert model.metadata["llama.odd"] == 0.5
    assert model.metadata["llama.flag"] is True
    assert model.vocabulary_size == 3
    assert model.control_tokens == {"<s>": 0, "</s>": 2}
    assert model.textless_ids == {0, 2}
    assert model.weight_bytes == len(LLAMA) + 100


@pytest.mark.parametrize(
    ("kind", "tokens", "longest"),
    [
        ("gpt2", [("Ġé", 1), ("<|fin|>", 3), ("ab", 1)], 7),
        ("gpt2", [("ĠĠĠ", 1), ("é", 4)], 3),
        ("gpt2", [("a", 1), ("éé", 4)], 4),
        ("llama", [("▁a", 1), ("b", 1)], 4),
        ("bert", [("▁a", 1)], None),
        ("gpt2", [], None),
    ],
)
def test_the_longest_token_is_known_where_a_tokenizer_keeps_all_text(
    kind: str, tokens: list[tuple[str, int]], longest: int | None
) -> None:
    """In a byte-level vocabulary each character of a normal token is one byte."""
    metadata = {
        "tokenizer.ggml.model": kind,
        "tokenizer.ggml.tokens": [text for text, _ in tokens],
        "tokenizer.ggml.token_type": [kind for _, kind in tokens],
    }
    assert gguf.described(metadata, 0).longest_token_bytes == longest


def test_of_the_vocabulary_what_it_tells_is_kept(write: Any) -> None:
    kinds = {"<s>": 3, "<unk>": 2, "a": 1, "": 3}
    metadata = {"tokenizer.ggml.tokens": list(kinds), "tokenizer.ggml.token_type": list(kinds.values()), "x": [1]}
    model = gguf.described({**metadata, "tokenizer.ggml.merges": ["a a"]}, 0)
    assert (model.vocabulary_size, model.control_tokens, model.textless_ids) == (4, {"<s>": 0}, {0, 1, 3})
    assert model.metadata == {"x": [1]}


def test_a_file_is_read_again_once_it_has_changed(write: Any) -> None:
    path = write(LLAMA)
    model = gguf.read(path)
    assert gguf.read(path) is model
    os.utime(path, ns=(1, 1))
    assert gguf.read(path) is not model


def test_the_cache_is_counted_over_the_heads_of_each_layer(write: Any) -> None:
    """Four heads in both layers together, 16 wide, keys and values."""
    model = gguf.read(write(LLAMA))
    assert model.cache_bytes(100, "f16", "f16") == 100 * 4 * 16 * 2 * 2
    assert model.cache_bytes(100, "q8_0", "f16") == 100 * 4 * 16 * (8.5 + 16) / 8


def test_all_shards_are_counted(write: Any) -> None:
    first = write(LLAMA, "m-00001-of-00002.gguf")
    write(b"\0" * 50, "m-00002-of-00002.gguf")
    write(b"\0" * 5000, "other-00002-of-00002.gguf")
    assert gguf.read(first).weight_bytes == len(LLAMA) + 50


@pytest.mark.parametrize(
    "content",
    [b"", b"GGUF", b"PK\x03\x04" + b"\0" * 40, header(version=1) + b"\0" * 24, LLAMA[:80], LLAMA[:-3]],
)
def test_what_is_no_gguf_is_refused(write: Any, content: bytes) -> None:
    with pytest.raises(gguf.NotGguf):
        gguf.read(write(content))


def test_a_damaged_length_does_not_take_all_memory(write: Any) -> None:
    huge = header(pair("k", STRING, struct.pack("<Q", 2**60)))
    with pytest.raises(gguf.NotGguf):
        gguf.read(write(huge + b"\0" * 64))
    many = header(pair("k", ARRAY, struct.pack("<IQ", UINT32, 2**60)))
    with pytest.raises(gguf.NotGguf):
        gguf.read(write(many + b"\0" * 64))


def test_what_the_file_recommends_for_sampling_is_told_in_a_requests_words(write: Any) -> None:
    def of(**values: float) -> dict[str, Any]:
        pairs = (pair(f"general.sampling.{key}", FLOAT32, struct.pack("<f", value)) for key, value in values.items())
        return gguf.read(write(header(*pairs))).sampling

    assert of(temp=0.2, top_p=0.9, min_p=0.0) == {"temperature": 0.2, "top_p": 0.9, "min_p": 0.0}
    assert of(penalty_repeat=1.1, penalty_last_n=64) == {"repetition_penalty": 1.1}
    assert of(xtc_probability=0.5, mirostat=0) == {"xtc_probability": 0.5}, "what nobody can ask for is told"
    whole = gguf.read(write(header(pair("general.sampling.top_k", INT32, struct.pack("<i", 20))))).sampling
    assert whole == {"top_k": 20}
    assert gguf.read(write(LLAMA)).sampling == {}


def with_tensor(kind: int, count: int, data: bytes) -> bytes:
    pairs = (pair("general.architecture", STRING, text("llama")),)
    head = struct.pack("<4sIQQ", b"GGUF", 3, 1, len(pairs)) + b"".join(pairs)
    head += text("blk.0") + struct.pack("<IQIQ", 1, count, kind, 0)
    return head + bytes(-len(head) % 32) + data


@pytest.mark.parametrize(("kind", "size"), [(0, 256), (1, 128), (3, 40), (8, 68)])
def test_a_file_that_was_cut_short_is_told_by_its_header(write: Any, kind: int, size: int) -> None:
    gguf.read(write(with_tensor(kind, 64, bytes(size))))
    with pytest.raises(gguf.NotGguf, match=r"it was cut short: it has \d+ bytes and needs"):
        gguf.read(write(with_tensor(kind, 64, bytes(size - 1))))

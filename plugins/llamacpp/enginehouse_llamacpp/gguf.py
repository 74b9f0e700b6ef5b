"""Read the header of a GGUF file: what the model is, before anything is loaded.

Source: the GGUF specification, versions 2 and 3 (little endian).
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import Any

import msgspec

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_NORMAL, _CONTROL = 1, 3  # of tokenizer.ggml.token_type: only parsed where special tokens are
_SHARD = "-00001-of-"

_CACHE_BITS = {
    "f32": 32.0,
    "f16": 16.0,
    "bf16": 16.0,
    "q8_0": 8.5,
    "q5_1": 6.0,
    "q5_0": 5.5,
    "q4_1": 5.0,
    "q4_0": 4.5,
    "iq4_nl": 4.5,
}


class NotGguf(ValueError):
    """The file is no GGUF file of a known version."""


class Gguf(msgspec.Struct, frozen=True):
    """A model's metadata by key, and the bytes of its weights on disk (all shards)."""

    metadata: dict[str, Any]  # values are of the types that GGUF has
    weight_bytes: int

    @property
    def architecture(self) -> str:
        """For example `llama`; the prefix of the architecture's own keys."""
        return str(self.metadata.get("general.architecture", ""))

    def number(self, key: str, default: int = 0) -> int:
        """The architecture's value *key*; for a value per layer, the largest."""
        value = self.metadata.get(f"{self.architecture}.{key}", default)
        return max(map(int, value), default=default) if isinstance(value, list) else int(value)

    @property
    def training_context(self) -> int:
        """Tokens of context that the model was trained for; 0 if the file does not say."""
        return self.number("context_length")

    @property
    def vocabulary_size(self) -> int:
        """Number of token ids."""
        return len(self.metadata.get("tokenizer.ggml.tokens", ()))

    @property
    def longest_token_bytes(self) -> int | None:
        """Bytes of text that one token can stand for; None if tokenizers of this kind drop text.

        Source: `tokenizer.ggml.model`; `gpt2` writes each byte as one character, `llama` a space as one of three bytes.
        """
        tokens = self.metadata.get("tokenizer.ggml.tokens") or [""]
        kind = self.metadata.get("tokenizer.ggml.model")
        if kind == "gpt2":
            # Control tokens and added ones are spelled out, in UTF-8.
            kinds = self.metadata.get("tokenizer.ggml.token_type") or [_NORMAL] * len(tokens)
            sizes = (len(t) if k == _NORMAL else len(t.encode()) for t, k in zip(tokens, kinds, strict=False))
            return max(sizes, default=0) or None
        return max(len(token.encode()) for token in tokens) or None if kind == "llama" else None

    @property
    def control_tokens(self) -> dict[str, int]:
        """Tokens that steer the model, such as `<|im_end|>`: their texts and ids."""
        kinds = self.metadata.get("tokenizer.ggml.token_type", ())
        tokens = self.metadata.get("tokenizer.ggml.tokens", ())
        pairs = enumerate(zip(tokens, kinds, strict=False))
        return {text: token_id for token_id, (text, kind) in pairs if kind == _CONTROL and text}

    def cache_bytes(self, tokens: int, type_k: str, type_v: str) -> int:
        """Bytes of a KV cache for *tokens* tokens.

        Source: the keys `*.block_count`, `*.attention.head_count_kv`, `*.attention.key_length`, `*.value_length`;
        layers without attention or with a sliding window take less than this.
        """
        layers = self.number("block_count")
        heads = self.number("attention.head_count") or 1
        width = self.number("embedding_length") // heads
        per_head = self.number("attention.key_length", width) * _CACHE_BITS[type_k]
        per_head += self.number("attention.value_length", width) * _CACHE_BITS[type_v]
        of_layers = self.metadata.get(f"{self.architecture}.attention.head_count_kv", heads)
        total_heads = sum(map(int, of_layers)) if isinstance(of_layers, list) else int(of_layers) * layers
        return int(tokens * total_heads * per_head / 8)

    def work_bytes(self, batch_tokens: int, slots: int) -> int:
        """Bytes that one step needs beside weights and cache: an estimate, from the widest layer and the logits."""
        widest = max(self.number("feed_forward_length"), 4 * self.number("embedding_length"))
        return 4 * (batch_tokens * 2 * widest + (batch_tokens + slots) * self.vocabulary_size)


def read(path: str) -> Gguf:
    """Read the header at *path*; of a model in shards, the first holds it all.

    Raises:
        NotGguf: no GGUF header there.
        OSError: the file cannot be read.
    """
    file = Path(path)
    if file.stat().st_size < 24:
        raise NotGguf("the file is too short")
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as view:
        magic, version, _, pairs = struct.unpack_from("<4sIQQ", view, 0)
        if magic != b"GGUF" or version not in (2, 3):
            raise NotGguf(f"it begins with {magic!r}, version {version}")
        try:
            metadata = _pairs(view, pairs)
        except (struct.error, UnicodeDecodeError, KeyError) as error:
            raise NotGguf("the header is cut short or damaged") from error
    return Gguf(metadata, sum(shard.stat().st_size for shard in shards(file)))


def shards(first: Path) -> list[Path]:
    """All files of a model whose first file is *first*."""
    if _SHARD not in first.name:
        return [first]
    stem, count = first.name.rsplit(_SHARD, 1)
    return sorted(first.parent.glob(f"{stem}-*-of-{count}"))


def _pairs(view: mmap.mmap, count: int) -> dict[str, Any]:  # Any: see Gguf.metadata
    metadata: dict[str, Any] = {}
    at = 24
    for _ in range(count):
        key, at = _string(view, at)
        (kind,) = struct.unpack_from("<I", view, at)
        metadata[key], at = _value(view, at + 4, kind)
    return metadata


def _value(view: mmap.mmap, at: int, kind: int) -> tuple[Any, int]:  # Any: see Gguf.metadata
    if kind == _STRING:
        return _string(view, at)
    if kind != _ARRAY:
        form = "<" + _SCALARS[kind]
        return struct.unpack_from(form, view, at)[0], at + struct.calcsize(form)
    inner, count = struct.unpack_from("<IQ", view, at)
    at += 12
    if inner in _SCALARS:
        form = f"<{count}{_SCALARS[inner]}"
        return list(struct.unpack_from(form, view, at)), at + struct.calcsize(form)
    values = []
    for _ in range(count):
        value, at = _value(view, at, inner)
        values.append(value)
    return values, at


def _string(view: mmap.mmap, at: int) -> tuple[str, int]:
    (size,) = struct.unpack_from("<Q", view, at)
    end = at + 8 + size
    if end > len(view):
        raise struct.error("a string runs over the end")
    return view[at + 8 : end].decode("utf-8", "replace"), end

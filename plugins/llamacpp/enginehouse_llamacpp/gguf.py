"""Read the header of a GGUF file: what the model is, before anything is loaded.

Source: the GGUF specification, versions 2 and 3 (little endian).
"""

from __future__ import annotations

import math
import mmap
import struct
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import msgspec

from enginehouse_kit.text.filling import Filling, filling_of

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_NORMAL, _UNKNOWN, _CONTROL = 1, 2, 3  # of tokenizer.ggml.token_type: only parsed where special tokens are
_SHARD = "-00001-of-"

_BLOCKS = {
    0: (1, 4), 1: (1, 2), 30: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210),
}  # fmt: skip
"""Numbers in a block and its bytes, by type: F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K to Q6_K."""

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

_SAMPLING = {
    "temp": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "penalty_repeat": "repetition_penalty",
    "xtc_probability": "xtc_probability",
    "mirostat": "mirostat",
}
RANK: Final = "rank"
_POOLINGS = {1: "mean", 2: "cls", 3: "last", 4: RANK}
_FILLING = (("fim_pre", "fim_suf", "fim_mid"), ("prefix", "suffix", "middle"))
_NO_FIELDS = ("xtc_probability", "mirostat")


class NotGguf(ValueError):
    """The file is no GGUF file of a known version."""


class Gguf(msgspec.Struct, frozen=True):
    """A model's metadata by key, the bytes of its weights on disk (all shards), and what its vocabulary tells.

    `longest_token_bytes` is the text that one token can stand for; None if tokenizers of this kind drop text.
    `control_tokens` steer the model, such as `<|im_end|>`: their texts and ids. `textless_ids` are the tokens that the
    engine prints as nothing: control tokens, and the one for what no other token can say. `filling` are those around
    texts between which another is filled in.
    """

    metadata: dict[str, Any]  # values are of the types that GGUF has
    weight_bytes: int
    vocabulary_size: int = 0
    longest_token_bytes: int | None = None
    control_tokens: dict[str, int] = {}
    textless_ids: frozenset[int] = frozenset()
    filling: Filling | None = None

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
    def pooling(self) -> str | None:
        """How the tokens of a text become one vector: `mean`, `cls`, `last`, or `rank`, one score; None: not told."""
        return _POOLINGS.get(self.number("pooling_type"))

    @property
    def sampling(self) -> dict[str, Any]:  # Any: see `metadata`
        """What the file recommends for fields of a request, and other sampling that it asks for.

        Source: the keys `general.sampling.*` of llama.cpp's writer, `gguf` 0.17.
        """
        found = {
            name: round(value, 6) if isinstance(value, float) else value  # 32 bits: 0.2 stands there as 0.200000003
            for key, name in _SAMPLING.items()
            if (value := self.metadata.get(f"general.sampling.{key}")) is not None
        }
        return {name: value for name, value in found.items() if name not in _NO_FIELDS or value}

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
    found = Path(path).stat()
    return _read(path, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=8)  # an engine that is started again has the same file
def _read(path: str, size: int, _mtime_ns: int) -> Gguf:
    file = Path(path)
    if size < 24:
        raise NotGguf("the file is too short")
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as view:
        magic, version, tensors, pairs = struct.unpack_from("<4sIQQ", view, 0)
        if magic != b"GGUF" or version not in (2, 3):
            raise NotGguf(f"it begins with {magic!r}, version {version}")
        try:
            metadata, at = _pairs(view, pairs)
            needed = _end(view, at, tensors, metadata)
        except (struct.error, UnicodeDecodeError, KeyError) as error:
            raise NotGguf("the header is cut short or damaged") from error
        if needed > len(view):
            raise NotGguf(f"it was cut short: it has {len(view)} bytes and needs {needed}")
    return described(metadata, sum(shard.stat().st_size for shard in shards(file)))


def described(metadata: dict[str, Any], weight_bytes: int) -> Gguf:  # Any: see Gguf.metadata
    """Look through the vocabulary in *metadata* once, and keep what it tells instead of it: it is long."""
    lists = {name: metadata.get(f"tokenizer.ggml.{name}") or [] for name in ("tokens", "token_type", "merges")}
    tokens, kinds = lists["tokens"], lists["token_type"]
    pairs = enumerate(zip(tokens, kinds, strict=False))
    return Gguf(
        {key: value for key, value in metadata.items() if key.removeprefix("tokenizer.ggml.") not in lists},
        weight_bytes,
        vocabulary_size=len(tokens),
        longest_token_bytes=_longest(metadata.get("tokenizer.ggml.model"), tokens, kinds),
        control_tokens={text: token_id for token_id, (text, kind) in pairs if kind == _CONTROL and text},
        textless_ids=frozenset(token_id for token_id, kind in enumerate(kinds) if kind in (_UNKNOWN, _CONTROL)),
        filling=_filling(metadata, tokens),
    )


def _filling(metadata: dict[str, Any], tokens: list[str]) -> Filling | None:  # Any: see Gguf.metadata
    """As the file says, in its own words or in those before; else as its vocabulary does. The engine has the ends."""
    for names in _FILLING:
        before, behind, between = (metadata.get(f"tokenizer.ggml.{name}_token_id", -1) for name in names)
        if all(0 <= token_id < len(tokens) for token_id in (before, behind, between)):
            return Filling(before, behind, between)
    return filling_of({text: token_id for token_id, text in enumerate(tokens)})


def _longest(kind: object, tokens: list[str], kinds: list[int]) -> int | None:
    """Bytes of the longest token's text.

    Source: `tokenizer.ggml.model`; `gpt2` writes each byte as one character, `llama` a space as one of three bytes.
    """
    if kind == "gpt2":
        # Control tokens and added ones are spelled out, in UTF-8.
        pairs = zip(tokens, kinds or [_NORMAL] * len(tokens), strict=False)
        return max((len(t) if k == _NORMAL else len(t.encode()) for t, k in pairs), default=0) or None
    return max((len(token.encode()) for token in tokens), default=0) or None if kind == "llama" else None


def shards(first: Path) -> list[Path]:
    """All files of a model whose first file is *first*."""
    if _SHARD not in first.name:
        return [first]
    stem, count = first.name.rsplit(_SHARD, 1)
    return sorted(first.parent.glob(f"{stem}-*-of-{count}"))


def _end(view: mmap.mmap, at: int, tensors: int, metadata: dict[str, Any]) -> int:
    """Bytes that the file has at the least: to the end of its last tensor, or of a type not known here, its begin."""
    end = 0
    for _ in range(tensors):
        _, at = _string(view, at)
        (dimensions,) = struct.unpack_from("<I", view, at)
        *shape, kind, offset = struct.unpack_from(f"<{dimensions}QIQ", view, at + 4)
        at += 4 + 8 * dimensions + 12
        block, size = _BLOCKS.get(kind, (1, 0))
        end = max(end, offset + math.prod(shape) // block * size)
    alignment = int(metadata.get("general.alignment", 32))
    return -(-at // alignment) * alignment + end if tensors else at


def _pairs(view: mmap.mmap, count: int) -> tuple[dict[str, Any], int]:  # Any: see Gguf.metadata
    metadata: dict[str, Any] = {}
    at = 24
    for _ in range(count):
        key, at = _string(view, at)
        (kind,) = struct.unpack_from("<I", view, at)
        metadata[key], at = _value(view, at + 4, kind)
    return metadata, at


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

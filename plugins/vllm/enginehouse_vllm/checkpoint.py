"""What a Hugging Face folder tells about its model before it is loaded."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec

from enginehouse_kit.files import open_file, read_file
from enginehouse_plugin.threadsafe import threadsafe

WIDTHS = {"float32": 4, "float16": 2, "bfloat16": 2, "fp8": 1}
_WIDE = {"F64": 8, "I64": 8, "U64": 8, "I32": 4, "U32": 4, "I16": 2, "U16": 2}  # others of one byte, or less
_FLOATS = {"F32", "F16", "BF16"}
_MAX_HEADER_BYTES = 200_000_000
_UNREADABLE = (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What reading a JSON file may raise."""


class NotACheckpoint(Exception):
    """The folder holds no model that vLLM can read; the message says why."""


@threadsafe
class _Tensor(msgspec.Struct):
    """A tensor in the header of a safetensors file."""

    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


@threadsafe
class _Added(msgspec.Struct):
    """A token that a tokenizer has beside its vocabulary."""

    content: str
    id: int = -1
    special: bool = False


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A model's configuration, its weights by type of number, and its chat template.

    `parameters` counts the numbers of each safetensors type (`F32`, `BF16`, …); `weight_bytes` is the size of all
    files of weights, of other formats too; `controls` are the special tokens, by id, `added_ids` the ids of all that
    stand beside the vocabulary, and `ending` the text of the one that ends an answer.
    """

    folder: Path
    config: dict[str, Any]  # JSON
    parameters: dict[str, int]
    weight_bytes: int
    template: str | None
    tokenizer: dict[str, Any] | None  # JSON: tokenizer.json, where there is one
    controls: dict[int, str] = {}
    ending: str | None = None
    added_ids: dict[str, int] = {}

    @property
    def model_type(self) -> str:
        """The family's name in the configuration."""
        return str(self.config.get("model_type", ""))

    @property
    def architectures(self) -> tuple[str, ...]:
        """Class names that the configuration asks for."""
        return tuple(str(name) for name in self.config.get("architectures") or ())

    @property
    def text_config(self) -> dict[str, Any]:  # JSON
        """The language model's part of the configuration, for models with several."""
        part = self.config.get("text_config")
        return part if isinstance(part, dict) else self.config

    @property
    def context_tokens(self) -> int | None:
        """What the model was trained for."""
        return self._number("max_position_embeddings", "max_sequence_length", "n_positions", "seq_length")

    @property
    def vocabulary_size(self) -> int | None:
        """Rows of the embedding."""
        return self._number("vocab_size")

    @property
    def layers(self) -> int:
        """Layers; 0 where the configuration does not say."""
        return self._number("num_hidden_layers", "n_layer", "num_layers") or 0

    @property
    def hidden_size(self) -> int:
        """Width of a layer; 0 where the configuration does not say."""
        return self._number("hidden_size", "n_embd", "d_model") or 0

    def dtype(self, wanted: str, on_gpu: bool) -> str:
        """The type that the model computes in, where *wanted* is the option."""
        if wanted != "auto":
            return wanted
        found = str(self.text_config.get("dtype") or self.text_config.get("torch_dtype") or "")
        found = found or str(self.config.get("dtype") or self.config.get("torch_dtype") or "")
        if found == "float32":  # vLLM's own choice for weights in float32, except where half precision is slow
            return "float16" if on_gpu else "float32"
        if found == "float16" and not on_gpu:
            return "bfloat16"
        return found if found in WIDTHS else "bfloat16"

    def loaded_bytes(self, dtype: str) -> int:
        """Bytes of the weights once loaded: numbers are converted to *dtype*, quantised ones stay as they are."""
        if not self.parameters:
            return self.weight_bytes
        width = WIDTHS[dtype]
        return sum(
            count * (width if kind in _FLOATS else _WIDE.get(kind, 1)) for kind, count in self.parameters.items()
        )

    @property
    def heads(self) -> int:
        """Attention heads of a layer; 0 where the configuration does not say."""
        return self._number("num_attention_heads", "n_head") or 0

    def cache_bytes_per_token(self, width: int, devices: int = 1) -> int:
        """Bytes of KV cache that one token takes on each of *devices*, where a number takes *width* bytes.

        Heads are shared out; where there are more devices than heads, several keep the same one.
        """
        heads = self.heads or 1
        key_heads = self._number("num_key_value_heads") or heads
        size = self._number("head_dim") or self.hidden_size // heads
        latent = self._number("kv_lora_rank")
        if latent is not None:  # multi-head latent attention keeps one compressed vector, and a part for positions
            return self.layers * (latent + (self._number("qk_rope_head_dim") or 0)) * width
        return self.layers * 2 * max(key_heads // devices, 1) * size * width

    @property
    def control_tokens(self) -> tuple[str, ...]:
        """Texts of the special tokens."""
        return tuple(self.controls.values())

    def _number(self, *names: str) -> int | None:
        for part in (self.text_config, self.config):
            for name in names:
                value = part.get(name)
                if isinstance(value, int) and not isinstance(value, bool):
                    return value
        return None


def read(path: str | Path) -> Checkpoint:
    """Read the folder at *path*.

    Raises:
        NotACheckpoint: it lacks a readable `config.json`, or weights.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise NotACheckpoint(f"'{folder}' is not a folder")
    config = _json(folder / "config.json")
    if config is None:
        raise NotACheckpoint(f"'{folder}' has no config.json")
    files = _weight_files(folder)
    if not files:
        raise NotACheckpoint(f"'{folder}' has no weights (*.safetensors)")
    parameters: dict[str, int] = {}
    for file in files:
        if file.suffix == ".safetensors":
            _count(file, parameters)
    tokenizer = _json(folder / "tokenizer.json")
    added = _added(folder, tokenizer)
    return Checkpoint(
        folder=folder,
        config=config,
        parameters=parameters,
        weight_bytes=sum(file.stat().st_size for file in files),
        template=_template(folder),
        tokenizer=tokenizer,
        controls={number: token.content for number, token in added.items() if token.special},
        added_ids={token.content: number for number, token in added.items()},
        ending=_ending(folder),
    )


def _weight_files(folder: Path) -> list[Path]:
    """The files that hold the weights: those of the index, where there is one.

    Some models are published twice in one folder: `consolidated.safetensors` has the same weights in another form.
    """
    index = (_json(folder / "model.safetensors.index.json") or {}).get("weight_map")
    if isinstance(index, dict):
        files = [folder / name for name in sorted(set(map(str, index.values())))]
        missing = [file.name for file in files if not file.is_file()]
        if missing:
            raise NotACheckpoint(
                f"{len(missing)} of its {len(files)} files of weights are missing: '{missing[0]}' first"
            )
        return files
    files = sorted(folder.glob("*.safetensors"))
    files = [file for file in files if not file.name.startswith("consolidated")] or files
    return files or sorted([*folder.glob("*.bin"), *folder.glob("*.pt")])


def _count(file: Path, parameters: dict[str, int]) -> None:
    """Add the numbers in *file*, by type, from its header: eight bytes of length, then JSON."""
    try:
        with open_file(file) as stream:
            size = int.from_bytes(stream.read(8), "little")
            if size > _MAX_HEADER_BYTES:
                raise NotACheckpoint(f"'{file.name}' is no safetensors file: its header would have {size} bytes")
            header = msgspec.json.decode(stream.read(size), type=dict[str, Any])
    except _UNREADABLE as error:
        raise NotACheckpoint(f"'{file.name}' is no safetensors file: {error}") from error
    header.pop("__metadata__", None)
    end = 0
    try:
        for tensor in msgspec.convert(header, dict[str, _Tensor]).values():
            parameters[tensor.dtype] = parameters.get(tensor.dtype, 0) + math.prod(tensor.shape)
            end = max(end, tensor.data_offsets[1])
    except msgspec.ValidationError as error:
        raise NotACheckpoint(f"'{file.name}' is no safetensors file: {error}") from error
    missing = 8 + size + end - file.stat().st_size
    if missing > 0:
        raise NotACheckpoint(f"'{file.name}' is cut short: {missing} bytes are missing")


def _template(folder: Path) -> str | None:
    """The chat template: a file of its own, or a key of the tokenizer's configuration."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return read_file(file).decode(errors="replace")
    for name in ("tokenizer_config.json", "chat_template.json"):
        found = (_json(folder / name) or {}).get("chat_template")
        if isinstance(found, str):
            return found
        if isinstance(found, list):  # several, by name
            named = {str(entry.get("name")): entry.get("template") for entry in found if isinstance(entry, dict)}
            default = named.get("tool_use") or named.get("default")
            if isinstance(default, str):
                return default
    return None


def _added(folder: Path, tokenizer: dict[str, Any] | None) -> dict[int, _Added]:  # JSON
    """The tokens that `tokenizer.json` has beside its vocabulary, and those that the tokenizer's configuration adds."""
    config = _json(folder / "tokenizer_config.json") or {}
    try:
        added = msgspec.convert((tokenizer or {}).get("added_tokens") or [], list[_Added])
        more = msgspec.convert(config.get("added_tokens_decoder") or {}, dict[int, _Added], strict=False)
    except msgspec.ValidationError as error:
        raise NotACheckpoint(f"its tokenizer's added tokens cannot be read: {error}") from error
    tokens = {**{token.id: token for token in added}, **more}
    return {number: token for number, token in tokens.items() if token.content}


def _ending(folder: Path) -> str | None:
    """The tokenizer's token that ends an answer; older files say more of it than its text."""
    token = (_json(folder / "tokenizer_config.json") or {}).get("eos_token")
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else None


def _json(file: Path) -> dict[str, Any] | None:  # JSON
    """The object in *file*; None without the file.

    Raises:
        NotACheckpoint: it cannot be read.
    """
    try:
        return msgspec.json.decode(read_file(file), type=dict[str, Any])
    except FileNotFoundError:
        return None
    except _UNREADABLE as error:
        raise NotACheckpoint(f"'{file.name}' cannot be read: {error}") from error

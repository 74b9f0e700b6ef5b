"""What a folder of weights says of itself before it is loaded: `config.json` and the headers of its safetensors."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import msgspec

from enginehouse_kit.files import open_file, read_file
from enginehouse_plugin import Placement
from enginehouse_plugin.errors import LoadFailed, SourceNotFound
from enginehouse_plugin.threadsafe import threadsafe

QUANTISATIONS = frozenset(
    ("bitnet", "mxfp4", "mxfp8", "fp8", "compressed-tensors", "modelopt", "awq", "gptq")
)  # mlx_lm.utils.load_model, beside MLX's own `quantization`
_MAX_HEADER_BYTES = 100_000_000
_BITS = {"F64": 64, "F32": 32, "BF16": 16, "F16": 16, "I64": 64, "U64": 64, "I32": 32, "U32": 32}
_BITS |= {"I16": 16, "U16": 16, "I8": 8, "U8": 8, "BOOL": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8}
_DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
_DTYPE_BITS = {"float32": 32, "bfloat16": 16, "float16": 16}


_UNREADABLE = (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What reading a JSON file may raise."""


_TOWERS = ("vision", "visual", "audio")  # parts of models for more than text, which mlx_lm leaves out


@threadsafe
class TensorInfo(msgspec.Struct, frozen=True):
    """A tensor as the header of its file tells it."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


@threadsafe
class _Index(msgspec.Struct, frozen=True):
    """`model.safetensors.index.json`: the file of each tensor."""

    weight_map: dict[str, str] = {}


class Weights(msgspec.Struct, frozen=True, kw_only=True):
    """A folder of weights: its `config.json`, and its tensors by name."""

    path: Path
    config: dict[str, Any]  # JSON
    tensors: dict[str, TensorInfo]

    @property
    def dtype(self) -> str:
        """The type that most bytes of floating-point tensors have; activations and KV cache have it too."""
        sizes = dict.fromkeys(_DTYPES, 0)
        for tensor in self.tensors.values():
            if tensor.dtype in sizes:
                sizes[tensor.dtype] += tensor.data_offsets[1] - tensor.data_offsets[0]
        most = max(sizes, key=lambda name: sizes[name])
        return _DTYPES[most] if sizes[most] else "float16"

    @property
    def projected_width(self) -> int:
        """Values that a token's keys and values have in all layers, by the shapes of what projects them."""
        ends = (".self_attn.k_proj.weight", ".self_attn.v_proj.weight")
        return sum(
            tensor.shape[0]
            for name, tensor in self.tensors.items()
            if name.endswith(ends) and tensor.shape and not any(tower in name for tower in _TOWERS)
        )

    def weight_bytes(self, dtype: str | None) -> int:
        """Bytes of all tensors, those of floating-point types in *dtype* unless it is None."""
        total = 0
        for tensor in self.tensors.values():
            size = tensor.data_offsets[1] - tensor.data_offsets[0]
            if dtype is not None and tensor.dtype in _DTYPES:
                size = size * _DTYPE_BITS[dtype] // _BITS[tensor.dtype]
            total += size
        return total


def read(placement: Placement) -> Weights:
    """Read the metadata of *placement*'s weights.

    Raises:
        SourceNotFound: there is no folder.
        LoadFailed: the folder holds no model that MLX can read; the error says what is wrong with it.
    """
    if placement.path is None or not Path(placement.path).exists():
        raise SourceNotFound(placement.source, fix="MLX needs a folder with config.json and safetensors files.")
    folder = Path(placement.path)
    if not folder.is_dir():
        kind = "a GGUF file, which is llama.cpp's" if folder.suffix == ".gguf" else "a file"
        raise _bad(f"'{folder}' is {kind}; MLX needs a folder with config.json and safetensors files.")
    config = _config(folder)
    _check_quantisation(folder, config)
    files = sorted(folder.glob("model*.safetensors"))  # the names that mlx_lm loads
    if not files:
        others = sorted({path.suffix for path in folder.iterdir()} & {".bin", ".pt", ".pth", ".gguf", ".npz"})
        instead = f"; it has {', '.join(others)} files, which MLX cannot read" if others else ""
        raise _bad(f"'{folder}' has no model*.safetensors{instead}.")
    tensors: dict[str, TensorInfo] = {}
    for file in files:
        tensors |= _header(file)
    _check_shards(folder, {file.name for file in files})
    return Weights(path=folder, config=config, tensors=tensors)


def _config(folder: Path) -> dict[str, Any]:  # JSON
    path = folder / "config.json"
    try:
        config = msgspec.json.decode(read_file(path), type=dict[str, Any])
    except FileNotFoundError as error:
        raise _bad(f"'{folder}' has no config.json; MLX needs it beside the safetensors files.") from error
    except _UNREADABLE as error:
        raise _bad(f"'{path}' cannot be read: {error}.") from error
    if not isinstance(config.get("model_type"), str):
        raise _bad(f"'{path}' has no model_type, so the architecture is unknown.")
    return config


def _check_quantisation(folder: Path, config: dict[str, Any]) -> None:  # JSON
    nested = config.get("text_config")
    quantisation = config.get("quantization_config") or (
        nested.get("quantization_config") if isinstance(nested, dict) else None
    )
    if "quantization" in config or not isinstance(quantisation, dict):
        return
    method = quantisation.get("quant_method")
    if method not in QUANTISATIONS:
        raise LoadFailed(
            f"'{folder}' is quantised with '{method}', which MLX cannot read. It reads its own quantisation and "
            f"{', '.join(sorted(QUANTISATIONS))}; mlx_lm.convert makes MLX's own from unquantised weights.",
            retryable=False,
            code="unsupported_quantisation",
        )


def _header(file: Path) -> dict[str, TensorInfo]:
    """The tensors of *file*, whose length must be what they need."""
    try:
        size = file.stat().st_size
        with open_file(file) as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            if length > min(_MAX_HEADER_BYTES, size - 8):
                raise _bad(f"'{file}' is no safetensors file, or was cut short.")
            entries = msgspec.json.decode(opened.read(length), type=dict[str, Any])
        entries.pop("__metadata__", None)
        tensors = msgspec.convert(entries, dict[str, TensorInfo])
    except (*_UNREADABLE, struct.error) as error:
        raise _bad(f"'{file}' is no safetensors file: {error}.") from error
    needed = 8 + length + max((tensor.data_offsets[1] for tensor in tensors.values()), default=0)
    if size < needed:
        raise _bad(f"'{file}' was cut short: it has {size} bytes and needs {needed}.")
    for name, tensor in tensors.items():
        if tensor.dtype not in _BITS:
            raise _bad(f"'{file}' holds '{name}' as {tensor.dtype}, a type that MLX cannot read.")
    return tensors


def _check_shards(folder: Path, found: set[str]) -> None:
    """Refuse a folder that lacks files which its index names."""
    try:
        index = msgspec.json.decode(read_file(folder / "model.safetensors.index.json"), type=_Index)
    except _UNREADABLE:
        return  # mlx_lm does not read it either
    missing = sorted(set(index.weight_map.values()) - found)
    if missing:
        raise _bad(f"'{folder}' lacks {', '.join(missing)}, which its index names.")


def _bad(message: str) -> LoadFailed:
    return LoadFailed(message, retryable=False, code="bad_weights")

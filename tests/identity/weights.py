"""Changes of the embedded model's float32 weights, by the package gguf: no engine's tool is needed.

A change is a GGUF file, or its dequantised weights as a Hugging Face folder for engines that read those: there the
weights are those of the quantisation, and the arithmetic is float32.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import gguf
import numpy as np
from gguf import quants

from tests.weights import gguf_files, hugging_face, smollm2_gguf_f32, smollm2_hf

RANK, SHARE = 4, 0.02
"""Of a small tune: the rank of the change of each query and value matrix, and its size as a share of the matrix."""
NOISE_LAYER, NOISE = 15, 1e-3
"""The layer whose matrices get noise, and its size as a share of the matrix."""
TYPES = ("F16", "BF16", "Q8_0", "Q5_0", "Q4_0")
TUNED, NOISY, ROPE, STRETCHED = "rank-4", "noise", "rope-base", "rope-scale"
_FIELDS: dict[str, dict[str, float]] = {
    ROPE: {"llama.rope.freq_base": 1.1},
    STRETCHED: {"llama.rope.freq_base": 2.0},
}
"""Numbers of the file that are multiplied."""


def _dice(name: str) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big"))


def _tuned(name: str, data: np.ndarray) -> np.ndarray:
    """*data*, with a change of low rank where it is a matrix of queries or values."""
    if not name.endswith(("attn_q.weight", "attn_v.weight")):
        return data
    dice = _dice(name)
    change = dice.standard_normal((data.shape[0], RANK)) @ dice.standard_normal((RANK, data.shape[1]))
    return _with(data, change, SHARE)


def _noisy(name: str, data: np.ndarray) -> np.ndarray:
    """*data*, with noise where it is a matrix of one layer."""
    return _with(data, _dice(name).standard_normal(data.shape), NOISE) if f"blk.{NOISE_LAYER}." in name else data


def _with(data: np.ndarray, change: np.ndarray, share: float) -> np.ndarray:
    size = share * np.linalg.norm(data) / np.linalg.norm(change)
    return (data + size * change).astype(np.float32)


_CHANGES = {TUNED: _tuned, NOISY: _noisy}


def changed(name: str, folder: Path) -> Path:
    """The file in *folder* with the change *name*, or with matrices of the type *name*; made if it is not there."""
    path = _made_in(folder, name, ".gguf")
    if path.is_file():
        return path
    work = path.with_suffix(".part")
    reader, writer = gguf.GGUFReader(smollm2_gguf_f32()), gguf.GGUFWriter(work, "llama")
    for field in reader.fields.values():
        if field.name == "general.architecture" or field.name.startswith("GGUF."):
            continue
        kind = field.types[0]
        inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        times = _FIELDS.get(name, {}).get(field.name)
        writer.add_key_value(field.name, field.contents() * times if times else field.contents(), kind, inner)
    for tensor in reader.tensors:
        data = np.asarray(tensor.data, np.float32)
        if data.ndim < 2 or name in _FIELDS:
            writer.add_tensor(tensor.name, data)
        elif name in _CHANGES:
            writer.add_tensor(tensor.name, _CHANGES[name](tensor.name, data))
        elif name == "F16":
            writer.add_tensor(tensor.name, data.astype(np.float16))
        else:
            kind = gguf.GGMLQuantizationType[name]
            writer.add_tensor(tensor.name, quants.quantize(data, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    work.rename(path)
    return path


def changed_hf(name: str, folder: Path) -> Path:
    """The folder in *folder* with the weights of `changed`, dequantised to float32; made if it is not there."""
    path = _made_in(folder, name, "-hf")
    if not path.is_dir():
        work = path.with_suffix(".part")
        work.mkdir(exist_ok=True)
        hugging_face.write(gguf_files.read(changed(name, folder)), work, dtype="f32")
        work.rename(path)
    return path


def mlx_4_bits(folder: Path) -> Path:
    """The folder in *folder* with the weights in MLX's own 4 bits, in groups of 64; made if it is not there."""
    from mlx_lm import convert

    path = _made_in(folder, "mlx-4", "-hf")
    if not path.is_dir():
        convert(str(smollm2_hf()), str(path), quantize=True, q_bits=4, q_group_size=64)
    return path


def _made_in(folder: Path, name: str, ending: str) -> Path:
    """Where *name* is in *folder*: another source, or another recipe, is another place."""
    folder.mkdir(parents=True, exist_ok=True)
    recipe = hashlib.sha256(smollm2_gguf_f32().parent.name.encode() + Path(__file__).read_bytes()).hexdigest()[:12]
    return folder / f"smollm2-135m-{name}-{recipe}{ending}"

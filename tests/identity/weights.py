"""Quantisations of the embedded model's float32 weights, by the package gguf: no engine's tool is needed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import gguf
import numpy as np
from gguf import quants

from tests.weights import smollm2_gguf_f32

RANK, SHARE = 4, 0.02
"""Of a small tune: the rank of the change of each query and value matrix, and its size as a share of the matrix."""
TUNED = "rank-4"
TYPES = ("F16", "BF16", "Q8_0", "Q5_0", "Q4_0")


def tuned(folder: Path) -> Path:
    """The file in *folder* whose queries and values are changed a little, as by a small fine-tune."""
    return quantised(TUNED, folder)


def _changed(name: str, data: np.ndarray) -> np.ndarray:
    """*data*, with a change of low rank where it is a matrix of queries or values."""
    if not name.endswith(("attn_q.weight", "attn_v.weight")):
        return data
    dice = np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big"))
    change = dice.standard_normal((data.shape[0], RANK)) @ dice.standard_normal((RANK, data.shape[1]))
    size = SHARE * np.linalg.norm(data) / np.linalg.norm(change)
    return (data + size * change).astype(np.float32)


def quantised(name: str, folder: Path) -> Path:
    """The file in *folder* whose matrices are of the type *name*; made if it is not there."""
    source = smollm2_gguf_f32()
    recipe = hashlib.sha256(source.parent.name.encode() + Path(__file__).read_bytes()).hexdigest()[:12]
    path = folder / f"smollm2-135m-{name}-{recipe}.gguf"
    if path.is_file():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    work = path.with_suffix(".part")
    reader, writer = gguf.GGUFReader(source), gguf.GGUFWriter(work, "llama")
    for field in reader.fields.values():
        if field.name == "general.architecture" or field.name.startswith("GGUF."):
            continue
        kind = field.types[0]
        inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, inner)
    for tensor in reader.tensors:
        data = np.asarray(tensor.data, np.float32)
        if data.ndim < 2:
            writer.add_tensor(tensor.name, data)
        elif name == TUNED:
            writer.add_tensor(tensor.name, _changed(tensor.name, data))
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

"""A random model for benches, large enough that the model's own work outweighs what surrounds it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from enginehouse.weights import Progress, resolve
from enginehouse.weights.demo import DEMOS
from tests.weights import gguf_files, hugging_face, llama

_LAYERS, _HIDDEN, _FEED_FORWARD, _HEADS, _KV_HEADS = 6, 256, 768, 8, 4
_LAYER_STD = 0.15  # the tiny model's, for four times the width


def larger_hf(folder: Path) -> Path:
    """Write into *folder* a model of 17 million parameters in f32: 6 layers, hidden size 256, the tiny one's tokens."""
    source = resolve(DEMOS["smollm2-135m"].source, progress=Progress())
    assert source is not None
    hugging_face.write(_model(llama.random_model(gguf_files.read(source))), folder, dtype="f32")
    return folder


def _model(tiny: llama.Model) -> llama.Model:
    shape = msgspec.structs.replace(
        tiny.shape, layers=_LAYERS, hidden=_HIDDEN, feed_forward=_FEED_FORWARD, heads=_HEADS, kv_heads=_KV_HEADS
    )
    random = np.random.default_rng(256)

    def drawn(rows: int, columns: int, std: float) -> llama.Weights:
        return random.standard_normal((rows, columns), np.float32) * np.float32(std)

    tensors = {
        "token_embd.weight": drawn(shape.vocabulary, shape.hidden, 0.02),
        "output_norm.weight": np.ones(shape.hidden, np.float32),
    }
    rows = {
        "attn_q": (shape.heads * shape.head, shape.hidden),
        "attn_k": (shape.kv_heads * shape.head, shape.hidden),
        "attn_v": (shape.kv_heads * shape.head, shape.hidden),
        "attn_output": (shape.hidden, shape.heads * shape.head),
        "ffn_gate": (shape.feed_forward, shape.hidden),
        "ffn_up": (shape.feed_forward, shape.hidden),
        "ffn_down": (shape.hidden, shape.feed_forward),
    }
    for layer in range(shape.layers):
        for name in ("attn_norm", "ffn_norm"):
            tensors[f"blk.{layer}.{name}.weight"] = np.ones(shape.hidden, np.float32)
        for name, (height, width) in rows.items():
            tensors[f"blk.{layer}.{name}.weight"] = drawn(height, width, _LAYER_STD)
    return llama.Model(name="larger-random", shape=shape, vocabulary=tiny.vocabulary, tensors=tensors)

"""What a Llama model's last layer makes of tokens, by its definition and in numpy alone: a judge of every engine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file

Numbers = npt.NDArray[np.float64]


def vector(folder: Path, token_ids: Sequence[int], pooling: Literal["mean", "last", "cls"] = "mean") -> Numbers:
    """The vector of *token_ids* by the model in the Hugging Face *folder*, of length one."""
    states = _hidden_states(folder, token_ids)
    pooled = states.mean(axis=0) if pooling == "mean" else states[-1 if pooling == "last" else 0]
    return np.asarray(pooled / np.linalg.norm(pooled), np.float64)


@cache
def _read(folder: Path) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    return json.loads((folder / "config.json").read_text()), load_file(folder / "model.safetensors")


def _hidden_states(folder: Path, token_ids: Sequence[int]) -> Numbers:
    config, weights = _read(folder)
    states: Numbers = weights["model.embed_tokens.weight"][list(token_ids)].astype(np.float64)
    count, head = len(token_ids), config["head_dim"]
    per_kv = config["num_attention_heads"] // config["num_key_value_heads"]
    mask = np.triu(np.full((count, count), -np.inf), 1)

    def normed(values: Numbers, name: str) -> Numbers:
        scale = np.sqrt((values**2).mean(-1, keepdims=True) + config["rms_norm_eps"])
        return np.asarray(values / scale * weights[f"model.{name}.weight"])

    for layer in range(config["num_hidden_layers"]):
        prefix = f"layers.{layer}"

        def projected(values: Numbers, name: str, prefix: str = prefix) -> Numbers:
            return np.asarray(values @ weights[f"model.{prefix}.{name}.weight"].astype(np.float64).T)

        inner = normed(states, f"{prefix}.input_layernorm")
        query, key, value = (
            projected(inner, f"self_attn.{name}_proj").reshape(count, -1, head).swapaxes(0, 1) for name in "qkv"
        )
        query, key = _rotated(query, config["rope_theta"]), _rotated(key, config["rope_theta"])
        scores = query @ key.repeat(per_kv, 0).swapaxes(1, 2) / np.sqrt(head) + mask
        attended = (_softmax(scores) @ value.repeat(per_kv, 0)).swapaxes(0, 1).reshape(count, -1)
        states = states + projected(attended, "self_attn.o_proj")
        inner = normed(states, f"{prefix}.post_attention_layernorm")
        gate = projected(inner, "mlp.gate_proj")
        states = states + projected(gate / (1 + np.exp(-gate)) * projected(inner, "mlp.up_proj"), "mlp.down_proj")
    return normed(states, "norm")


def _rotated(values: Numbers, theta: float) -> Numbers:
    """Each head turned by its place: the first half against the second."""
    count, half = values.shape[1], values.shape[2] // 2
    angles = np.outer(np.arange(count), theta ** (-np.arange(half) / half))
    first, second = values[..., :half], values[..., half:]
    cos, sin = np.cos(angles), np.sin(angles)
    return np.concatenate([first * cos - second * sin, first * sin + second * cos], axis=-1)


def _softmax(values: Any) -> Any:  # numpy's own arithmetic loses the types
    shares = np.exp(values - values.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)

"""Hugging Face folders, as vLLM, MLX and transformers read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from safetensors import TensorSpec, serialize_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from .llama import CONTROL, Model, Vocabulary, Weights

_DTYPES = {"f32": "float32", "bf16": "bfloat16"}
_WHOLE = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def write(model: Model, folder: Path, *, dtype: Literal["f32", "bf16"]) -> None:
    """Write *model* into *folder*, its weights as *dtype*."""
    _write_json(folder / "config.json", _config(model, dtype))
    _write_json(folder / "generation_config.json", _special_ids(model.vocabulary))
    _write_tensors(model, folder / "model.safetensors", dtype)
    _tokenizer(model.vocabulary).save(str(folder / "tokenizer.json"), pretty=False)
    special = _special_tokens(model.vocabulary)
    _write_json(folder / "special_tokens_map.json", special)
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            **special,
            "model_max_length": model.shape.context_tokens,
            "add_bos_token": False,
            "add_prefix_space": False,
            "clean_up_tokenization_spaces": False,
            "chat_template": model.vocabulary.chat_template,
        },
    )


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _config(model: Model, dtype: str) -> dict[str, Any]:
    shape = model.shape
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": shape.hidden,
        "intermediate_size": shape.feed_forward,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head,
        "max_position_embeddings": shape.context_tokens,
        "rms_norm_eps": _shortest(shape.norm_epsilon),
        "rope_theta": shape.rope_theta,
        "vocab_size": shape.vocabulary,
        "tie_word_embeddings": "output.weight" not in model.tensors,
        "attention_bias": False,
        "mlp_bias": False,
        "dtype": _DTYPES[dtype],
        "torch_dtype": _DTYPES[dtype],  # the name before transformers 4.56
        **_special_ids(model.vocabulary),
    }


def _shortest(value: float) -> float:
    """The shortest decimal that is the same f32: 1e-05 for what the file keeps as 9.999999747378752e-06."""
    return float(str(np.float32(value)))


def _special_ids(vocabulary: Vocabulary) -> dict[str, int]:
    return {
        "bos_token_id": vocabulary.bos,
        "eos_token_id": vocabulary.eos,
        "pad_token_id": vocabulary.padding,
    }


def _special_tokens(vocabulary: Vocabulary) -> dict[str, str]:
    return {
        "bos_token": vocabulary.tokens[vocabulary.bos],
        "eos_token": vocabulary.tokens[vocabulary.eos],
        "pad_token": vocabulary.tokens[vocabulary.padding],
        "unk_token": vocabulary.tokens[vocabulary.unknown],
    }


def _tokenizer(vocabulary: Vocabulary) -> Tokenizer:
    assert vocabulary.pre_tokenizer == "smollm", vocabulary.pre_tokenizer
    tokenizer = Tokenizer(
        models.BPE(
            vocab={token: at for at, token in enumerate(vocabulary.tokens)},
            merges=[_pair(merge) for merge in vocabulary.merges],
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [
            AddedToken(token, special=True, normalized=False)
            for token, kind in zip(vocabulary.tokens, vocabulary.token_types, strict=True)
            if kind == CONTROL
        ]
    )
    return tokenizer


def _pair(merge: str) -> tuple[str, str]:
    left, right = merge.split(" ")  # blanks inside tokens are spelled otherwise
    return left, right


def _tensor_name(name: str) -> str:
    if not name.startswith("blk."):
        part, suffix = name.rsplit(".", 1)
        return f"{_WHOLE[part]}.{suffix}"
    _, layer, part, suffix = name.split(".")
    return f"model.layers.{layer}.{_LAYER[part]}.{suffix}"


def _write_tensors(model: Model, path: Path, dtype: str) -> None:
    stored: dict[str, npt.NDArray[Any]] = {
        _tensor_name(name): _bf16(weights) if dtype == "bf16" else np.ascontiguousarray(weights)
        for name, weights in model.tensors.items()
    }
    # Addresses rather than numpy's own writer, because numpy has no bfloat16. `stored` outlives the call.
    specs = {
        name: TensorSpec(
            dtype=_DTYPES[dtype], shape=weights.shape, data_ptr=weights.ctypes.data, data_len=weights.nbytes
        )
        for name, weights in stored.items()
    }
    serialize_file(specs, path, metadata={"format": "pt"})


def _bf16(weights: Weights) -> npt.NDArray[np.uint16]:
    """The upper half of each f32, rounded to the nearest, to even between two."""
    bits = np.ascontiguousarray(weights).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)

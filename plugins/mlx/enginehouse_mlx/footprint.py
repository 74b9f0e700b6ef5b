"""How much memory an instance takes, told from its weights' metadata."""

from __future__ import annotations

from typing import Any

from enginehouse_kit.text.bounds import check_context
from enginehouse_plugin import Placement

from .options import MlxOptions
from .weights import Weights

PROCESS_BYTES = 400 * 2**20
"""The worker's interpreter with mlx, transformers and the tokenizer."""

DEFAULT_CONTEXT_TOKENS = 8192
_DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_CACHE_STEP = 256  # mlx_lm.models.cache: caches grow by so many tokens


def context_tokens(placement: Placement, weights: Weights) -> int:
    """Context of each slot: what the placement says, else what the model was trained for, up to 8192.

    Raises:
        LoadFailed: the placement asks for more than the model was trained for.
    """
    trained = text_config(weights.config).get("max_position_embeddings")
    trained = trained if isinstance(trained, int) else None
    check_context(placement.context_tokens, trained)
    return placement.context_tokens or min(trained or DEFAULT_CONTEXT_TOKENS, DEFAULT_CONTEXT_TOKENS)


def batch_tokens(options: MlxOptions, is_processor: bool) -> int:
    """Prompt tokens of one sequence in one step."""
    return options.batch_tokens or (128 if is_processor else 512)


def token_bytes(weights: Weights, dtype: str | None) -> int:
    """Bytes of KV cache for one token of one sequence.

    Every layer is counted in full: layers with a window, or with a state instead of a cache, take less.
    """
    config = text_config(weights.config)
    layers = _number(config, "num_hidden_layers", "n_layer", "n_layers", "num_layers")
    size = _DTYPE_BYTES[dtype or weights.dtype]
    if "kv_lora_rank" in config:  # latent attention keeps one compressed vector
        return layers * (_number(config, "kv_lora_rank") + _number(config, "qk_rope_head_dim")) * size
    heads = _number(config, "num_attention_heads", "n_head", "n_heads")
    kv_heads = _number(config, "num_key_value_heads", "n_head_kv", default=heads)
    hidden = _number(config, "hidden_size", "n_embd", "dim")
    head_dim = _number(config, "head_dim", default=hidden // max(heads, 1))
    if not kv_heads * head_dim:  # Gemma 3's files leave them to the architecture's defaults
        return weights.projected_width * size
    return layers * 2 * kv_heads * head_dim * size


def footprint_bytes(weights: Weights, options: MlxOptions, slot_tokens: int, is_processor: bool) -> int:
    """Bytes of a loaded instance with all slots full: process, weights, caches, and one step's arrays."""
    config = text_config(weights.config)
    per_token = token_bytes(weights, options.dtype)
    slot_tokens = -(-slot_tokens // _CACHE_STEP) * _CACHE_STEP
    cache = options.slots * slot_tokens * per_token
    kept = min(options.prefix_cache_mib * 2**20, cache) if options.prefix_cache else 0
    step_tokens = batch_tokens(options, is_processor) * options.slots
    hidden = _number(config, "hidden_size", "n_embd", "dim")
    wide = _number(config, "intermediate_size", "n_inner", default=4 * hidden)
    vocabulary = _number(config, "vocab_size")
    heads = _number(config, "num_attention_heads", "n_head", "n_heads")
    # The widest moments of a step: the feed-forward part, the attention's scores, what sampling makes of the logits.
    step = step_tokens * (3 * wide + 4 * hidden) * 4 + step_tokens * heads * slot_tokens * 4
    step += options.slots * vocabulary * 4 * 12
    # Merging sequences into a batch copies their caches once.
    return PROCESS_BYTES + weights.weight_bytes(options.dtype) + 2 * cache + kept + step


def text_config(config: dict[str, Any]) -> dict[str, Any]:  # JSON
    """The part of `config.json` that describes the language model."""
    nested = config.get("text_config")
    return {**config, **nested} if isinstance(nested, dict) else config


def _number(config: dict[str, Any], *names: str, default: int = 0) -> int:  # JSON
    for name in names:
        value = config.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return default

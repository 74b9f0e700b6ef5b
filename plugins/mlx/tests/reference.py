"""What the tiny model computes, straight from mlx_lm, as an anchor beside the plugin's own path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx_lm
import msgspec
from mlx_lm.generate import generate_step

from enginehouse_plugin import Chat, GenerationRequest


class Reference:
    """The model of a folder; mlx_lm has no types."""

    def __init__(self, folder: Path) -> None:
        mx.set_default_device(mx.cpu)
        mx.disable_compile()
        loaded: Any = mlx_lm.load(str(folder))
        self.model, self.tokenizer = loaded[0], loaded[1]

    def prompt_ids(self, request: GenerationRequest) -> list[int]:
        """The prompt by transformers' own template code."""
        assert isinstance(request.prompt, Chat)
        messages = msgspec.to_builtins(request.prompt.messages)
        ids: list[int] = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True)
        return ids

    def greedy(self, prompt_ids: list[int], count: int) -> list[int]:
        """The likeliest tokens by mlx_lm's plain generation."""
        steps = generate_step(mx.array(prompt_ids), self.model, max_tokens=count)
        return [int(token) for token, _ in steps]

    def logprobs(self, token_ids: list[int]) -> list[list[float]]:
        """Log-softmax of the logits behind each of *token_ids*, without a cache."""
        logits = self.model(mx.array([token_ids]))[0]
        rows: Any = (logits - mx.logsumexp(logits, axis=-1, keepdims=True)).tolist()
        return rows

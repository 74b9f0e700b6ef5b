"""A model of the Llama architecture in memory, as both file formats need it, and a small random one."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

Weights = npt.NDArray[np.float32]

CONTROL = 3
"""The type of tokens that only a template writes (`tokenizer.ggml.token_type`)."""


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """The sizes of a model."""

    layers: int
    hidden: int
    feed_forward: int
    heads: int
    kv_heads: int
    context_tokens: int
    vocabulary: int
    norm_epsilon: float
    rope_theta: float

    @property
    def head(self) -> int:
        """The size of one head."""
        return self.hidden // self.heads


class Vocabulary(msgspec.Struct, frozen=True, kw_only=True):
    """A byte-level BPE tokenizer, its special tokens and the chat template."""

    pre_tokenizer: str
    tokens: list[str]
    token_types: list[int]
    merges: list[str]
    bos: int
    eos: int
    unknown: int
    padding: int
    chat_template: str


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """Weights in f32 under the names of GGUF, in the row order of Hugging Face (see `interleaved`)."""

    name: str
    shape: Shape
    vocabulary: Vocabulary
    tensors: dict[str, Weights]


def interleaved(weights: Weights, heads: int) -> Weights:
    """Rows of a query or key projection from Hugging Face's order into GGUF's.

    The former rotates the first half of a head against the second, the latter even rows against odd ones.
    """
    return _swapped(weights, heads, 2, weights.shape[0] // heads // 2)


def halved(weights: Weights, heads: int) -> Weights:
    """The inverse of `interleaved`."""
    return _swapped(weights, heads, weights.shape[0] // heads // 2, 2)


def _swapped(weights: Weights, heads: int, outer: int, inner: int) -> Weights:
    split = weights.reshape(heads, outer, inner, *weights.shape[1:])
    return np.ascontiguousarray(split.swapaxes(1, 2).reshape(weights.shape))


def rotated_heads(name: str, shape: Shape) -> int | None:
    """The number of heads in the rows of the tensor called *name*, if they are rotated by position."""
    if name.endswith(".attn_q.weight"):
        return shape.heads
    if name.endswith(".attn_k.weight"):
        return shape.kv_heads
    return None


_EMBEDDING_STD = 0.02
_LAYER_STD = 0.3  # loud layers: with quiet ones the tied embedding repeats the last token for ever


def random_model(model: Model) -> Model:
    """A small random model with the tokenizer of *model*; always the same one.

    Heads are of 32, because vLLM's attention on CPU knows none of 16; embeddings are tied.
    """
    shape = msgspec.structs.replace(
        model.shape, layers=2, hidden=64, feed_forward=128, heads=2, kv_heads=1, context_tokens=2048
    )
    random = np.random.default_rng(135)

    def normal(rows: int, columns: int, std: float = _LAYER_STD) -> Weights:
        return random.standard_normal((rows, columns), np.float32) * np.float32(std)

    tensors = {
        "token_embd.weight": normal(shape.vocabulary, shape.hidden, _EMBEDDING_STD),
        "output_norm.weight": np.ones(shape.hidden, np.float32),
    }
    for layer in range(shape.layers):
        tensors |= {
            f"blk.{layer}.attn_norm.weight": np.ones(shape.hidden, np.float32),
            f"blk.{layer}.attn_q.weight": normal(shape.heads * shape.head, shape.hidden),
            f"blk.{layer}.attn_k.weight": normal(shape.kv_heads * shape.head, shape.hidden),
            f"blk.{layer}.attn_v.weight": normal(shape.kv_heads * shape.head, shape.hidden),
            f"blk.{layer}.attn_output.weight": normal(shape.hidden, shape.heads * shape.head),
            f"blk.{layer}.ffn_norm.weight": np.ones(shape.hidden, np.float32),
            f"blk.{layer}.ffn_gate.weight": normal(shape.feed_forward, shape.hidden),
            f"blk.{layer}.ffn_up.weight": normal(shape.feed_forward, shape.hidden),
            f"blk.{layer}.ffn_down.weight": normal(shape.hidden, shape.feed_forward),
        }
    return Model(name="tiny-random", shape=shape, vocabulary=model.vocabulary, tensors=tensors)

"""A small random reranker of the XLM-RoBERTa form, as bge-reranker and others are, with the embedded tokenizer's words.

Query and document stand between the model's own tokens, all of them see each other, and a head makes one number of
what stands at the first.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, processors

from .llama import Model, Vocabulary, Weights

Numbers = npt.NDArray[np.float64]

LAYERS, HIDDEN, FEED_FORWARD, HEADS = 2, 64, 128, 2
CONTEXT_TOKENS = 512
NORM_EPSILON = 1e-5
BEGIN, PADDING, END = 0, 1, 2
"""Three tokens of the embedded tokenizer that only a template writes."""
_OFFSET = PADDING + 1
"""Where positions begin in the form's table of them."""
_STD = 0.3

_LAYER = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}


def tensors(vocabulary: Vocabulary) -> dict[str, Weights]:
    """The weights under the names of Hugging Face; always the same ones."""
    random = np.random.default_rng(136)

    def normal(*shape: int, std: float = _STD) -> Weights:
        return random.standard_normal(shape, np.float32) * np.float32(std)

    made: dict[str, Weights] = {}

    def linear(name: str, rows: int, columns: int) -> None:
        made[f"{name}.weight"], made[f"{name}.bias"] = normal(rows, columns), normal(rows)

    def norm(name: str) -> None:
        made[f"{name}.weight"], made[f"{name}.bias"] = 1 + normal(HIDDEN, std=0.1), normal(HIDDEN, std=0.1)

    for name, rows in (("word", len(vocabulary.tokens)), ("position", CONTEXT_TOKENS + _OFFSET), ("token_type", 1)):
        made[f"roberta.embeddings.{name}_embeddings.weight"] = normal(rows, HIDDEN)
    norm("roberta.embeddings.LayerNorm")
    for layer in range(LAYERS):
        prefix = f"roberta.encoder.layer.{layer}"
        for name in ("query", "key", "value"):
            linear(f"{prefix}.attention.self.{name}", HIDDEN, HIDDEN)
        linear(f"{prefix}.attention.output.dense", HIDDEN, HIDDEN)
        norm(f"{prefix}.attention.output.LayerNorm")
        linear(f"{prefix}.intermediate.dense", FEED_FORWARD, HIDDEN)
        linear(f"{prefix}.output.dense", HIDDEN, FEED_FORWARD)
        norm(f"{prefix}.output.LayerNorm")
    linear("classifier.dense", HIDDEN, HIDDEN)
    linear("classifier.out_proj", 1, HIDDEN)
    return made


def write_hf(model: Model, words_in: Path, folder: Path) -> None:
    """Write the reranker into *folder*, as vLLM and transformers read it; *words_in* has the tokenizer of *model*."""
    words = model.vocabulary.tokens
    _write_json(
        folder / "config.json",
        {
            "architectures": ["XLMRobertaForSequenceClassification"],
            "model_type": "xlm-roberta",
            "hidden_act": "gelu",
            "hidden_size": HIDDEN,
            "intermediate_size": FEED_FORWARD,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "max_position_embeddings": CONTEXT_TOKENS + _OFFSET,
            "layer_norm_eps": NORM_EPSILON,
            "vocab_size": len(words),
            "type_vocab_size": 1,
            "position_embedding_type": "absolute",
            "id2label": {"0": "LABEL_0"},
            "label2id": {"LABEL_0": 0},
            "bos_token_id": BEGIN,
            "pad_token_id": PADDING,
            "eos_token_id": END,
            "dtype": "float32",
            "torch_dtype": "float32",
        },
    )
    save_file(tensors(model.vocabulary), folder / "model.safetensors", metadata={"format": "pt"})
    own = Tokenizer.from_file(str(words_in / "tokenizer.json"))
    begin, end = words[BEGIN], words[END]
    own.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}",
        pair=f"{begin} $A {end} {end} $B {end}",
        special_tokens=[(begin, BEGIN), (end, END)],
    )
    own.save(str(folder / "tokenizer.json"), pretty=False)
    special = {
        "bos_token": begin,
        "cls_token": begin,
        "pad_token": words[PADDING],
        "eos_token": end,
        "sep_token": end,
        "unk_token": end,
    }
    _write_json(folder / "special_tokens_map.json", special)
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": CONTEXT_TOKENS, **special}
    _write_json(folder / "tokenizer_config.json", settings)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_gguf(model: Model, path: Path) -> None:
    """Write the same reranker to *path*, as llama.cpp reads it."""
    vocabulary = model.vocabulary
    writer = gguf.GGUFWriter(path, "bert")
    writer.add_name("tiny-rank")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_block_count(LAYERS)
    writer.add_context_length(CONTEXT_TOKENS)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_eps(NORM_EPSILON)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.RANK)
    writer.add_classifier_output_labels(["LABEL_0"])
    writer.add_vocab_size(len(vocabulary.tokens))
    writer.add_token_type_count(1)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(vocabulary.pre_tokenizer)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.token_types)
    writer.add_token_merges(vocabulary.merges)
    writer.add_bos_token_id(BEGIN)
    writer.add_pad_token_id(PADDING)
    writer.add_eos_token_id(END)
    writer.add_sep_token_id(END)
    writer.add_unk_token_id(END)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(True)
    writer.add_add_sep_token(True)
    writer.add_add_space_prefix(False)
    for name, weights in tensors(vocabulary).items():
        kept = weights[_OFFSET:] if ".position_embeddings." in name else weights
        writer.add_tensor(_gguf_name(name), np.ascontiguousarray(kept))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _gguf_name(name: str) -> str:
    whole = {
        "roberta.embeddings.word_embeddings.weight": "token_embd.weight",
        "roberta.embeddings.position_embeddings.weight": "position_embd.weight",
        "roberta.embeddings.token_type_embeddings.weight": "token_types.weight",
    }
    if name in whole:
        return whole[name]
    part, _, suffix = name.rpartition(".")
    parts = {
        "roberta.embeddings.LayerNorm": "token_embd_norm",
        "classifier.dense": "cls",
        "classifier.out_proj": "cls.output",
    }
    if part in parts:
        return f"{parts[part]}.{suffix}"
    layer, _, rest = part.removeprefix("roberta.encoder.layer.").partition(".")
    return f"blk.{layer}.{_LAYER[rest]}.{suffix}"


def pair(query: Sequence[int], document: Sequence[int]) -> list[int]:
    """What the model reads of the tokens of a query and of a document."""
    return [BEGIN, *query, END, END, *document, END]


def score(folder: Path, token_ids: Sequence[int]) -> float:
    """The score of a `pair` by the weights in the Hugging Face *folder*, by its definition and in numpy alone."""
    weights = _read(folder)

    def linear(values: Numbers, name: str) -> Numbers:
        return np.asarray(values @ weights[f"{name}.weight"].T + weights[f"{name}.bias"])

    def normed(values: Numbers, name: str) -> Numbers:
        spread = np.sqrt(values.var(-1, keepdims=True) + NORM_EPSILON)
        centred = (values - values.mean(-1, keepdims=True)) / spread
        return np.asarray(centred * weights[f"{name}.weight"] + weights[f"{name}.bias"])

    def embedded(kind: str, rows: Sequence[int]) -> Numbers:
        return np.asarray(weights[f"roberta.embeddings.{kind}_embeddings.weight"][list(rows)])

    count = len(token_ids)
    states = embedded("word", token_ids) + embedded("position", range(_OFFSET, _OFFSET + count))
    states = normed(states + embedded("token_type", [0] * count), "roberta.embeddings.LayerNorm")
    for layer in range(LAYERS):
        prefix = f"roberta.encoder.layer.{layer}"
        query, key, value = (
            linear(states, f"{prefix}.attention.self.{name}").reshape(count, HEADS, -1).swapaxes(0, 1)
            for name in ("query", "key", "value")
        )
        weighed = query @ key.swapaxes(1, 2) / np.sqrt(HIDDEN // HEADS)
        shares = np.exp(weighed - weighed.max(-1, keepdims=True))
        attended = (shares / shares.sum(-1, keepdims=True) @ value).swapaxes(0, 1).reshape(count, -1)
        attended = linear(attended, f"{prefix}.attention.output.dense")
        states = normed(states + attended, f"{prefix}.attention.output.LayerNorm")
        inner = _gelu(linear(states, f"{prefix}.intermediate.dense"))
        states = normed(states + linear(inner, f"{prefix}.output.dense"), f"{prefix}.output.LayerNorm")
    (logit,) = linear(np.tanh(linear(states[0], "classifier.dense")), "classifier.out_proj")
    return float(1 / (1 + np.exp(-logit)))


def _gelu(values: Numbers) -> Numbers:
    return np.asarray(values * 0.5 * (1 + np.vectorize(math.erf)(values / np.sqrt(2))))


@cache
def _read(folder: Path) -> dict[str, Any]:
    return {name: weights.astype(np.float64) for name, weights in load_file(folder / "model.safetensors").items()}

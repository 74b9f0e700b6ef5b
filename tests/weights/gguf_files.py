"""GGUF files: read, dequantised, and written in f32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np

from .llama import Model, Shape, Vocabulary, halved, interleaved, rotated_heads


def read(path: Path) -> Model:
    """The model in the GGUF file at *path*, dequantised."""
    reader = gguf.GGUFReader(path)

    def value(key: str) -> Any:
        return reader.fields[key].contents()

    shape = Shape(
        layers=value("llama.block_count"),
        hidden=value("llama.embedding_length"),
        feed_forward=value("llama.feed_forward_length"),
        heads=value("llama.attention.head_count"),
        kv_heads=value("llama.attention.head_count_kv"),
        context_tokens=value("llama.context_length"),
        vocabulary=value("llama.vocab_size"),
        norm_epsilon=value("llama.attention.layer_norm_rms_epsilon"),
        rope_theta=value("llama.rope.freq_base"),
    )
    vocabulary = Vocabulary(
        pre_tokenizer=value("tokenizer.ggml.pre"),
        tokens=value("tokenizer.ggml.tokens"),
        token_types=value("tokenizer.ggml.token_type"),
        merges=value("tokenizer.ggml.merges"),
        bos=value("tokenizer.ggml.bos_token_id"),
        eos=value("tokenizer.ggml.eos_token_id"),
        unknown=value("tokenizer.ggml.unknown_token_id"),
        padding=value("tokenizer.ggml.padding_token_id"),
        chat_template=value("tokenizer.chat_template"),
    )
    tensors = {}
    for tensor in reader.tensors:
        # The file gives the fastest-running dimension first.
        rows = [int(size) for size in reversed(tensor.shape)]
        weights = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32, copy=False).reshape(rows)
        heads = rotated_heads(tensor.name, shape)
        tensors[tensor.name] = weights if heads is None else halved(weights, heads)
    return Model(name=value("general.name"), shape=shape, vocabulary=vocabulary, tensors=tensors)


def write(model: Model, path: Path) -> None:
    """Write *model* to *path* in f32."""
    shape, vocabulary = model.shape, model.vocabulary
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(model.name)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_block_count(shape.layers)
    writer.add_context_length(shape.context_tokens)
    writer.add_embedding_length(shape.hidden)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(shape.norm_epsilon)
    writer.add_rope_freq_base(shape.rope_theta)
    writer.add_rope_dimension_count(shape.head)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(vocabulary.pre_tokenizer)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.token_types)
    writer.add_token_merges(vocabulary.merges)
    writer.add_bos_token_id(vocabulary.bos)
    writer.add_eos_token_id(vocabulary.eos)
    writer.add_unk_token_id(vocabulary.unknown)
    writer.add_pad_token_id(vocabulary.padding)
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(vocabulary.chat_template)
    for name, weights in model.tensors.items():
        heads = rotated_heads(name, shape)
        writer.add_tensor(name, weights if heads is None else interleaved(weights, heads))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

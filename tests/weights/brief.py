"""A random model of 8,192 tokens that ends its answers soon, whatever it is asked, and strings of JSON too."""

from __future__ import annotations

import msgspec
import numpy as np

from .llama import Model, random_model

_LOUDNESS = 100.0  # one logit is spread as far as the others together weigh: it is about every fourth token


def brief_model(model: Model) -> Model:
    """The small random model of `random_model`, its context longer, its end and its quotation mark louder."""
    small = random_model(model)
    embeddings = small.tensors["token_embd.weight"].copy()
    for loud in (model.vocabulary.eos, model.vocabulary.tokens.index('"')):
        embeddings[loud] *= np.float32(_LOUDNESS)
    return msgspec.structs.replace(
        small,
        name="tiny-brief",
        shape=msgspec.structs.replace(small.shape, context_tokens=8192),
        tensors={**small.tensors, "token_embd.weight": embeddings},
    )

"""The small random model with the tokens of a model that fills in: three names of its vocabulary are others."""

from __future__ import annotations

import msgspec

from .llama import Model, random_model

NAMES = {"<jupyter_code>": "<fim_prefix>", "<jupyter_output>": "<fim_suffix>", "<jupyter_script>": "<fim_middle>"}


def fill_model(model: Model) -> Model:
    """The small random model of `random_model` with StarCoder's names for three of its control tokens."""
    small = random_model(model)
    tokens = [NAMES.get(token, token) for token in small.vocabulary.tokens]
    return msgspec.structs.replace(
        small, name="tiny-fill", vocabulary=msgspec.structs.replace(small.vocabulary, tokens=tokens)
    )

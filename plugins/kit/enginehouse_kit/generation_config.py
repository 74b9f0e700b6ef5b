"""What the authors of safetensors weights recommend for sampling: `generation_config.json` beside them.

Source: the documentation of transformers' GenerationConfig.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from enginehouse_kit.files import read_file
from enginehouse_plugin.errors import LoadFailed

_FIELDS = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "frequency_penalty", "presence_penalty")
_NEUTRAL: dict[str, float] = {
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "no_repeat_ngram_size": 0,
    "encoder_repetition_penalty": 1.0,
    "num_beams": 1,
}
"""Further ways to choose a token, none of which a request can ask for, and the values that change nothing."""


def recommended_in(folder: Path) -> dict[str, Any]:  # Any: JSON, as it stands there
    """Return the values for fields of a request that *folder* recommends, and other sampling that it asks for.

    A length is no matter of sampling, and left out. Weights that say `do_sample: false` mean the likeliest token.

    Raises:
        LoadFailed: the file cannot be read.
    """
    path = folder / "generation_config.json"
    try:
        config = msgspec.json.decode(read_file(path), type=dict[str, Any])
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise LoadFailed(f"'{path}' cannot be read: {error}.", retryable=False, code="bad_weights") from error
    if config.get("do_sample") is False:
        return {"temperature": 0.0}
    found = {name: config[name] for name in _FIELDS if config.get(name) is not None}
    return found | {
        name: config[name] for name, neutral in _NEUTRAL.items() if config.get(name, None) not in (None, neutral)
    }

"""A backend and a model for configurations that tests read."""

from __future__ import annotations

import msgspec
import pytest

from enginehouse.config import ConfigError
from enginehouse_plugin import BackendType

MODEL = """
[[models."a/b".placements]]
backend = "toy"
source = "weights/m.gguf"
"""


class ToyOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options of the toy backend."""

    threads: int = 1
    speculate: bool = False


def a_backend(name: str = "toy", **changes: object) -> BackendType:
    made = BackendType(name=name, version="1", create=lambda: None, options=ToyOptions)
    return msgspec.structs.replace(made, **changes)


def refusal(read, text, **binding) -> str:
    with pytest.raises(ConfigError) as caught:
        read(text, **binding)
    return str(caught.value).replace(caught.value.file or "", "FILE")

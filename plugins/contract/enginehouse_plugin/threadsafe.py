"""Structs that several threads may decode."""

from __future__ import annotations

from typing import TypeVar

import msgspec

T = TypeVar("T", bound=msgspec.Struct)


def threadsafe(kind: type[T]) -> type[T]:
    """Have msgspec look now at the fields of *kind*, and at those of all structs in it; a decorator of classes.

    It does so when a struct is first decoded, and meanwhile other threads may find it half done: the interpreter
    crashes. What is decoded in threads, by whatever function of msgspec, is looked at before there are any.

    Raises:
        NameError: an annotation names what is not there yet.
    """
    msgspec.json.Decoder(kind)
    return kind

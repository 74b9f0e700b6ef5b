"""What a target declares about itself: features, limits, policies. Read from a TOML file, strictly."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

from enginehouse_plugin import FEATURES

from .rules import SECTIONS

EXAMPLE = """\
absent = ["logprobs"]     # has all that the profile describes but these,
also = ["top_k", "min_p"] # and these, which count only where they are named; or, in place of both:
# features = ["streaming", "n", "stop"] # has these and no others
context_tokens = 8192
unknown_fields = "refuse" # or "report" (a header names them), or "ignore"
keys = true               # a wrong key is refused
eos_ids = [2]
reasoning_efforts = ["low", "medium", "high"]
template_hoists = true    # the model's own chat template shows all system messages first (MSG43)
template_merges = true    # the model's own chat template makes one of messages of a role in a row (MSG41)
template_trims = true     # the model's own chat template trims messages, as those of Llama 3 and Gemma do (MSG38)

[limits]
n = 4

[template_variables] # of the model's own chat template, each with two values that it shows (MSG19)
enable_thinking = [true, false]

[hooks] # where a helper beside the target answers
url = "http://127.0.0.1:9000/hooks"
"""
"""A declaration as it is written. Every line of it may be left out."""

NAMED = frozenset(entry.name for section in SECTIONS.values() for entry in section.feature if entry.named)
"""Features that a target has only where it says so by name: in `features`, in `also`, or as a backend's own."""


class Hooks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the target's hooks answer, and which of them it has (empty: all)."""

    url: str
    names: tuple[str, ...] = ()


class Declared(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A target's declaration. Without `features` and `absent` it claims everything its profile describes.

    `features` are all that it has. Otherwise it has what the profile describes without `absent`, and with `also`:
    features that count only where they are named.

    `template_variables` are variables that the model's chat template reads, each with two values that it shows.
    """

    features: frozenset[str] | None = None
    absent: frozenset[str] = frozenset()
    also: frozenset[str] | msgspec.UnsetType = msgspec.UNSET  # older reports have no such line
    limits: dict[str, int] = {}
    context_tokens: int | None = None
    vocabulary_size: int | None = None
    max_temperature: float | None = None
    max_body_bytes: int | None = None
    unknown_fields: Literal["refuse", "report", "ignore"] = "refuse"
    ignored_header: str = "x-enginehouse-ignored"
    keys: bool | None = None
    eos_ids: tuple[int, ...] = ()
    reasoning_efforts: tuple[str, ...] = ()
    template_hoists: bool | msgspec.UnsetType = msgspec.UNSET  # nor such
    template_merges: bool | msgspec.UnsetType = msgspec.UNSET  # nor such
    template_trims: bool | msgspec.UnsetType = msgspec.UNSET  # nor such
    template_variables: dict[str, tuple[Any, Any]] = {}  # any JSON
    hooks: Hooks | None = None

    def has(self, feature: str) -> bool:
        """Whether *feature* is declared present."""
        if self.features is not None:
            return feature in self.features
        return feature in (self.also or ()) or feature not in self.absent | NAMED

    def denies(self, feature: str) -> bool:
        """Whether *feature* is declared absent, so that it must be refused."""
        return feature in self.absent if self.features is None else feature not in self.features

    def present(self) -> tuple[str, ...]:
        """The names of all declared features, sorted."""
        return tuple(sorted(feature for feature in FEATURES if self.has(feature)))


class DeclarationError(Exception):
    """A declaration that cannot be used; the message names the file and the problem."""


_SHOWN = " `enginehouse-conformance run --help` shows such a file, `enginehouse-conformance features` lists features."


def read_declared(path: Path) -> Declared:
    """Read the declaration in the TOML file *path*.

    Raises:
        DeclarationError: there is no such file, or it says what cannot be.
    """
    try:
        declared = msgspec.toml.decode(path.read_bytes(), type=Declared)
    except OSError as exc:
        raise DeclarationError(f"{path}: {exc.strerror}") from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise DeclarationError(f"{path}: {exc}. Known are {', '.join(Declared.__struct_fields__)}.{_SHOWN}") from exc
    also = declared.also or frozenset()
    named = (declared.features or frozenset()) | declared.absent | also
    if unknown := named - FEATURES.keys():
        raise DeclarationError(
            f"{path}: no such feature: {', '.join(sorted(unknown))}. Features are: {', '.join(sorted(FEATURES))}."
        )
    if declared.features is not None and (declared.absent or also):
        raise DeclarationError(
            f"{path}: give either `features` (has these and no others), or `absent` (has all but these) and `also` "
            f"(and these, which count only where they are named), not both.{_SHOWN}"
        )
    if both := declared.absent & also:
        raise DeclarationError(f"{path}: `absent` and `also` both name {', '.join(sorted(both))}.")
    return declared

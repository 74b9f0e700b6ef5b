"""Texts that are filled in between two others: the tokens that frame these, by the names that models give them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

_FRAMES = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),  # Qwen's coders, CodeGemma, Granite 4
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),  # StarCoder, Granite
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),  # SantaCoder
    ("<\uff5cfim\u2581begin\uff5c>", "<\uff5cfim\u2581hole\uff5c>", "<\uff5cfim\u2581end\uff5c>"),  # DeepSeek
    ("\u2581<PRE>", "\u2581<SUF>", "\u2581<MID>"),  # CodeLlama
    ("<PRE>", "<SUF>", "<MID>"),
    ("<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"),  # GLM
    ("<|prefix|>", "<|suffix|>", "<|middle|>"),  # Falcon's coder
)
"""Before, behind, between. Source: llama.cpp, `llama_vocab::impl::load`, and the models' own pages."""

_ENDS = (
    "<|fim_pad|>", "<fim_pad>", "<fim-pad>", "<PAD>", "<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>",
    "<reponame>", "<|file_sep|>", "\u2581<EOT>", "<EOT>",
)  # fmt: skip
"""What models write behind a text that is filled in, beside their end of a sequence: another file, or no more.
llama.cpp ends every answer there. Source: as above."""


class Filling(msgspec.Struct, frozen=True):
    """The tokens of a model that was made to fill in: `ends` are those that end what is filled in."""

    before: int
    behind: int
    between: int
    ends: frozenset[int] = frozenset()

    def prompt(self, opening: Sequence[int], before: Sequence[int], behind: Sequence[int]) -> list[int]:
        """The prompt: *opening* is what the model wants before each text."""
        return [*opening, self.before, *before, self.behind, *behind, self.between]


def filling_of(ids: Mapping[str, int]) -> Filling | None:
    """How a model fills in whose vocabulary has *ids*; None: it was not made for it."""
    for frame in _FRAMES:
        if all(text in ids for text in frame):
            before, behind, between = (ids[text] for text in frame)
            return Filling(before, behind, between, frozenset(ids[text] for text in _ENDS if text in ids))
    return None


def opening_of(whole: Sequence[int], bare: Sequence[int]) -> Sequence[int]:
    """What stands before the tokens *bare* of a text in *whole*, which are those with the model's own around them."""
    size = len(bare)
    return next((whole[:at] for at in range(len(whole) - size + 1) if list(whole[at : at + size]) == list(bare)), ())

"""What a distance means, in words. Figures: SmolLM2-135M on processors, 24 probes; see docs/identity.md."""

from __future__ import annotations

from typing import Literal

import msgspec

Name = Literal["arithmetic", "weights", "near", "undecided", "other"]


class Band(msgspec.Struct, frozen=True):
    """A range of D up to `limit`, for two endpoints that are asked at once with fresh prompts."""

    name: Name
    limit: float
    words: str


BANDS = (
    Band("arithmetic", 5e-4, "the same weights in the same arithmetic"),
    Band("weights", 3e-3, "the same weights in float32, in another arithmetic"),
    Band("near", 0.03, "16-bit weights, another type of KV cache, or a small tune"),
    Band(
        "undecided",
        0.2,
        "cannot be decided from this alone: 8- or 16-bit arithmetic, 8-bit weights, a small fine-tune, or a template",
    ),
    Band("other", 1.0, "other weights, or another template"),
)
BAND_OF = {band.name: band for band in BANDS}


def band_of(distance: float) -> Band:
    """The band of D."""
    return next(band for band in BANDS if distance <= band.limit or band is BANDS[-1])


class Family(msgspec.Struct, frozen=True):
    """Something that was changed, and where D then was in 99.8 % of draws, against float32 on llama.cpp."""

    what: str
    low: float
    high: float


FAMILIES = (
    Family("MLX or vLLM in float32", 1.3e-3, 2.5e-3),
    Family("F16 weights", 3.3e-3, 4.6e-3),
    Family("a KV cache in bf16", 0.008, 0.014),
    Family("BF16 weights, or another RoPE base", 0.012, 0.025),
    Family("a KV cache in q8_0", 0.019, 0.031),
    Family("vLLM in bf16", 0.041, 0.054),
    Family("Q4_1 against the float32 made of it", 0.068, 0.099),
    Family("Q8_0", 0.076, 0.116),
    Family("one character more in the system prompt", 0.065, 0.128),
    Family("a change of rank 4 by 2 %", 0.087, 0.138),
    Family("a KV cache in q4_0", 0.25, 0.31),
    Family("Q5_0", 0.33, 0.47),
    Family("the default system prompt left out", 0.30, 0.57),
    Family("Q4_0, or 4 bits of MLX", 0.55, 0.78),
)


def families_at(low: float, high: float) -> tuple[str, ...]:
    """What was seen between *low* and *high* when it was changed."""
    return tuple(family.what for family in FAMILIES if family.low <= high and low <= family.high)

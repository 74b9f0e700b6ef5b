"""How far two fingerprints are apart, as it is kept and told."""

from __future__ import annotations

import msgspec


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A comparison with what is called `against`: D with its interval at 99 %, and the band of D.

    `within` are the names of the bands that it is within; none where prompts have other numbers of tokens.
    """

    against: str
    distance: float
    low: float
    high: float
    band: str
    probes: int
    same_prompt_tokens: bool | None = None
    within: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """D with its interval and band."""
        told = f"D = {self.distance:.3g} (99 % {self.low:.3g} to {self.high:.3g}), band '{self.band}'"
        return told if self.same_prompt_tokens is not False else f"{told}, prompts have other numbers of tokens"

    def is_within(self, band: str) -> bool:
        """Whether it is no farther than *band*, which may be `any`."""
        return band == "any" or band in self.within

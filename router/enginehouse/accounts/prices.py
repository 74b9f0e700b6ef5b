"""What a model's tokens cost."""

from __future__ import annotations

from typing import Final

import msgspec

MOST: Final = 2**40
"""The most tokens that are counted of a request: more than any engine can mean."""
_MOST_UNITS: Final = 2**62


class PerToken(msgspec.Struct, frozen=True):
    """A model's prices of one token of each kind, in units of credit; `text` is how usage keeps them."""

    input: int
    cached: int
    output: int
    text: str

    @property
    def dearest_input(self) -> int:
        """The most that a token of a prompt costs."""
        return self.input if self.input >= self.cached else self.cached

    @classmethod
    def of(cls, text: str) -> PerToken:
        """Those that usage has as *text*."""
        of_input, of_cached, of_output = map(int, text.split("/"))
        return cls(input=of_input, cached=of_cached, output=of_output, text=text)

    def cost(self, prompt_tokens: int, cached_tokens: int, completion_tokens: int) -> int:
        """What these cost, in units; the cached ones are part of the prompt."""
        if 0 <= cached_tokens <= prompt_tokens <= MOST and 0 <= completion_tokens <= MOST:
            uncached = prompt_tokens - cached_tokens
            cost = self.input * uncached + self.cached * cached_tokens + self.output * completion_tokens
            return cost if cost < _MOST_UNITS else _MOST_UNITS
        prompt = min(max(prompt_tokens, 0), MOST)
        cached = min(max(cached_tokens, 0), prompt)
        completion = min(max(completion_tokens, 0), MOST)
        return min(self.input * (prompt - cached) + self.cached * cached + self.output * completion, _MOST_UNITS)

"""The bytes of each token, asked of the engine once."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from enginehouse_plugin.errors import EngineProtocolError

from .server import Chunk, Probability, Server
from .translate import MAX_TOP_LOGPROBS

_LIKELIEST, _LIKELY = 256, 8192  # alternatives in which a token is looked for, before the whole vocabulary


class Vocabulary:
    """Bytes of tokens, and which tokens a text was made of.

    The engine sends no chunk for a token that ends inside a character: the next one brings the text of both.
    What it does not tell is found again here.
    """

    def __init__(self, server: Server, size: int, control_ids: Collection[int] = ()) -> None:
        self._server = server
        self._size = size
        self._silent = max(control_ids, default=None)  # one that ends nothing: those have the lowest ids
        self._pieces: list[bytes] = []
        self._ids: dict[bytes, int] = {}
        self._longest = 0  # bytes of a token

    async def load(self) -> None:
        """Ask the engine for all tokens, the first time."""
        if self._pieces:
            return
        pieces = await self._server.pieces(range(self._size))
        # Of tokens with the same bytes the first stands for all.
        self._ids = {pieces[token_id]: token_id for token_id in range(len(pieces) - 1, -1, -1)}
        self._longest = max(map(len, pieces), default=0)
        self._pieces = pieces

    def piece(self, token_id: int) -> bytes:
        """Bytes of *token_id*, control tokens spelled out."""
        return self._pieces[token_id]

    def tokens_of(self, chunk: Chunk, count: int) -> list[int]:
        """The *count* tokens that *chunk* was made of, which carries probabilities and holds nothing back.

        A control token inside a broken character leaves no text, and the engine does not tell which it was: some
        control token stands for it.

        Raises:
            EngineProtocolError: no tokens make this text.
        """
        if len(chunk.tokens) == count:
            return chunk.tokens
        last = chunk.tokens[-1]
        sent = bytes(chunk.completion_probabilities[0].bytes)  # as sampled: in `content` a broken character is U+FFFD
        before = sent.removesuffix(self.piece(last))
        found = self._split(before, count - 1)
        if found is None:
            raise EngineProtocolError(f"llama.cpp sent a text that {count} tokens of its vocabulary do not make.")
        return [*found, last]

    async def probability(self, prompt_ids: list[int], token_id: int) -> Probability:
        """The logprob of *token_id* behind *prompt_ids*, and the likeliest alternatives to it."""
        likeliest = await self._server.alternatives(self._look(prompt_ids, _LIKELIEST))
        found = next((token for token in likeliest if token.id == token_id), None)
        for count in (_LIKELY, self._size):
            found = found or await self._server.alternative(self._look(prompt_ids, count), token_id)
        if found is None:
            raise EngineProtocolError("llama.cpp gave no logprob for a token of its vocabulary.")
        return Probability(found.id, found.logprob, found.bytes, likeliest[:MAX_TOP_LOGPROBS])

    def _look(self, prompt_ids: list[int], count: int) -> dict[str, Any]:  # JSON
        # The token that is sampled does not matter, but it must be a whole character, or nothing is told.
        whole = self._ids[b"a"]
        return {
            "prompt": prompt_ids,
            "n_predict": 1,
            "n_probs": count,
            "samplers": ["temperature"],
            "temperature": 0,
            "logit_bias": [[whole, 1e6]],
            "cache_prompt": True,
        }

    def _split(self, data: bytes, count: int) -> list[int] | None:
        """Write *data* as *count* tokens, some of which have no text if need be, but as few of those as can be.

        Of several ways the one with longer tokens first. Takes time in proportion to the length of *data*, however
        many ways there are.
        """
        # For each place in the text, the numbers of tokens that can make the rest of it, as bits.
        possible = [0] * (len(data) + 1)
        possible[len(data)] = 1
        for at in range(len(data) - 1, -1, -1):
            for end in range(at + 1, min(at + self._longest, len(data)) + 1):
                if possible[end] and data[at:end] in self._ids:
                    possible[at] |= possible[end] << 1
        for silent in range(count if self._silent is not None else 1):
            left = count - silent
            if possible[0] >> left & 1:
                ids = self._taken(data, left, possible)
                # What is held back begins with text.
                return [*ids[:1], *[self._silent or 0] * silent, *ids[1:]]
        return None

    def _taken(self, data: bytes, count: int, possible: list[int]) -> list[int]:
        """Take *count* tokens from *data*, the longest that leaves a rest that the others can make each time."""
        ids = []
        at = 0
        for left in range(count - 1, -1, -1):
            for end in range(min(at + self._longest, len(data)), at, -1):
                token_id = self._ids.get(data[at:end])
                if token_id is not None and possible[end] >> left & 1:
                    ids.append(token_id)
                    at = end
                    break
        return ids

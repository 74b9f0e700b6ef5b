"""The bytes of each token, asked of the engine once."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from enginehouse_plugin.errors import EngineProtocolError

from .server import Chunk, Probability, Server

_LIKELY = 256  # alternatives in which a token is looked for first


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

    async def load(self) -> None:
        """Ask the engine for all tokens, the first time."""
        if self._pieces:
            return
        pieces = await self._server.pieces(range(self._size))
        # Of tokens with the same bytes the first stands for all.
        self._ids = {pieces[token_id]: token_id for token_id in range(len(pieces) - 1, -1, -1)}
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
        found = self._splits(before, count - 1) or self._with_silent(before, count - 1)
        if not found:
            raise EngineProtocolError(f"llama.cpp sent a text that {count} tokens of its vocabulary do not make.")
        return [*found[0], last]

    async def probability(self, prompt_ids: list[int], token_id: int) -> Probability:
        """The logprob of *token_id* behind *prompt_ids*, and the alternatives to it."""
        for count in (_LIKELY, self._size):
            alternatives = await self._server.alternatives(self._look(prompt_ids, count))
            for found in alternatives:
                if found.id == token_id:
                    return Probability(found.id, found.logprob, found.bytes, alternatives)
        raise EngineProtocolError("llama.cpp gave no logprob for a token of its vocabulary.")

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

    def _with_silent(self, data: bytes, count: int) -> list[list[int]]:
        """Ways to write *data* as *count* tokens some of which have no text, with as few of those as can be."""
        if self._silent is not None:
            for silent in range(1, count):
                found = self._splits(data, count - silent)
                if found:  # what is held back begins with text
                    return [[ids[0], *[self._silent] * silent, *ids[1:]] for ids in found]
        return []

    def _splits(self, data: bytes, count: int) -> list[list[int]]:
        """All ways to write *data* as exactly *count* tokens, those with a longer first token first."""
        if count == 1:
            return [[self._ids[data]]] if data in self._ids else []
        found = []
        for end in range(len(data) - count + 1, 0, -1):
            first = self._ids.get(data[:end])
            if first is not None:
                found += [[first, *rest] for rest in self._splits(data[end:], count - 1)]
        return found

"""The bytes of each token, asked of the engine once."""

from __future__ import annotations

from .server import Server


class Vocabulary:
    """Bytes of tokens, and the splits of a text into tokens."""

    def __init__(self, server: Server, size: int) -> None:
        self._server = server
        self._size = size
        self._pieces: list[bytes] = []
        self._ids: dict[bytes, int] = {}

    async def load(self) -> None:
        """Ask the engine for all tokens, the first time."""
        if not self._pieces:
            self._pieces = await self._server.pieces(range(self._size))
            # Of tokens with the same bytes the first stands for all: it is the plain one, not a special copy.
            for token_id in range(len(self._pieces) - 1, -1, -1):
                self._ids[self._pieces[token_id]] = token_id

    def piece(self, token_id: int) -> bytes:
        """Bytes of *token_id*, control tokens spelled out."""
        return self._pieces[token_id]

    def splits(self, data: bytes, count: int) -> list[list[int]]:
        """All ways to write *data* as exactly *count* tokens."""
        if count == 1:
            return [[self._ids[data]]] if data in self._ids else []
        found = []
        for end in range(1, len(data) - count + 2):
            first = self._ids.get(data[:end])
            if first is not None:
                found += [[first, *rest] for rest in self.splits(data[end:], count - 1)]
        return found

"""Tokens as people read them: from the bytes that each stands for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

from enginehouse_plugin.errors import InvalidRequest
from enginehouse_plugin.features import Capabilities
from enginehouse_plugin.request import Text, Tokens
from enginehouse_plugin.tokenizer import Tokenized, TokenizeRequest

from .bounds import check_length, checked_ids


class TellsTokens(ABC):
    """What tells the tokens of texts (`Tokenizer`), for a model without a template: one that generates nothing."""

    capabilities: Capabilities
    longest_token_bytes: int | None = None
    """No token stands for more text, where that is known: what cannot fit the context is then not tokenized."""

    @abstractmethod
    async def tokens_of(self, text: str, add_special: bool = True) -> list[int]:
        """The tokens of *text*, with the model's own ones around them or without."""

    @abstractmethod
    async def pieces_of(self, token_ids: Sequence[int]) -> Sequence[bytes]:
        """The bytes that each of *token_ids* stands for."""

    async def tokenize_prompt(self, wanted: TokenizeRequest) -> Tokenized:
        """See `Tokenizer.tokenize_prompt`."""
        prompt = wanted.request.prompt
        if isinstance(prompt, Tokens):
            token_ids = checked_ids(prompt.token_ids, self._size)
        else:
            text = prompt.text if isinstance(prompt, Text) else ""
            if self.longest_token_bytes is not None:
                check_length([text], self.capabilities.context_tokens, self.longest_token_bytes)
            token_ids = await self.tokens_of(text, wanted.special)
        return tokenized(token_ids, await self.pieces_of(token_ids) if wanted.texts else None)

    async def detokenize(self, token_ids: Sequence[int]) -> str:
        """See `Tokenizer.detokenize`."""
        check_tokens(token_ids, self._size)
        return text_of(await self.pieces_of(token_ids))

    @property
    def _size(self) -> int:
        return self.capabilities.vocabulary_size or 0


def tokenized(token_ids: Sequence[int], pieces: Iterable[bytes] | None) -> Tokenized:
    """*token_ids*, with the text of each where its bytes are given as *pieces*."""
    texts = None if pieces is None else tuple(_text(piece) for piece in pieces)
    return Tokenized(token_ids=tuple(token_ids), texts=texts)


def text_of(pieces: Iterable[bytes]) -> str:
    """The text of tokens that stand for *pieces*; what is no whole character is U+FFFD."""
    return _text(b"".join(pieces))


def check_tokens(token_ids: Sequence[int], size: int) -> None:
    """Refuse ids beyond a vocabulary of *size*.

    Raises:
        InvalidRequest: naming the first.
    """
    if token_ids and not 0 <= min(token_ids) <= max(token_ids) < size:
        at = next(at for at, token_id in enumerate(token_ids) if not 0 <= token_id < size)
        raise InvalidRequest(
            f"Invalid 'tokens[{at}]': {token_ids[at]} is no token of this model, which has 0 to {size - 1}.",
            param=f"tokens[{at}]",
            code="integer_above_max_value",
        )


def _text(piece: bytes) -> str:
    return piece.decode("utf-8", "replace")

"""Tokens as people read them: from the bytes that each stands for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from enginehouse_plugin.errors import InvalidRequest
from enginehouse_plugin.tokenizer import Tokenized


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

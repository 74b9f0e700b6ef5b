"""The bytes of each token, and which tokens are control tokens."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import llguidance
import msgspec

from enginehouse_kit.text.filling import filling_of
from enginehouse_plugin import GenerationRequest


class Vocabulary:
    """Tokens of one model. *tokenizer* is transformers' own, *size* the number of logits.

    A tokenizer may have added tokens beyond these: Gemma 3's models for text alone have none for images.
    """

    def __init__(self, tokenizer: Any, size: int, eos_ids: Iterable[int], visible: Iterable[str]) -> None:  # untyped
        self.size = size
        self.eos_ids = frozenset(eos_ids)
        self.grammar_tokenizer = llguidance.LLTokenizer(
            _without_tokens_beyond(size, tokenizer), n_vocab=size, eos_token=sorted(self.eos_ids)
        )
        added = tokenizer.added_tokens_decoder  # id -> AddedToken
        self.control_ids = {identity: str(token) for identity, token in added.items() if token.special}
        self._ids_of_added = {str(token): identity for identity, token in added.items()}
        self.filling = filling_of({text: at for text, at in self._ids_of_added.items() if at < size})
        shown = frozenset(visible)
        self._hidden = frozenset(i for i, text in self.control_ids.items() if text not in shown) | self.eos_ids
        known = len(tokenizer)
        decode = self.grammar_tokenizer.decode_bytes
        self._pieces = [decode([identity]) if identity < known else b"" for identity in range(size)]
        self.longest_bytes = max(map(len, self._pieces))
        """Bytes of the longest token."""

    def piece(self, token_id: int) -> bytes:
        """Bytes of *token_id*, control tokens spelled out."""
        return self._pieces[token_id]

    def is_hidden(self, token_id: int) -> bool:
        """Whether *token_id* is a control token, which is no part of the text."""
        return token_id in self._hidden

    def ends_of(self, request: GenerationRequest) -> frozenset[int]:
        """The tokens that end an answer to *request*."""
        return self.eos_ids | self.filling.ends if request.suffix and self.filling is not None else self.eos_ids

    def special_id(self, text: str) -> int | None:
        """The id of the one control token that *text* is, if it is one; grammars name these by id."""
        identity = self._ids_of_added.get(text)
        return identity if identity is not None and self.grammar_tokenizer.is_special_token(identity) else None


def _without_tokens_beyond(size: int, tokenizer: Any) -> str:  # untyped
    """`tokenizer.json` as *tokenizer* has it, which may add to the file, without added tokens from id *size* on."""
    text: str = tokenizer.backend_tokenizer.to_str()
    if len(tokenizer) <= size:
        return text
    content = msgspec.json.decode(text, type=dict[str, Any])
    content["added_tokens"] = [token for token in content["added_tokens"] if token["id"] < size]
    return msgspec.json.encode(content).decode()

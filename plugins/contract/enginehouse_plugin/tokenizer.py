"""What an instance can tell of its tokens, beside generating: an ability of its own, which few servers lack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import msgspec

from .request import GenerationRequest


class TokenizeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Which tokens the prompt of *request* has.

    Without *special* a text gets none of the tokens that a model wants around one, such as a mark of its beginning.
    With *texts* the text of each token is asked for, too.
    """

    request: GenerationRequest
    special: bool = True
    texts: bool = False


class Tokenized(msgspec.Struct, frozen=True, kw_only=True):
    """The tokens of a prompt. `texts`, where they were asked for, has one for each; part of a character is U+FFFD."""

    token_ids: tuple[int, ...]
    texts: tuple[str, ...] | None = None


@runtime_checkable
class Tokenizer(Protocol):
    """An instance that shows how it reads a prompt."""

    async def tokenize_prompt(self, wanted: TokenizeRequest) -> Tokenized:
        """The tokens that `Instance.generate` would begin with.

        Raises:
            InvalidRequest, UnsupportedFeature, ContextTooLong: as `Instance.generate`.
        """
        ...

    async def detokenize(self, token_ids: Sequence[int]) -> str:
        """The text of *token_ids*, control tokens spelled out.

        Raises:
            InvalidRequest: naming the first in `tokens[…]` that the model does not have.
        """
        ...

"""What each engine must tell of its tokens, whichever it is."""

from __future__ import annotations

import msgspec
import pytest

from enginehouse_plugin import Instance, Text, Tokenizer, TokenizeRequest
from enginehouse_plugin.errors import InvalidRequest

from .asking import request

TEXT = "A sea \U0001f600 of<|im_end|> words"


async def check_tokens_told(instance: Instance) -> None:
    """Assert that tokens are those that `generate` would have, and that their text is the prompt's."""
    assert isinstance(instance, Tokenizer)
    asked = request("Hello there.")
    shown = await instance.tokenize_prompt(TokenizeRequest(request=asked, texts=True))
    assert len(shown.token_ids) == await instance.count_tokens(asked)
    assert shown.texts is not None
    assert "".join(shown.texts) == await instance.detokenize(shown.token_ids)
    assert "Hello there." in "".join(shown.texts)
    raw = msgspec.structs.replace(asked, prompt=Text(TEXT))
    plain = await instance.tokenize_prompt(TokenizeRequest(request=raw, special=False))
    assert plain.texts is None
    assert await instance.detokenize(plain.token_ids) == TEXT
    assert await instance.detokenize([]) == ""
    with pytest.raises(InvalidRequest) as caught:
        await instance.detokenize([0, 10**9])
    assert caught.value.param == "tokens[1]"

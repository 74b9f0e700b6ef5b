"""Telling the tokens of texts, for models that generate nothing."""

import pytest

from enginehouse_kit.text.tokens import TellsTokens
from enginehouse_plugin import Capabilities, GenerationRequest, Text, TokenizeRequest
from enginehouse_plugin.errors import ContextTooLong


class Letters(TellsTokens):
    """Each letter is a token."""

    def __init__(self):
        self.capabilities = Capabilities(context_tokens=4, max_concurrent_requests=1)
        self.asked = []

    async def tokens_of(self, text, add_special=True):
        self.asked.append(text)
        return list(text.encode())

    async def pieces_of(self, token_ids):
        return [bytes([token_id]) for token_id in token_ids]


def wanted(text):
    return TokenizeRequest(request=GenerationRequest(id="r", prompt=Text(text)), special=True, texts=False)


async def test_a_text_that_cannot_fit_is_refused_before_it_is_tokenized():
    model = Letters()
    model.longest_token_bytes = 2
    with pytest.raises(ContextTooLong) as refused:
        await model.tokenize_prompt(wanted("a" * 9))
    assert (refused.value.prompt_tokens, refused.value.is_lower_bound, model.asked) == (5, True, [])
    told = await model.tokenize_prompt(wanted("a" * 8))
    assert len(told.token_ids) == 8, "whether it does fit is not asked"


async def test_where_a_token_may_stand_for_any_text_nothing_is_refused():
    model = Letters()
    assert len((await model.tokenize_prompt(wanted("a" * 9))).token_ids) == 9

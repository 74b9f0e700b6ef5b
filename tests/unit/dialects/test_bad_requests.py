"""Each endpoint has a table of malformed requests, each with the field that its refusal names; this counts them."""

from __future__ import annotations

from collections.abc import Sized

import pytest
from tests.unit.dialects.anthropic import bad_messages
from tests.unit.dialects.ollama import test_embed, test_requests
from tests.unit.dialects.openai.chat import bad_requests as chat
from tests.unit.dialects.openai.completions import test_completions
from tests.unit.dialects.openai.embeddings import test_embeddings
from tests.unit.dialects.openai.rerank import test_rerank
from tests.unit.dialects.openai.responses import bad_requests as responses
from tests.unit.http import test_tokens

AT_LEAST = 40
TABLES: dict[str, tuple[Sized, ...]] = {
    "chat": (chat.BAD_REQUESTS,),
    "responses": (responses.BAD_REQUESTS,),
    "messages": (bad_messages.BAD,),
    "completions": (test_completions.BAD,),
    "embeddings": (test_embeddings.BAD,),
    "rerank": (test_rerank.BAD,),
    "ollama": (test_requests.BAD, test_embed.BAD, test_embed.OLDER_BAD),
    "tokens": (test_tokens.BAD_TOKENIZE, test_tokens.BAD_DETOKENIZE),
}


@pytest.mark.parametrize("endpoint", TABLES)
def test_an_endpoint_has_forty_malformed_requests(endpoint: str) -> None:
    assert sum(map(len, TABLES[endpoint])) >= AT_LEAST

"""Documents that are scored fit beside their query, or are refused or cut."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from enginehouse_kit.text.inputs import SPARE, fitting, prepared
from enginehouse_plugin import EmbeddingRequest, RerankRequest
from enginehouse_plugin.errors import InputTooLong, InvalidRequest
from enginehouse_plugin.request import Text

FRAME = 4
LIMIT = 40
LONGEST = 8


async def tokenize(text: str, with_own: bool) -> Sequence[int]:
    assert not with_own
    return list(text.encode())


async def detokenize(token_ids: Sequence[int]) -> str:
    return bytes(token_ids).decode(errors="replace")


async def fitted(query: str, *documents: str, cut: int | None = None) -> list[str]:
    request = RerankRequest(id="r", query=query, documents=documents, truncate_tokens=cut)
    return await fitting(request, LIMIT if cut is None else min(LIMIT, cut), FRAME, tokenize, detokenize)


async def test_what_fits_stays_as_it_is_to_the_last_token() -> None:
    documents = ["a", "b" * (LIMIT - FRAME - 2)]
    assert len(documents[1]) > LIMIT - FRAME - SPARE  # its tokens are counted
    assert await fitted("qq", *documents) == documents


async def test_one_token_more_is_refused_by_its_place() -> None:
    with pytest.raises(InputTooLong) as refused:
        await fitted("qq", "a", "b" * (LIMIT - FRAME - 1))
    assert (refused.value.index, refused.value.tokens, refused.value.limit_tokens) == (1, LIMIT + 1, LIMIT)


async def test_it_is_cut_where_that_is_asked_for_and_no_character_is_broken() -> None:
    assert await fitted("qq", "b" * 99, cut=1000) == ["b" * (LIMIT - FRAME - 2)]
    assert await fitted("qq", "b" * 99, cut=10) == ["b" * 4]
    assert await fitted("qq", "bä" * 99, cut=12) == ["bäbä"]
    assert await fitted("qq", "bä" * 99, cut=11) == ["bäb"]
    assert await fitted("qq", "ä" * 99, cut=7) == [""]


@pytest.mark.parametrize("cut", [None, 1000])
async def test_a_query_that_leaves_no_room_is_refused(cut: int | None) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await fitted("q" * (LIMIT - FRAME), "a", cut=cut)
    assert refused.value.param == "query"


async def once(text: str, with_own: bool) -> Sequence[int]:
    """Tokens of what may be tokenized, which is little."""
    assert len(text) <= 2 * LIMIT * LONGEST
    return list(text.encode()) + [0] * with_own


@pytest.mark.parametrize(("query", "document"), [("q" * 10_000_000, "d"), ("q", "d" * 10_000_000)])
async def test_what_is_too_long_by_far_is_refused_without_its_tokens(query: str, document: str) -> None:
    request = RerankRequest(id="r", query=query, documents=("a", document * 2))
    with pytest.raises((InputTooLong, InvalidRequest), match="at least"):
        await fitting(request, LIMIT, FRAME, once, detokenize, LONGEST)
    with pytest.raises(InputTooLong, match="at least"):
        await prepared(EmbeddingRequest(id="r", inputs=(Text("d" * 10_000_000),)), LIMIT, once, LONGEST)


async def test_what_is_too_long_by_far_is_cut_where_all_of_its_tokens_would_be() -> None:
    text = "".join(chr(ord("a") + at % 26) for at in range(1_000_000))
    request = RerankRequest(id="r", query="q", documents=(text,), truncate_tokens=LIMIT)
    assert await fitting(request, LIMIT, FRAME, once, detokenize, LONGEST) == [text[: LIMIT - FRAME - 1]]
    embedded = EmbeddingRequest(id="r", inputs=(Text(text),), truncate_tokens=LIMIT)
    assert await prepared(embedded, LIMIT, once, LONGEST) == [[*text[: LIMIT - 1].encode(), 0]]

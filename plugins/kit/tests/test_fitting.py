"""Documents that are scored fit beside their query, or are refused or cut."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from enginehouse_kit.text.inputs import SPARE, fitting
from enginehouse_plugin import RerankRequest
from enginehouse_plugin.errors import InputTooLong, InvalidRequest

FRAME = 4
LIMIT = 40


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

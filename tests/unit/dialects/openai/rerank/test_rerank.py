"""Reranking: what is refused, what an instance is asked, and the bytes that its scores become."""

from __future__ import annotations

import json
from typing import Any

import pytest

from enginehouse.config import AgentConfig
from enginehouse.dialects.endpoint import Call, Named
from enginehouse.dialects.openai.embeddings.request import MOST_INPUTS
from enginehouse.dialects.openai.rerank.endpoint import PlainRerankEndpoint, RerankEndpoint, SecondRerankEndpoint
from enginehouse.dialects.profiles import built_in
from enginehouse_plugin import Capabilities, RerankRequest, Scores
from enginehouse_plugin.errors import EngineProtocolError, InputTooLong, InvalidRequest

OPENAI = built_in()["openai"]
BAD: list[tuple[dict[str, Any], str]] = [
    ({"model": ...}, "model"),
    ({"model": None}, "model"),
    ({"model": ""}, "model"),
    ({"model": 1}, "model"),
    ({"model": ["m"]}, "model"),
    ({"query": ...}, "query"),
    ({"query": None}, "query"),
    ({"query": ""}, "query"),
    ({"query": 5}, "query"),
    ({"query": True}, "query"),
    ({"query": ["a"]}, "query"),
    ({"query": {"text": "a"}}, "query"),
    ({"documents": ...}, "documents"),
    ({"documents": None}, "documents"),
    ({"documents": "a"}, "documents"),
    ({"documents": {}}, "documents"),
    ({"documents": {"text": "a"}}, "documents"),
    ({"documents": 1}, "documents"),
    ({"documents": []}, "documents"),
    ({"documents": [""]}, "documents[0]"),
    ({"documents": ["a", ""]}, "documents[1]"),
    ({"documents": [None]}, "documents[0]"),
    ({"documents": ["a", 1]}, "documents[1]"),
    ({"documents": [["a"]]}, "documents[0]"),
    ({"documents": [True]}, "documents[0]"),
    ({"documents": [1.5]}, "documents[0]"),
    ({"documents": [{}]}, "documents[0].text"),
    ({"documents": ["a", {"text": ""}]}, "documents[1].text"),
    ({"documents": [{"text": None}]}, "documents[0].text"),
    ({"documents": [{"text": 1}]}, "documents[0].text"),
    ({"documents": [{"text": ["a"]}]}, "documents[0].text"),
    ({"documents": [{"text": "a", "title": "b"}]}, "documents[0].title"),
    ({"documents": [{"image": "a"}]}, "documents[0].image"),
    ({"documents": ["a"] * (MOST_INPUTS + 1)}, "documents"),
    ({"top_n": 0}, "top_n"),
    ({"top_n": -1}, "top_n"),
    ({"top_n": "1"}, "top_n"),
    ({"top_n": 1.5}, "top_n"),
    ({"top_n": True}, "top_n"),
    ({"top_n": 2**31}, "top_n"),
    ({"return_documents": 1}, "return_documents"),
    ({"return_documents": "yes"}, "return_documents"),
    ({"truncate_prompt_tokens": 0}, "truncate_prompt_tokens"),
    ({"truncate_prompt_tokens": -2}, "truncate_prompt_tokens"),
    ({"truncate_prompt_tokens": True}, "truncate_prompt_tokens"),
    ({"truncate_prompt_tokens": "end"}, "truncate_prompt_tokens"),
    ({"user": 1}, "user"),
    ({"input": "a"}, "input"),
    ({"texts": ["a"]}, "texts"),
    ({"rank_fields": ["text"]}, "rank_fields"),
    ({"stream": True}, "stream"),
]


class Model:
    """An instance that gives the documents these *scores*, or raises *error*."""

    def __init__(self, *scores: float, error: Exception | None = None) -> None:
        self.capabilities = Capabilities(context_tokens=8, max_concurrent_requests=1)
        self.asked: list[RerankRequest] = []
        self._scores = scores
        self._error = error

    async def rerank(self, request: RerankRequest) -> Scores:
        self.asked.append(request)
        if self._error is not None:
            raise self._error
        return Scores(scores=self._scores, prompt_tokens=17)


def body(**fields: Any) -> bytes:
    whole = {"model": "m", "query": "q", "documents": ["a", "b", "c"], **fields}
    return json.dumps({name: value for name, value in whole.items() if value is not ...}).encode()


def read(**fields: Any) -> Call:
    return RerankEndpoint(OPENAI).decode(body(**fields), "r")


async def answered(model: Model, **fields: Any) -> dict[str, Any]:
    call = read(**fields)
    assert call.work is not None
    report = await call.work.do(model)  # type: ignore[arg-type]  # the one method that is called
    assert (report.prompt_tokens, report.completion_tokens) == (17, 0)
    assert call.encoder.events((report,)) == b""
    found: dict[str, Any] = json.loads(call.encoder.end())
    return found


def test_the_table_is_long_enough() -> None:
    assert len(BAD) >= 40


@pytest.mark.parametrize(("fields", "param"), BAD, ids=lambda value: str(value)[:40])
def test_a_wrong_value_is_refused_by_its_place(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(**fields)
    assert refused.value.param == param
    assert f"'{param}'" in refused.value.message


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b'{"model":"m","query":"a","query":"b"}', b"\xff"])
def test_what_is_no_object_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidRequest):
        RerankEndpoint(OPENAI).decode(text, "r")


async def test_documents_come_best_first_and_equal_ones_as_they_came() -> None:
    model = Model(0.25, 0.75, 0.25)
    answer = await answered(model)
    assert model.asked == [RerankRequest(id="r", query="q", documents=("a", "b", "c"))]
    assert answer == {
        "id": "r",
        "model": "m",
        "results": [
            {"index": 1, "relevance_score": 0.75},
            {"index": 0, "relevance_score": 0.25},
            {"index": 2, "relevance_score": 0.25},
        ],
        "usage": {"prompt_tokens": 17, "total_tokens": 17},
    }


@pytest.mark.parametrize(
    ("top_n", "indices"), [(1, [1]), (2, [1, 0]), (3, [1, 0, 2]), (9, [1, 0, 2]), (None, [1, 0, 2])]
)
async def test_so_many_of_the_best_are_told(top_n: int | None, indices: list[int]) -> None:
    answer = await answered(Model(0.5, 0.75, 0.25), top_n=top_n)
    assert [one["index"] for one in answer["results"]] == indices


async def test_their_texts_are_told_where_asked_for_in_either_form() -> None:
    documents = ["a", {"text": "b"}, "c"]
    answer = await answered(Model(0.5, 0.75, 0.25), documents=documents, return_documents=True, top_n=2)
    assert [one["document"] for one in answer["results"]] == [{"text": "b"}, {"text": "a"}]
    answer = await answered(Model(0.5, 0.75, 0.25), documents=documents, return_documents=False)
    assert all("document" not in one for one in answer["results"])


@pytest.mark.parametrize(("asked", "meant"), [(None, None), (5, 5), (-1, 2**31 - 1)])
async def test_cutting_is_asked_for(asked: int | None, meant: int | None) -> None:
    model = Model(0.5, 0.5, 0.5)
    await answered(model, truncate_prompt_tokens=asked)
    assert model.asked[0].truncate_tokens == meant


async def test_a_document_that_is_too_long_is_named() -> None:
    with pytest.raises(InvalidRequest) as refused:
        await answered(Model(error=InputTooLong(2, tokens=9, limit_tokens=8)))
    assert (refused.value.param, refused.value.code) == ("documents[2]", "context_length_exceeded")


@pytest.mark.parametrize("scores", [(0.5,), (0.5, 0.5, 1.5), (0.5, float("nan"), 0.5), (-0.1, 0.5, 0.5), ()])
async def test_scores_that_cannot_be_are_the_engines_fault(scores: tuple[float, ...]) -> None:
    with pytest.raises(EngineProtocolError, match="score"):
        await answered(Model(*scores))


async def test_an_instance_without_the_ability_is_a_fault() -> None:
    call = read()
    assert call.work is not None
    with pytest.raises(EngineProtocolError, match="no way"):
        await call.work.do(object())  # type: ignore[arg-type]


def test_the_query_counts_with_each_document_and_all_stand_for_it() -> None:
    call = read(query="word " * 100, documents=["a"] * 10)
    assert call.work is not None
    assert (call.work.task, (call.work.prompt_bytes or 0) >= 10 * 500) == ("rerank", True)
    assert call.request.max_tokens == 0
    other = read(query="word " * 100, documents=["a"] * 9 + ["b"])
    assert call.request.prompt != other.request.prompt


def test_an_agent_is_refused_and_a_user_recorded() -> None:
    names = {"lead": Named("m", AgentConfig(model="m"))}
    with pytest.raises(InvalidRequest, match="agent"):
        RerankEndpoint(OPENAI, names=names).decode(body(model="lead"), "r")
    assert read(user="u").recorded == {"user": "u"}


def test_it_is_at_three_paths_as_peers_have_it() -> None:
    kinds = (RerankEndpoint, PlainRerankEndpoint, SecondRerankEndpoint)
    assert [kind(OPENAI).path for kind in kinds] == ["/v1/rerank", "/rerank", "/v2/rerank"]
    assert [kind(OPENAI, prefix="/x/v1").path for kind in kinds] == ["/x/v1/rerank", "/x/rerank", "/x/v2/rerank"]
    assert {kind(OPENAI).name for kind in kinds} == {"rerank"}

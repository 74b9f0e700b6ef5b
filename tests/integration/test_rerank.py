"""`POST /v1/rerank` over a real socket, against a real reranker of small random weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.weights.rank import pair, score
from tokenizers import Tokenizer

from tests.weights import rank_gguf, rank_hf, tiny_gguf

from .served import Served

pytestmark = pytest.mark.engine

RANKER, CHAT = "ranker", "chatter"
CONFIG = f"""
[server]
port = 0

[models."{RANKER}"]
context_tokens = 128
placements = [{{ backend = "llamacpp", source = {json.dumps(str(rank_gguf()))}, options = {{ slots = 2 }} }}]

[models."{CHAT}"]
load = "first_request"
task = "chat"
placements = [{{ backend = "llamacpp", source = {json.dumps(str(tiny_gguf()))} }}]
"""
QUERY = "What do pandas eat?"
DOCUMENTS = [f"{words} {number}" for number, words in enumerate(["Pandas eat bamboo.", "Paris is in France."] * 10)]
CLOSE = 5e-3


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    served = Served(CONFIG, tmp_path_factory.mktemp("server"))
    try:
        yield served.wait_ready()
    finally:
        served.close()


@pytest.fixture
def http(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url, trust_env=False, timeout=60) as client:
        yield client


def ask(http: httpx.Client, path: str = "/v1/rerank", **fields: Any) -> httpx.Response:
    return http.post(path, json={"model": RANKER, "query": QUERY, "documents": DOCUMENTS, **fields})


def expected() -> list[tuple[int, float]]:
    words = Tokenizer.from_file(str(rank_hf() / "tokenizer.json"))

    def ids(text: str) -> list[int]:
        return words.encode(text, add_special_tokens=False).ids

    scores = [score(rank_hf(), pair(ids(QUERY), ids(one))) for one in DOCUMENTS]
    return sorted(enumerate(scores), key=lambda one: -one[1])


@pytest.mark.parametrize("path", ["/v1/rerank", "/rerank", "/v2/rerank"])
def test_documents_come_in_the_order_of_scores_that_are_computed_apart(http: httpx.Client, path: str) -> None:
    answer = ask(http, path).json()
    told = {one["index"]: one["relevance_score"] for one in answer["results"]}
    assert len(answer["results"]) == len(DOCUMENTS)
    assert list(told.values()) == sorted(told.values(), reverse=True)
    for index, right in expected():
        assert told[index] == pytest.approx(right, abs=CLOSE)
    assert max(told.values()) - min(told.values()) > 20 * CLOSE  # or any numbers would do
    assert answer["model"] == RANKER
    assert answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"] > 10 * len(DOCUMENTS)


def test_the_best_alone_with_their_texts(http: httpx.Client) -> None:
    answer = ask(http, top_n=3, return_documents=True, documents=[{"text": one} for one in DOCUMENTS]).json()
    whole = ask(http).json()
    assert [one["index"] for one in answer["results"]] == [one["index"] for one in whole["results"]][:3]
    assert [one["document"]["text"] for one in answer["results"]] == [
        DOCUMENTS[one["index"]] for one in answer["results"]
    ]
    assert answer["usage"] == whole["usage"]


def test_a_long_document_is_refused_by_its_place_or_cut_and_a_long_query_refused(http: httpx.Client) -> None:
    refused = ask(http, documents=["a", "word " * 200])
    error = refused.json()["error"]
    assert (refused.status_code, error["param"]) == (400, "documents[1]")
    assert error["code"] == "context_length_exceeded"
    cut = ask(http, documents=["a", "word " * 200], truncate_prompt_tokens=-1)
    assert cut.status_code == 200, cut.text
    assert 128 < cut.json()["usage"]["prompt_tokens"] <= 2 * 128
    for more in ({}, {"truncate_prompt_tokens": 20}):
        refused = ask(http, query="word " * 200, **more)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "query")


def test_each_model_is_asked_for_what_it_is_for(http: httpx.Client) -> None:
    for path, body, way in (
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]}, "/v1/rerank"),
        ("/v1/embeddings", {"input": "a"}, "/v1/rerank"),
    ):
        refused = http.post(path, json={"model": RANKER, **body})
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "wrong_task")
        assert way in refused.json()["error"]["message"]
    refused = ask(http, model=CHAT)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "wrong_task")
    cards = {one["id"]: one for one in http.get("/v1/models").json()["data"]}
    assert (cards[RANKER]["task"], cards[CHAT]["state"]) == ("rerank", "unloaded")


def test_its_tokens_are_told_and_a_conversation_has_none(http: httpx.Client) -> None:
    words = Tokenizer.from_file(str(rank_hf() / "tokenizer.json"))
    wanted = {"model": RANKER, "prompt": QUERY, "return_token_strs": True}
    told = http.post("/tokenize", json=wanted).json()
    bare = http.post("/tokenize", json={**wanted, "add_special_tokens": False}).json()
    assert told["tokens"] == words.encode(QUERY).ids
    assert bare["tokens"] == words.encode(QUERY, add_special_tokens=False).ids
    assert "".join(bare["token_strs"]) == QUERY
    assert http.post("/detokenize", json={"model": RANKER, "tokens": bare["tokens"]}).json() == {"prompt": QUERY}
    lacking = http.post("/detokenize", json={"model": RANKER, "tokens": [2**30]})
    assert (lacking.status_code, lacking.json()["error"]["param"]) == (400, "tokens[0]")
    chat = http.post("/tokenize", json={"model": RANKER, "messages": [{"role": "user", "content": QUERY}]})
    assert (chat.status_code, chat.json()["error"]["code"]) == (400, "wrong_task")

"""Ollama's embed routes: what is refused, what an instance is asked, and the answer."""

from __future__ import annotations

import json
from array import array
from typing import Any

import pytest

from enginehouse.config import AgentConfig
from enginehouse.dialects.endpoint import Call, Named
from enginehouse.dialects.ollama.embed import EmbedEndpoint, OlderEmbedEndpoint
from enginehouse.dialects.profiles import built_in
from enginehouse.fleet import ModelNotFound
from enginehouse_plugin import Capabilities, EmbeddingRequest, Embeddings, Text
from enginehouse_plugin.errors import InputTooLong, InvalidRequest

OLLAMA = built_in()["ollama"]
ALL = 2**31 - 1
BAD: list[tuple[dict[str, Any], str]] = [
    ({"model": ...}, "model"),
    ({"model": ""}, "model"),
    ({"model": 5}, "model"),
    ({"input": ...}, "input"),
    ({"input": None}, "input"),
    ({"input": ""}, "input"),
    ({"input": []}, "input"),
    ({"input": 5}, "input"),
    ({"input": {}}, "input"),
    ({"input": [""]}, "input[0]"),
    ({"input": ["a", 5]}, "input[1]"),
    ({"input": [["a"]]}, "input[0]"),
    ({"input": ["a"] * 2049}, "input"),
    ({"truncate": "yes"}, "truncate"),
    ({"truncate": 1}, "truncate"),
    ({"dimensions": 0}, "dimensions"),
    ({"dimensions": "8"}, "dimensions"),
    ({"options": []}, "options"),
    ({"options": {"num_ctx": "8"}}, "options.num_ctx"),
    ({"options": {"temperature": 9}}, "options.temperature"),
    ({"keep_alive": []}, "keep_alive"),
    ({"keep_alive": {}}, "keep_alive"),
]
OLDER_BAD: list[tuple[dict[str, Any], str]] = [
    ({"model": ...}, "model"),
    ({"prompt": ...}, "prompt"),
    ({"prompt": ""}, "prompt"),
    ({"prompt": ["a"]}, "prompt"),
    ({"prompt": None}, "prompt"),
    ({"options": 5}, "options"),
]


class Model:
    """An instance that gives each text a vector that tells its place."""

    def __init__(self, error: Exception | None = None) -> None:
        self.capabilities = Capabilities(context_tokens=8, max_concurrent_requests=1, dimensions=(3, 2))
        self.asked: list[EmbeddingRequest] = []
        self._error = error

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        self.asked.append(request)
        if self._error is not None:
            raise self._error
        vectors = tuple(array("f", [0.6, 0.8, float(at)]).tobytes() for at in range(len(request.inputs)))
        return Embeddings(vectors=vectors, prompt_tokens=3 * len(vectors))


def body(**fields: Any) -> bytes:
    return json.dumps({name: value for name, value in {"model": "m", **fields}.items() if value is not ...}).encode()


async def answered(call: Call, model: Model) -> dict[str, Any]:
    assert call.work is not None
    assert call.work.task == "embed"
    await call.work.do(model)  # type: ignore[arg-type]  # the one method that is called
    found: dict[str, Any] = json.loads(call.encoder.end())
    return found


@pytest.mark.parametrize(("fields", "param"), BAD, ids=lambda value: str(value)[:40])
def test_a_wrong_value_is_refused_by_its_place(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        EmbedEndpoint(OLLAMA).decode(body(**{"input": "a", **fields}), "r", {})
    assert refused.value.param == param


@pytest.mark.parametrize(("fields", "param"), OLDER_BAD, ids=lambda value: str(value)[:40])
def test_so_it_is_in_the_older_form(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        OlderEmbedEndpoint(OLLAMA).decode(body(**{"prompt": "a", **fields}), "r", {})
    assert refused.value.param == param


@pytest.mark.parametrize(("given", "texts"), [("a", ["a"]), (["a", "b"], ["a", "b"])])
async def test_texts_become_vectors_in_their_order(given: Any, texts: list[str]) -> None:
    model = Model()
    answer = await answered(EmbedEndpoint(OLLAMA).decode(body(input=given), "r", {}), model)
    assert model.asked == [EmbeddingRequest(id="r", inputs=tuple(map(Text, texts)), truncate_tokens=ALL)]
    assert [vector[2] for vector in answer["embeddings"]] == list(range(len(texts)))
    assert (answer["model"], answer["prompt_eval_count"]) == ("m", 3 * len(texts))
    assert answer["total_duration"] > 0


async def test_one_text_becomes_one_vector_in_the_older_form() -> None:
    model = Model()
    answer = await answered(OlderEmbedEndpoint(OLLAMA).decode(body(prompt="a"), "r", {}), model)
    assert answer == {"embedding": [pytest.approx(0.6), pytest.approx(0.8), 0.0]}
    assert model.asked[0].truncate_tokens == ALL


async def test_what_is_too_long_is_refused_where_it_is_not_to_be_cut() -> None:
    model = Model(InputTooLong(0, tokens=9, limit_tokens=8))
    with pytest.raises(InvalidRequest, match="9 tokens") as refused:
        await answered(EmbedEndpoint(OLLAMA).decode(body(input=["a"], truncate=False), "r", {}), model)
    assert refused.value.param == "input[0]"
    assert model.asked[0].truncate_tokens is None


async def test_fewer_dimensions() -> None:
    answer = await answered(EmbedEndpoint(OLLAMA).decode(body(input="a", dimensions=2), "r", {}), Model())
    assert answer["embeddings"] == [[pytest.approx(0.6), pytest.approx(0.8)]]


def test_what_changes_no_vector_is_recorded_and_a_tag_may_follow_the_name() -> None:
    names = {"m": Named("m"), "helper": Named("m", AgentConfig(model="m"))}
    endpoint = EmbedEndpoint(OLLAMA, names=names)
    call = endpoint.decode(body(model="m:latest", input="a", options={"num_ctx": 8}, keep_alive="5m"), "r", {})
    assert (call.model, call.recorded) == ("m", {"options": {"num_ctx": 8}, "keep_alive": "5m"})
    with pytest.raises(InvalidRequest, match="agent"):
        endpoint.decode(body(model="helper", input="a"), "r", {})
    with pytest.raises(ModelNotFound):
        endpoint.decode(body(model="absent", input="a"), "r", {})

"""Embeddings: what is refused, what an instance is asked, and the bytes that its vectors become."""

from __future__ import annotations

import base64
import json
import math
from array import array
from typing import Any

import pytest

from enginehouse.config import AgentConfig
from enginehouse.dialects.endpoint import Call, Named
from enginehouse.dialects.openai.embeddings.endpoint import EmbeddingsEndpoint
from enginehouse.dialects.openai.embeddings.request import MOST_INPUTS
from enginehouse.dialects.profiles import built_in
from enginehouse_plugin import (
    Capabilities,
    EmbeddingRequest,
    Embeddings,
    Text,
    Tokens,
)
from enginehouse_plugin.errors import EngineProtocolError, InputTooLong, InvalidRequest

OPENAI = built_in()["openai"]
BAD: list[tuple[dict[str, Any], str]] = [
    ({"model": ...}, "model"),
    ({"model": None}, "model"),
    ({"model": ""}, "model"),
    ({"model": 1}, "model"),
    ({"model": ["m"]}, "model"),
    ({"input": ...}, "input"),
    ({"input": None}, "input"),
    ({"input": ""}, "input"),
    ({"input": 5}, "input"),
    ({"input": 1.5}, "input"),
    ({"input": True}, "input"),
    ({"input": {}}, "input"),
    ({"input": {"text": "a"}}, "input"),
    ({"input": []}, "input"),
    ({"input": [""]}, "input[0]"),
    ({"input": ["a", ""]}, "input[1]"),
    ({"input": [[]]}, "input[0]"),
    ({"input": [[1], []]}, "input[1]"),
    ({"input": ["a", 1]}, "input[1]"),
    ({"input": [1, "a"]}, "input[1]"),
    ({"input": [1, [2]]}, "input[1]"),
    ({"input": ["a", [1]]}, "input[1]"),
    ({"input": [[1], "a"]}, "input[1]"),
    ({"input": [[1], 2]}, "input[1]"),
    ({"input": [None]}, "input[0]"),
    ({"input": [{}]}, "input[0]"),
    ({"input": [True]}, "input[0]"),
    ({"input": [-1]}, "input[0]"),
    ({"input": [1.5]}, "input[0]"),
    ({"input": [["a"]]}, "input[0][0]"),
    ({"input": [[1, -1]]}, "input[0][1]"),
    ({"input": [[1, None]]}, "input[0][1]"),
    ({"input": [[[1]]]}, "input[0][0]"),
    ({"input": ["a"] * (MOST_INPUTS + 1)}, "input"),
    ({"encoding_format": "hex"}, "encoding_format"),
    ({"encoding_format": ""}, "encoding_format"),
    ({"encoding_format": 1}, "encoding_format"),
    ({"encoding_format": ["float"]}, "encoding_format"),
    ({"dimensions": 0}, "dimensions"),
    ({"dimensions": -1}, "dimensions"),
    ({"dimensions": "8"}, "dimensions"),
    ({"dimensions": 1.5}, "dimensions"),
    ({"dimensions": 2**31}, "dimensions"),
    ({"truncate_prompt_tokens": 0}, "truncate_prompt_tokens"),
    ({"truncate_prompt_tokens": -2}, "truncate_prompt_tokens"),
    ({"truncate_prompt_tokens": True}, "truncate_prompt_tokens"),
    ({"truncate_prompt_tokens": "end"}, "truncate_prompt_tokens"),
    ({"user": 1}, "user"),
    ({"user": {}}, "user"),
    ({"inputs": "a"}, "inputs"),
    ({"messages": []}, "messages"),
    ({"stream": True}, "stream"),
]


class Model:
    """An instance that gives each input a vector that tells its place."""

    def __init__(self, *dimensions: int, error: Exception | None = None, made: int | None = None) -> None:
        self.capabilities = Capabilities(
            context_tokens=8, max_concurrent_requests=1, dimensions=dimensions, vocabulary_size=100
        )
        self.asked: list[EmbeddingRequest] = []
        self._error = error
        self._made = made

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        self.asked.append(request)
        if self._error is not None:
            raise self._error
        count = len(request.inputs) if self._made is None else self._made
        vectors = tuple(array("f", [0.6, 0.8, float(at), 0.0]).tobytes() for at in range(count))
        return Embeddings(vectors=vectors, prompt_tokens=3 * count)


def body(**fields: Any) -> bytes:
    whole = {"model": "m", "input": "a", **fields}
    return json.dumps({name: value for name, value in whole.items() if value is not ...}).encode()


def read(**fields: Any) -> Call:
    return EmbeddingsEndpoint(OPENAI).decode(body(**fields), "r")


async def answered(model: Model, **fields: Any) -> dict[str, Any]:
    call = read(**fields)
    assert call.work is not None
    report = await call.work.do(model)  # type: ignore[arg-type]  # the one method that is called
    assert report.completion_tokens == 0
    assert call.encoder.events((report,)) == b""
    found: dict[str, Any] = json.loads(call.encoder.end())
    return found


@pytest.mark.parametrize(("fields", "param"), BAD, ids=lambda value: str(value)[:40])
def test_a_wrong_value_is_refused_by_its_place(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(**fields)
    assert refused.value.param == param
    assert f"'{param}'" in refused.value.message


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b'{"model":"m","input":"a","input":"b"}', b"\xff"])
def test_what_is_no_object_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidRequest):
        EmbeddingsEndpoint(OPENAI).decode(text, "r")


@pytest.mark.parametrize(
    ("given", "inputs"),
    [
        ("a", (Text("a"),)),
        (["a", "b"], (Text("a"), Text("b"))),
        ([1, 2], (Tokens((1, 2)),)),
        ([[1, 2], [3]], (Tokens((1, 2)), Tokens((3,)))),
        ([[5.0]], (Tokens((5,)),)),
    ],
)
async def test_each_form_of_input_reaches_the_instance(given: Any, inputs: tuple[Text | Tokens, ...]) -> None:
    model = Model(4)
    answer = await answered(model, input=given)
    assert model.asked == [EmbeddingRequest(id="r", inputs=inputs)]
    assert [one["index"] for one in answer["data"]] == list(range(len(inputs)))
    assert [one["embedding"][2] for one in answer["data"]] == list(range(len(inputs)))
    assert answer["usage"] == {"prompt_tokens": 3 * len(inputs), "total_tokens": 3 * len(inputs)}
    assert (answer["object"], answer["model"]) == ("list", "m")


async def test_base64_has_the_same_numbers() -> None:
    plain = await answered(Model(4), input=["a", "b"], encoding_format="float")
    coded = await answered(Model(4), input=["a", "b"], encoding_format="base64")
    for one, other in zip(plain["data"], coded["data"], strict=True):
        assert array("f", base64.b64decode(other["embedding"])).tolist() == one["embedding"]


async def test_many_numbers_are_the_same_as_few() -> None:
    """They are written by another thread."""
    answer = await answered(Model(4), input=["a"] * MOST_INPUTS + [])
    assert [one["embedding"][2] for one in answer["data"]] == list(range(MOST_INPUTS))
    assert answer["data"][5] == (await answered(Model(4), input=["a"] * 6))["data"][5]


async def test_dimensions_cut_and_make_the_vector_whole_again() -> None:
    model = Model(4, 1, 2)
    (one,) = (await answered(model, dimensions=2))["data"]
    assert one["embedding"] == pytest.approx([0.6, 0.8], abs=1e-6)
    (other,) = (await answered(model, dimensions=1))["data"]
    assert other["embedding"] == [1.0]
    assert len((await answered(model, dimensions=4))["data"][0]["embedding"]) == 4
    assert math.hypot(*one["embedding"]) == pytest.approx(1)


@pytest.mark.parametrize(("known", "said"), [((4, 2), "4, 2"), ((4,), "4"), ((), "leave it out")])
async def test_dimensions_that_the_model_does_not_have_are_refused(known: tuple[int, ...], said: str) -> None:
    model = Model(*known)
    with pytest.raises(InvalidRequest, match=said) as refused:
        await answered(model, dimensions=3)
    assert refused.value.param == "dimensions"
    assert not model.asked


@pytest.mark.parametrize(("given", "place"), [([1, 100], "input[1]"), ([[1], [2, 100]], "input[1][1]")])
async def test_a_token_beyond_the_vocabulary_is_refused(given: Any, place: str) -> None:
    with pytest.raises(InvalidRequest, match="0 to 99") as refused:
        await answered(Model(4), input=given)
    assert refused.value.param == place


@pytest.mark.parametrize(("given", "place"), [("a", "input"), (["a", "b"], "input[0]"), ([1], "input")])
async def test_a_text_that_is_too_long_is_named_as_the_client_wrote_it(given: Any, place: str) -> None:
    with pytest.raises(InvalidRequest, match=f"'{place.replace('[', '.')[:6]}") as refused:
        await answered(Model(4, error=InputTooLong(0, tokens=9, limit_tokens=8)), input=given)
    assert (refused.value.param, refused.value.code) == (place, "context_length_exceeded")
    assert "9 tokens" in refused.value.message


@pytest.mark.parametrize(("asked", "meant"), [(-1, 2**31 - 1), (5, 5), (None, None)])
async def test_truncation_is_asked_for_or_not(asked: int | None, meant: int | None) -> None:
    model = Model(4)
    await answered(model, truncate_prompt_tokens=asked)
    assert model.asked[0].truncate_tokens == meant


async def test_an_engine_that_loses_a_vector_breaks_the_request_alone() -> None:
    with pytest.raises(EngineProtocolError, match="1 vectors for 2"):
        await answered(Model(4, made=1), input=["a", "b"])


def test_what_only_gets_written_down_is_recorded() -> None:
    assert read(user="u").recorded == {"user": "u"}
    assert read().recorded is None


def test_an_agent_makes_no_vectors() -> None:
    names = {"helper": Named("m", AgentConfig(model="m", instructions="Help."))}
    with pytest.raises(InvalidRequest, match="agent"):
        EmbeddingsEndpoint(OPENAI, names=names).decode(body(model="helper"), "r")

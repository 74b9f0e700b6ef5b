"""Vectors from a remote server: what is sent, what comes of it, and what goes wrong."""

from __future__ import annotations

import json
from array import array
from typing import Any

import pytest

from enginehouse_plugin import EmbeddingRequest, Embeds, Placement, Reranks, Text, Tokens
from enginehouse_plugin.errors import (
    ContextTooLong,
    EngineFailure,
    EngineProtocolError,
    EngineUnavailable,
    LoadFailed,
    UnsupportedFeature,
)
from enginehouse_upstream.backend import UpstreamBackend

from .conftest import CARD, Upstream, place

PATH = "/v1/embeddings"


def replies(*vectors: list[float], tokens: int = 5) -> tuple[int, dict[str, Any]]:
    data = [{"object": "embedding", "index": at, "embedding": one} for at, one in enumerate(vectors)]
    return 200, {"data": data[::-1], "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}


def asking(*inputs: Text | Tokens, truncate_tokens: int | None = None) -> EmbeddingRequest:
    return EmbeddingRequest(id="r", inputs=inputs, truncate_tokens=truncate_tokens)


@pytest.fixture
async def load_embedding(upstream: Upstream) -> Any:
    loaded: list[Any] = []

    async def load(*, task: Any = "embed", **options: Any) -> Any:
        upstream.answers.setdefault(PATH, replies([3.0, 4.0]))
        placement: Placement = place(upstream, **options)
        placement = type(placement)(**{name: getattr(placement, name) for name in placement.__struct_fields__}
                                    | {"task": task, "dimensions": (1,)})  # fmt: skip
        loaded.append(await UpstreamBackend().load(placement, (), lambda _: None))
        return loaded[-1]

    yield load
    for instance in loaded:
        await instance.unload()


async def test_vectors_come_in_order_and_of_length_one(upstream: Upstream, load_embedding: Any) -> None:
    instance = await load_embedding()
    assert isinstance(instance, Embeds)
    assert not isinstance(instance, Reranks)
    assert (instance.capabilities.tasks, instance.capabilities.dimensions) == ({"embed"}, (2, 1))
    upstream.answers[PATH] = replies([3.0, 4.0], [0.0, 2.0])
    made = await instance.embed(asking(Text("a"), Tokens((1, 2))))
    first, second = (array("f", one).tolist() for one in made.vectors)
    assert first == pytest.approx([0.6, 0.8])
    assert second == [0.0, 1.0]
    assert made.prompt_tokens == 5
    sent = upstream.bodies[-1]
    assert sent == {"model": "m", "input": ["a", [1, 2]], "encoding_format": "float"}


async def test_one_of_ours_says_what_its_model_is_for(upstream: Upstream, load_embedding: Any) -> None:
    upstream.cards = [{**CARD, "declared_features": [], "task": "embed"}]
    instance = await load_embedding(task=None)
    assert instance.capabilities.tasks == {"embed"}
    await instance.embed(asking(Text("a"), truncate_tokens=5))
    assert upstream.bodies[-1]["truncate_prompt_tokens"] == 5
    await instance.embed(asking(Text("a"), truncate_tokens=2**31 - 1))
    assert upstream.bodies[-1]["truncate_prompt_tokens"] == -1


async def test_servers_that_are_not_known_to_cut_are_not_asked_to(upstream: Upstream, load_embedding: Any) -> None:
    instance = await load_embedding()
    before = len(upstream.paths)
    with pytest.raises(UnsupportedFeature) as refused:
        await instance.embed(asking(Text("a"), truncate_tokens=5))
    assert refused.value.param == "truncate_prompt_tokens"
    assert len(upstream.paths) == before


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((500, {"error": {"message": "boom"}}), EngineFailure),
        ((503, {}), EngineUnavailable),
        ((400, {"error": {"message": "exceeds the maximum context length"}}), ContextTooLong),
        ((200, {"data": 5}), EngineProtocolError),
        ((200, {"data": []}), EngineProtocolError),
        (replies([1.0], [1.0]), EngineProtocolError),
    ],
    ids=lambda value: json.dumps(value)[:40] if isinstance(value, tuple) else value.__name__,
)
async def test_each_failure_has_its_own_error(
    upstream: Upstream, load_embedding: Any, answer: Any, error: type[Exception]
) -> None:
    instance = await load_embedding()
    upstream.answers[PATH] = answer
    with pytest.raises(error):
        await instance.embed(asking(Text("a")))


async def test_a_server_that_makes_none_does_not_load(upstream: Upstream, load_embedding: Any) -> None:
    upstream.answers[PATH] = (404, {})
    with pytest.raises(LoadFailed):
        await load_embedding()

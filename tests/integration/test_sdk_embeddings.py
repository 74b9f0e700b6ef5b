"""Embeddings by the OpenAI SDK for Python, unmodified, against the real model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import httpx
import pytest
from openai import BadRequestError, OpenAI

from .served import MODEL, Served

pytestmark = pytest.mark.engine

VECTORS = "vectors"
CONFIG = f"""
[server]
port = 0

[models."{VECTORS}"]
task = "embed"
context_tokens = 128
dimensions = [64]
placements = [{{ backend = "llamacpp", source = "demo:smollm2-135m", options = {{ pooling = "mean", slots = 2 }} }}]

[models."{MODEL}"]
load = "first_request"
task = "chat"
placements = [{{ backend = "llamacpp", source = "demo:smollm2-135m" }}]
"""
TEXTS = ["The cat sat on the mat.", "A kitten sits on a rug.", "Interest rates rose by half a percent."]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    served = Served(CONFIG, tmp_path_factory.mktemp("server"))
    try:
        yield served.wait_ready()
    finally:
        served.close()


@pytest.fixture
def client(served: Served) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{served.url}/v1", api_key="none needed", max_retries=0) as client:
        yield client


def product(one: Sequence[float], other: Sequence[float]) -> float:
    return math.fsum(a * b for a, b in zip(one, other, strict=True))


def test_texts_become_vectors_that_tell_what_is_alike(client: OpenAI) -> None:
    answer = client.embeddings.create(model=VECTORS, input=TEXTS)  # in base64, as the SDK asks by itself
    cat, kitten, rates = (one.embedding for one in answer.data)
    assert [one.index for one in answer.data] == [0, 1, 2]
    assert len(cat) == 576
    assert product(cat, cat) == pytest.approx(1, abs=1e-5)
    assert product(cat, kitten) > product(cat, rates)
    assert answer.usage.total_tokens == answer.usage.prompt_tokens > len(TEXTS)
    plain = client.embeddings.create(model=VECTORS, input=TEXTS, encoding_format="float")
    for one, other in zip(answer.data, plain.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-3)
    assert max(map(abs, cat)) > 0.01  # or anything would be close


def test_tokens_and_fewer_dimensions(client: OpenAI) -> None:
    by_ids = client.embeddings.create(model=VECTORS, input=[[504, 2365], [42]], dimensions=64)
    assert [len(one.embedding) for one in by_ids.data] == [64, 64]
    assert by_ids.usage.prompt_tokens == 3
    whole = client.embeddings.create(model=VECTORS, input=[[504, 2365]]).data[0].embedding[:64]
    assert product(whole, by_ids.data[0].embedding) == pytest.approx(product(whole, whole) ** 0.5, abs=1e-3)
    with pytest.raises(BadRequestError, match="64"):
        client.embeddings.create(model=VECTORS, input="a", dimensions=63)


def test_a_long_text_is_refused_by_its_place_or_cut(client: OpenAI) -> None:
    with pytest.raises(BadRequestError, match=r"input\[1\]") as refused:
        client.embeddings.create(model=VECTORS, input=["a", "word " * 200])
    assert refused.value.code == "context_length_exceeded"
    cut = client.embeddings.create(model=VECTORS, input="word " * 200, extra_body={"truncate_prompt_tokens": -1})
    assert cut.usage.prompt_tokens == 128


def test_each_model_is_asked_for_what_it_is_for(client: OpenAI, served: Served) -> None:
    with pytest.raises(BadRequestError, match="/v1/embeddings"):
        client.chat.completions.create(model=VECTORS, messages=[{"role": "user", "content": "hi"}])
    with pytest.raises(BadRequestError, match="/v1/chat/completions"):
        client.embeddings.create(model=MODEL, input="a")
    cards = {one["id"]: one for one in httpx.get(f"{served.url}/v1/models", trust_env=False).json()["data"]}
    assert (cards[VECTORS]["task"], cards[VECTORS]["dimensions"]) == ("embed", [576, 64])
    assert (cards[MODEL]["task"], cards[MODEL]["state"]) == ("chat", "unloaded")


def test_a_model_for_vectors_tells_its_tokens(served: Served) -> None:
    with httpx.Client(base_url=served.url, trust_env=False, timeout=60) as http:
        told = {
            model: http.post("/tokenize", json={"model": model, "prompt": TEXTS[0]}).json()
            for model in (VECTORS, MODEL)
        }
        assert told[VECTORS]["tokens"] == told[MODEL]["tokens"]
        spelled = http.post("/detokenize", json={"model": VECTORS, "tokens": told[VECTORS]["tokens"]})
        assert spelled.json() == {"prompt": TEXTS[0]}

"""The router with MLX: served like any model, and started again after a crash."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import httpx
import openai
import pytest

from tests.weights import tiny_hf

from .served import Served

CONFIG = """
[server]
port = 0

[models."tiny/mlx"]
placements = [{{ backend = "mlx", source = "{source}", options = {{ slots = 4 }} }}]
"""
_PATIENCE_S = 180.0


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("mlx")
    running = Served(CONFIG.format(source=tiny_hf()), folder)
    try:
        yield running.wait_ready()
    finally:
        running.close()


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0, timeout=_PATIENCE_S) as made:
        yield made


def test_a_model_of_mlx_answers_like_any_other(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="tiny/mlx", messages=[{"role": "user", "content": "Hello."}], max_tokens=5, logprobs=True, top_logprobs=2
    )
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 5
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].logprobs is not None
    assert len(answer.choices[0].logprobs.content or ()) == 5


def test_it_streams(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="tiny/mlx",
        messages=[{"role": "user", "content": "Hello."}],
        max_tokens=6,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert sum(bool(chunk.choices and chunk.choices[0].delta.content) for chunk in chunks) > 2
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 6


def test_what_it_refuses_names_the_field(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(
            model="tiny/mlx", messages=[{"role": "user", "content": "Hi."}], logit_bias={"99999999": 1}, max_tokens=1
        )
    assert refused.value.param == "logit_bias"
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="tiny/mlx", messages=[{"role": "user", "content": "a " * 9000}])
    assert refused.value.code == "context_length_exceeded"


def _tokens_of_an_answer(client: openai.OpenAI) -> int | None:
    """Tokens of an answer of three, or None while the model is not there."""
    try:
        answer = client.chat.completions.create(
            model="tiny/mlx", messages=[{"role": "user", "content": "Again."}], max_tokens=3
        )
    except openai.InternalServerError:
        return None
    return answer.usage.completion_tokens if answer.usage else 0


def test_a_worker_that_dies_is_started_again(served: Served, client: openai.OpenAI) -> None:
    workers = [process for process in served.descendants() if "enginehouse_mlx.engine.worker" in str(process.cmdline())]
    stream = client.chat.completions.create(
        model="tiny/mlx", messages=[{"role": "user", "content": "Hello."}], max_tokens=1500, stream=True
    )
    next(stream)
    for process in workers:
        process.send_signal(signal.SIGKILL)
    with pytest.raises((openai.APIError, httpx.HTTPError)):
        for _ in stream:
            pass
    served.wait_ready()
    ends_at = time.monotonic() + _PATIENCE_S
    while _tokens_of_an_answer(client) != 3:
        assert time.monotonic() < ends_at, served.text()
        time.sleep(0.2)
    assert not any(process.is_running() and process in workers for process in served.descendants())


def test_the_engine_is_listed(served: Served) -> None:
    models = httpx.get(f"{served.url}/v1/models", trust_env=False).json()["data"]
    assert [model["id"] for model in models] == ["tiny/mlx"]

"""dottxt's documented schema holds on every engine, however hot the sampling: the document says that it always does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest
from tests.integration.documents import authored
from tests.integration.served import Served
from tests.parity.engines import CONTEXT_TOKENS, ENGINES, SLOTS, Engine

pytestmark = pytest.mark.engine

RUNS, FEWER_RUNS = 50, 10
"""Of a long run, and of each."""
_LOAD_S = 1500.0
_MOST_TOKENS = 1500
"""More than any answer of the schema has: 120 characters and four tags of 20, each perhaps an escape of six."""


@pytest.fixture(scope="module", params=ENGINES, ids=[engine.backend for engine in ENGINES])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    engine: Engine = request.param
    if engine.missing:
        pytest.skip(engine.missing)
    options = ", ".join(f"{name} = {json.dumps(value)}" for name, value in engine.options.items())
    config = f"""
[server]
port = 0

[models.tiny]
context_tokens = {CONTEXT_TOKENS}

[[models.tiny.placements]]
backend = "{engine.backend}"
source = {json.dumps(str(engine.tiny()))}
options = {{ {options} }}
{f"python = {json.dumps(engine.python)}" if engine.python else ""}

[[mounts]]
profile = "dottxt"
path = "/dottxt"
models = {{ "Qwen/Qwen3-30B-A3B-FP8" = "tiny" }}
"""
    running = Served(config, Path(tmp_path_factory.mktemp("dottxt")))
    try:
        yield running.wait_ready(_LOAD_S)
    finally:
        running.close()


def content(served: Served, body: dict[str, Any]) -> tuple[str, str]:
    """The whole text of an answer, streamed or not, and why it ended."""
    answer = httpx.post(f"{served.url}/dottxt/v1/chat/completions", json=body, timeout=600.0, trust_env=False)
    assert answer.status_code == 200, answer.text
    if not body["stream"]:
        (choice,) = answer.json()["choices"]
        return choice["message"]["content"], choice["finish_reason"]
    *told, done = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    assert done == "[DONE]"
    choices = [choice for each in told for choice in json.loads(each)["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices), choices[-1]["finish_reason"]


def test_answers_at_temperature_two_satisfy_the_schema(served: Served, is_long: bool) -> None:
    """Random weights at the highest temperature would say anything; every second answer is streamed."""
    runs = RUNS if is_long else FEWER_RUNS
    example = json.loads(authored("dottxt").text)
    schema = example["response_format"]["json_schema"]["schema"]
    bodies = [
        example | {"temperature": 2, "seed": run, "stream": run % 2 == 1, "max_tokens": _MOST_TOKENS}
        for run in range(runs)
    ]
    with ThreadPoolExecutor(SLOTS) as pool:
        answers = list(pool.map(lambda body: content(served, body), bodies))
    assert {reason for _, reason in answers} == {"stop"}
    parsed = [json.loads(text) for text, _ in answers]
    for each in parsed:
        jsonschema_rs.validate(schema, each)
    assert len({text for text, _ in answers}) > runs // 2, "they are not sampled"
    categories = {each["category"] for each in parsed}
    assert categories == set(schema["properties"]["category"]["enum"]) if is_long else len(categories) > 1

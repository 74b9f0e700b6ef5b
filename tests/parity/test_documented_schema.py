"""dottxt's documented schema holds on every engine, however hot the sampling: the document says that it always does."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import jsonschema_rs
import pytest
from tests.integration.documents import authored
from tests.integration.served import Served
from tests.parity.engines import ENGINES, SLOTS, Engine

pytestmark = pytest.mark.engine

RUNS, FEWER_RUNS = 50, 10
"""Of a long run, and of each."""
_MOST_TOKENS = 1500
"""More than any answer of the schema has: 120 characters and four tags of 20, each perhaps an escape of six."""


def content(url: str, body: dict[str, Any]) -> tuple[str, str]:
    """The whole text of an answer, streamed or not, and why it ended."""
    answer = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=600.0, trust_env=False)
    assert answer.status_code == 200, answer.text
    if not body["stream"]:
        (choice,) = answer.json()["choices"]
        return choice["message"]["content"], choice["finish_reason"]
    *told, done = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    assert done == "[DONE]"
    choices = [choice for each in told for choice in json.loads(each)["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices), choices[-1]["finish_reason"]


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.backend)
def test_answers_at_temperature_two_satisfy_the_schema(router: Served, engine: Engine, is_long: bool) -> None:
    """Random weights at the highest temperature would say anything; every second answer is streamed."""
    if engine.missing:
        pytest.skip(engine.missing)
    url = f"{router.url}/{engine.backend}"
    runs = RUNS if is_long else FEWER_RUNS
    example = json.loads(authored("dottxt").text)
    schema = example["response_format"]["json_schema"]["schema"]
    bodies = [
        example | {"temperature": 2, "seed": run, "stream": run % 2 == 1, "max_tokens": _MOST_TOKENS}
        for run in range(runs)
    ]
    with ThreadPoolExecutor(SLOTS) as pool:
        answers = list(pool.map(lambda body: content(url, body), bodies))
    assert {reason for _, reason in answers} == {"stop"}
    parsed = [json.loads(text) for text, _ in answers]
    for each in parsed:
        jsonschema_rs.validate(schema, each)
    assert len({text for text, _ in answers}) > runs // 2, "they are not sampled"
    categories = {each["category"] for each in parsed}
    assert categories == set(schema["properties"]["category"]["enum"]) if is_long else len(categories) > 1

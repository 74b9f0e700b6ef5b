"""What only weights that mean something can show, on every engine: SmolLM2-135M in f32, through the contract.

The list: a fact is known, and its token is likely; the conversation before counts; a schema, a call and a bias shape
the answer without taking its sense; a stop string ends it where the fact stands. All else is shown on random weights,
and `make conformance WEIGHTS=real` runs the whole suite on these.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.asking import ask
from tests.parity.engines import ENGINES, Engine, loaded

from enginehouse_plugin import (
    AssistantMessage,
    Inspectable,
    Instance,
    JsonSchema,
    NamedTool,
    Tool,
    UserMessage,
)

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module")]

CITY = {
    "type": "object",
    "properties": {"city": {"enum": ["London", "Paris", "Rome"]}},
    "required": ["city"],
    "additionalProperties": False,
}


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=ENGINES, ids=lambda engine: engine.backend)
async def real(request: pytest.FixtureRequest) -> AsyncIterator[Instance]:
    engine: Engine = request.param
    if engine.missing:
        pytest.skip(engine.missing)
    async with loaded(engine, engine.real()) as instance:
        yield instance


async def test_a_fact_is_known_and_its_token_is_likely(real: Instance) -> None:
    found = await ask(real, max_tokens=16, logprobs=True, top_logprobs=2)
    (paris,) = [token for token in found.logprobs if token.token == " Paris"]
    assert paris.logprob > -0.5
    assert paris.top[0].token == " Paris"


async def test_the_conversation_before_counts(real: Instance) -> None:
    before = (UserMessage("What is the capital of France?"), AssistantMessage("The capital of France is Paris."))
    assert "Rome" in (await ask(real, "And of Italy?", *before)).text


async def test_an_answer_by_schema_tells_the_fact(real: Instance) -> None:
    assert json.loads((await ask(real, output=JsonSchema("s", CITY))).text) == {"city": "Paris"}


async def test_a_forced_call_has_the_argument_that_was_asked_for(real: Instance) -> None:
    tool = Tool(name="get_weather", description="The weather of a city", parameters=CITY)
    found = await ask(
        real, "What is the weather in Rome?", tools=(tool,), tool_choice=NamedTool("get_weather"), max_tokens=40
    )
    ((name, arguments),) = found.choices[0].calls
    assert (name, json.loads(arguments)) == ("get_weather", {"city": "Rome"})


async def test_a_token_that_is_banned_is_said_otherwise_or_not_at_all(real: Instance) -> None:
    assert isinstance(real, Inspectable)
    banned = await real.tokenize(" Paris")
    found = await ask(real, logit_bias=dict.fromkeys(banned, -100.0))
    assert " Paris" not in found.text
    assert "France" in found.text, "it still answers the question"


async def test_a_stop_string_ends_the_answer_where_the_fact_stands(real: Instance) -> None:
    found = await ask(real, stop=("Paris",))
    assert found.reason == "stop"
    assert found.text.endswith("is ")

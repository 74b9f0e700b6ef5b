"""Same request, same meaning: the engines with the same random weights in f32, through the contract."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from tests.asking import joined
from tests.parity.compare import compare
from tests.parity.engines import ENGINES, Engine, Loaded
from tests.parity.prompts import LONG, PROMPTS

from enginehouse_plugin import (
    Chat,
    GenerationRequest,
    Inspectable,
    JsonObject,
    JsonSchema,
    NamedTool,
    TextDelta,
    Tool,
    UserMessage,
)
from enginehouse_plugin.errors import ContextTooLong, InvalidRequest
from enginehouse_plugin.request import Prompt, TextPart

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="session")]

TINY_PROMPTS = {**PROMPTS, "a long text": LONG}
TOKENS = 16


def greedy(prompt: Prompt, **fields: Any) -> GenerationRequest:
    """A greedy request that tells what it had to choose from."""
    asked = {"max_tokens": TOKENS, "temperature": 0.0, "logprobs": True, "top_logprobs": 20, **fields}
    return GenerationRequest(id="parity", prompt=prompt, **asked)


@pytest.fixture(params=itertools.combinations(ENGINES, 2), ids=lambda pair: "-".join(engine.backend for engine in pair))
def pair(request: pytest.FixtureRequest) -> tuple[Engine, Engine]:
    """Two engines to compare."""
    chosen: tuple[Engine, Engine] = request.param
    return chosen


Pair = tuple[Engine, Engine]


async def faults(engines: Loaded, pair: Pair, requests: dict[str, GenerationRequest]) -> dict[str, tuple[str, ...]]:
    """What differs between the two engines' answers, by the names of *requests*; most answers must agree wholly."""
    one, other = [await engines.answers(engine, list(requests.values())) for engine in pair]
    compared = {
        name: compare(request, left, right)
        for (name, request), left, right in zip(requests.items(), one, other, strict=True)
    }
    parted = [name for name, comparison in compared.items() if comparison.divergences]
    assert len(parted) * 2 <= len(compared), f"most answers part, if only by near ties: {parted}"
    return {name: comparison.faults for name, comparison in compared.items() if comparison.faults}


async def test_greedy_answers_agree_token_by_token(engines: Loaded, pair: Pair) -> None:
    """Tokens, their logprobs and alternatives, counts of prompt and answer, and the reason of the end."""
    requests = {name: greedy(prompt) for name, prompt in TINY_PROMPTS.items()}
    assert len(requests) >= 20
    assert await faults(engines, pair, requests) == {}


async def test_prompts_are_counted_alike_before_they_run(engines: Loaded, pair: Pair) -> None:
    one, other = [await engines.instance(engine) for engine in pair]
    for name, prompt in TINY_PROMPTS.items():
        asked = greedy(prompt)
        count = await one.count_tokens(asked)
        assert count == await other.count_tokens(asked), name
        (answered,) = await engines.answers(pair[0], [asked])
        assert answered.started is not None
        assert count == answered.started.prompt_tokens, name


async def test_texts_are_split_into_the_same_tokens(engines: Loaded, pair: Pair) -> None:
    one, other = [await engines.instance(engine) for engine in pair]
    assert isinstance(one, Inspectable)
    assert isinstance(other, Inspectable)
    for name, text in _texts().items():
        assert list(await one.tokenize(text)) == list(await other.tokenize(text)), name


def _texts() -> dict[str, str]:
    """All text in the prompts. A control token in it is mere text to the hook, as it is in a message."""
    chats = {name: prompt for name, prompt in TINY_PROMPTS.items() if isinstance(prompt, Chat)}
    contents = [(name, message.content) for name, chat in chats.items() for message in chat.messages]
    found: dict[str, str] = {}
    for at, (name, content) in enumerate(contents):
        parts = content if isinstance(content, tuple) else ()
        for text in (content, *(part.text for part in parts if isinstance(part, TextPart))):
            if isinstance(text, str) and text:
                found[f"{name}, {at}"] = text
    return found


# ---- fields ----

NO_END = {0: -100.0, 2: -100.0}
SEA, SKY, LAMP = 3426, 6376, 17559

FIELDS: dict[str, dict[str, Any]] = {
    "a frequency penalty": {"frequency_penalty": 1.5, "logit_bias": {SEA: 6.0, SKY: 5.5}},
    "a negative frequency penalty": {"frequency_penalty": -2.0},
    "a presence penalty": {"presence_penalty": 1.5, "logit_bias": {SEA: 6.0, SKY: 5.5}},
    "both penalties": {"frequency_penalty": 0.7, "presence_penalty": 0.9, "logit_bias": {LAMP: 7.0}},
    "a penalty on repetition": {"repetition_penalty": 100.0, "logit_bias": {SEA: 6.0, SKY: 5.5}},
    "a bias": {"logit_bias": {SEA: 4.0, SKY: 4.5, LAMP: -7.5}},
    "a token forced": {"logit_bias": {LAMP: 100.0}},
    "no end": {"logit_bias": NO_END, "max_tokens": 24},
    "one token": {"max_tokens": 1},
    "two choices": {"n": 2},
    "two choices with a penalty": {"n": 2, "frequency_penalty": 1.0},
    "a cut to one token": {"temperature": 1.7, "top_k": 1, "seed": 3},
    "a share of no size": {"temperature": 1.7, "top_p": 0.0, "seed": 3},
    "only the likeliest": {"temperature": 1.7, "min_p": 1.0, "seed": 3},
    "no alternatives": {"top_logprobs": 0},
    "three alternatives": {"top_logprobs": 3},
}
"""Fields whose effect is the same whatever the engine's random numbers are."""

ASKED = ("emoji", "several turns", "a story", "raw text")


@pytest.mark.parametrize("fields", FIELDS.values(), ids=FIELDS)
async def test_a_field_means_the_same(engines: Loaded, pair: Pair, fields: dict[str, Any]) -> None:
    requests = {name: greedy(PROMPTS[name], **fields) for name in ASKED}
    assert await faults(engines, pair, requests) == {}


@pytest.mark.parametrize("name", ["a frequency penalty", "a presence penalty", "a penalty on repetition"])
async def test_a_penalty_changes_the_answers_that_are_compared(engines: Loaded, name: str) -> None:
    bias = {"logit_bias": FIELDS[name]["logit_bias"]}
    for fields in (bias, {}):
        free, bent = await engines.answers(
            ENGINES[0], [greedy(PROMPTS["a story"], **fields), greedy(PROMPTS["a story"], **FIELDS[name])]
        )
        assert free.text != bent.text


async def test_a_stop_string_cuts_at_the_same_place(engines: Loaded, pair: Pair) -> None:
    """Within a token, across tokens, and one of several; reason, matched string and counts agree."""
    requests: dict[str, GenerationRequest] = {}
    free = await engines.answers(pair[0], [greedy(PROMPTS[name]) for name in ASKED])
    for name, answered in zip(ASKED, free, strict=True):
        tokens = [token.token_bytes for token in answered.logprobs]
        inside = joined(answered.logprobs[4:5])[1:] if _is_text(tokens[4:5]) else ""
        across = joined(answered.logprobs[6:9])[1:-1] if _is_text(tokens[6:9]) else ""
        for kind, stop in (
            ("inside", (inside,)), ("across", (across,)), ("several", ("never said", across, inside)),
        ):  # fmt: skip
            if all(stop):
                requests[f"{name}, {kind}"] = greedy(PROMPTS[name], stop=stop)
    assert len(requests) >= 6
    assert await faults(engines, pair, requests) == {}
    for answered in await engines.answers(pair[0], list(requests.values())):
        assert answered.reason == "stop"


def _is_text(tokens: list[bytes]) -> bool:
    """Whole characters, and more than one."""
    try:
        return len(b"".join(tokens).decode()) > 2
    except UnicodeDecodeError:
        return False


async def test_an_answer_is_the_same_streamed_and_without_logprobs(engines: Loaded, pair: Pair) -> None:
    """Most requests ask for neither: whatever way an adapter takes then, the text is that of the others."""
    told = [greedy(PROMPTS[name]) for name in ASKED]
    plain = [msgspec.structs.replace(request, logprobs=False, top_logprobs=0, stream=True) for request in told]
    for engine in pair:
        with_logprobs, without = await engines.answers(engine, told), await engines.answers(engine, plain)
        for one, other in zip(with_logprobs, without, strict=True):
            assert (one.text, one.reason) == (other.text, other.reason)
            assert "".join(event.text for event in other.events if isinstance(event, TextDelta)) == other.text


# ---- forms ----

CITY = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "Rome", "Madrid"]}, "days": {"type": "integer", "minimum": 0}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
WEATHER = Tool("get_weather", "The weather of a city.", CITY)
NEWS = Tool("get_news", "The news.", {"type": "object", "properties": {}, "additionalProperties": False})

FORMS: dict[str, dict[str, Any]] = {
    "a schema": {"output": JsonSchema("trip", CITY), "max_tokens": 200},
    "any object": {"output": JsonObject(), "max_tokens": 60},
    "a named tool": {"tools": (WEATHER, NEWS), "tool_choice": NamedTool("get_weather"), "max_tokens": 200},
    "any tool": {"tools": (WEATHER, NEWS), "tool_choice": "required", "max_tokens": 200},
    "tools that are not called": {"tools": (WEATHER,), "tool_choice": "none"},
    "tools that may be called": {"tools": (WEATHER,), "tool_choice": "auto"},
}


@pytest.mark.parametrize("fields", FORMS.values(), ids=FORMS)
async def test_a_form_of_the_answer_is_filled_alike(engines: Loaded, pair: Pair, fields: dict[str, Any]) -> None:
    requests = {name: greedy(PROMPTS[name], **fields) for name in ("a question", "several turns", "emoji")}
    assert await faults(engines, pair, requests) == {}


# ---- refusals ----

REFUSED: dict[str, dict[str, Any]] = {
    "a bias on a token beyond the vocabulary": {"logit_bias": {49152: 1.0}},
    "a bias on a negative token": {"logit_bias": {-1: 1.0}},
}


@pytest.mark.parametrize("fields", REFUSED.values(), ids=REFUSED)
async def test_what_one_refuses_all_refuse(engines: Loaded, pair: Pair, fields: dict[str, Any]) -> None:
    seen = []
    for engine in pair:
        with pytest.raises(InvalidRequest) as refused:
            await anext(aiter((await engines.instance(engine)).generate(greedy(PROMPTS["a question"], **fields))))
        seen.append((refused.value.code, refused.value.param))
    assert seen[0] == seen[1]


@pytest.mark.parametrize(
    ("text", "max_tokens"), [("lamp " * 2100, None), ("lamp " * 2000, 200)], ids=["the prompt", "the answer"]
)
async def test_what_does_not_fit_is_refused_with_the_same_counts(
    engines: Loaded, pair: Pair, text: str, max_tokens: int | None
) -> None:
    seen = []
    for engine in pair:
        asked = greedy(Chat((UserMessage(text),)), max_tokens=max_tokens, max_tokens_must_fit=True)
        with pytest.raises(ContextTooLong) as refused:
            await anext(aiter((await engines.instance(engine)).generate(asked)))
        error = refused.value
        seen.append((error.prompt_tokens, error.limit_tokens, error.max_tokens, error.param))
    assert seen[0] == seen[1]

"""What is sent to vLLM."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.asking import request

from enginehouse_kit.grammar import output_grammar
from enginehouse_kit.http.openai_schema import WireError
from enginehouse_plugin import JsonObject, JsonSchema, NamedTool, SystemMessage, Tool
from enginehouse_plugin.errors import ContextTooLong, InvalidRequest
from enginehouse_vllm import checkpoint as checkpoints
from enginehouse_vllm import vocabulary
from enginehouse_vllm.body import check, completion_body, engine_seed, structured_outputs
from enginehouse_vllm.chat import ChatDialect, needs_parsers
from enginehouse_vllm.families import Parsers
from enginehouse_vllm.model import Model, describe

TOOL = Tool("f", "Does f.", {"type": "object", "properties": {}, "additionalProperties": False})
TEMPLATE = "{{ tools }} {{ message.tool_calls }} <think> enable_thinking reasoning_content"


@pytest.fixture(scope="session")
def model_of(tiny: Path) -> Any:
    checkpoint = checkpoints.read(tiny)
    pieces = vocabulary.read(checkpoint.tokenizer or {})

    def make(parsers: Parsers, template: str = TEMPLATE) -> Model:
        return describe(checkpoint, template, parsers, pieces, context_tokens=2048, sequences=4, prefix_cache=True)

    return make


def test_every_sampling_value_is_written_out() -> None:
    body = completion_body(request(seed=7, stop=("x", ""), logit_bias={5: -3.0}), [1, 2], 9, None)
    assert body == {
        "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        "n": 1,
        "temperature": 0.0,
        "top_p": 1.0,
        "top_k": 0,
        "min_p": 0.0,
        "frequency_penalty": 0.0,
        "presence_penalty": 0.0,
        "repetition_penalty": 1.0,
        "include_stop_str_in_output": True,
        "seed": 7,
        "stop": ["x"],
        "logit_bias": {"5": -3.0},
        "prompt": [1, 2],
        "max_tokens": 9,
    }


def test_what_ends_an_answer_is_kept_in_its_text_only_where_it_may_be_a_stop_string() -> None:
    """Or the end-of-sequence token is seen, of models whose tokenizer does not call it special."""
    assert "include_stop_str_in_output" not in completion_body(request(stop=("",)), [1], 9, None)


def test_seeds_of_64_bits_become_seeds_that_all_their_bits_decide() -> None:
    assert [engine_seed(seed) for seed in (0, 1, 2**32 - 257)] == [0, 1, 2**32 - 257]
    found = {engine_seed((upper << 32) + 5) for upper in range(1, 100)}
    assert len(found) == 99
    assert all(
        0 <= seed < 2**32 - 256 for seed in (*found, engine_seed(-1), engine_seed(-(2**63)), engine_seed(2**63 - 1))
    )


def test_a_call_that_may_come_is_constrained_from_its_mark_on() -> None:
    grammar = output_grammar(request(tools=(TOOL,), tool_choice="auto"))
    assert grammar is not None
    shape = msgspec.json.decode(structured_outputs(grammar)["structural_tag"])["format"]
    assert shape["triggers"] == ["<tool_call>"]
    (tag,) = shape["tags"]
    assert tag["begin"] == "<tool_call>"
    assert tag["content"] == {"type": "grammar", "grammar": grammar.for_xgrammar}


def test_under_a_grammar_tokens_that_print_nothing_are_banned(model_of: Any) -> None:
    """Their names would fit a schema like any text. The one that ends an answer must stay."""
    silent_ids = model_of(Parsers()).silent_ids
    assert silent_ids == (0, 1, *range(3, 17))
    grammar = output_grammar(request(output=JsonObject()))
    body = completion_body(request(logit_bias={2: 5.0, 3: 5.0}), [1], 9, grammar, silent_ids)
    assert body["logit_bias"] == {"2": 5.0, **{str(number): -100.0 for number in silent_ids}}
    assert completion_body(request(logit_bias={3: 5.0}), [1], 9, None, silent_ids)["logit_bias"] == {"3": 5.0}


def test_a_temperature_that_leaves_nothing_to_chance_is_greedy() -> None:
    asked = request(temperature=1e-7, n=3)
    check(asked, vocabulary_size=9)
    body = completion_body(asked, [1], 9, None)
    assert (body["temperature"], body["n"]) == (0.0, 1)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"logit_bias": {9: 1.0}}, "logit_bias"),
        ({"seed": 2**63}, "seed"),
        ({"temperature": 0.001}, "temperature"),  # vLLM would take 0.01 for it
    ],
)
def test_values_that_the_engine_cannot_take_are_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check(request(**fields), vocabulary_size=9)
    assert caught.value.param == param


# ---- the chat route ----


@pytest.mark.parametrize(
    ("parsers", "fields", "needed"),
    [
        (Parsers(), {"tools": (TOOL,), "tool_choice": "auto"}, False),
        (Parsers(tool="mistral"), {}, False),
        (Parsers(tool="mistral"), {"tools": (TOOL,), "tool_choice": "auto"}, True),
        (Parsers(tool="mistral"), {"tools": (TOOL,), "tool_choice": "required"}, False),
        (Parsers(reasoning="mistral"), {}, True),
        (Parsers(is_harmony=True), {}, True),
    ],
)
def test_vllms_parsers_are_used_where_only_they_can_read(
    model_of: Any, parsers: Parsers, fields: dict[str, Any], needed: bool
) -> None:
    assert needs_parsers(request(**fields), model_of(parsers)) is needed


def test_a_template_that_shows_no_tools_has_calls_in_the_adapters_form(model_of: Any) -> None:
    """Though it shows past calls in a form of its own, as DeepSeek's do."""
    model = model_of(Parsers(tool="deepseek_v3"), "{{ message.tool_calls }} <|calls|>")
    assert not needs_parsers(request(tools=(TOOL,), tool_choice="auto"), model)


def test_tools_are_passed_on_to_a_template_that_shows_them(model_of: Any) -> None:
    dialect = ChatDialect(model_of(Parsers(tool="mistral")))
    body = dialect.body_of(request("Hi", tools=(TOOL,), tool_choice="auto", parallel_tool_calls=False), "m")
    assert body["tools"][0]["function"]["name"] == "f"
    assert (body["tool_choice"], body["parallel_tool_calls"]) == ("auto", False)
    assert body["messages"] == [{"role": "user", "content": "Hi"}]
    assert "structured_outputs" not in body


def test_marks_of_reasoning_that_are_control_tokens_stay_in_the_text(tiny: Path) -> None:
    """Where the adapter reads them; vLLM's own parsers ask for what they need."""
    known = checkpoints.read(tiny)
    marked = msgspec.structs.replace(known, controls={**known.controls, 3: "<think>", 5: "</think>"})
    pieces = vocabulary.read(known.tokenizer or {})
    for checkpoint, parsers, stays in (
        (known, Parsers(tool="glm45"), False),
        (marked, Parsers(tool="glm45"), True),
        (marked, Parsers(tool="glm45", reasoning="glm45"), False),
    ):
        model = describe(checkpoint, TEMPLATE, parsers, pieces, context_tokens=64, sequences=1, prefix_cache=True)
        body = ChatDialect(model).body_of(request("Hi", tools=(TOOL,), tool_choice="auto"), "m")
        assert (body.get("skip_special_tokens") is False) is stays


def test_a_forced_call_is_shown_by_the_template_and_forced_by_the_grammar(model_of: Any) -> None:
    dialect = ChatDialect(model_of(Parsers(tool="mistral", reasoning="mistral")))
    body = dialect.body_of(request("Hi", tools=(TOOL,), tool_choice=NamedTool("f")), "m")
    assert body["tool_choice"] == "none"
    assert body["tools"]
    assert "grammar" in body["structured_outputs"]
    assert "must now call the function 'f'" in body["messages"][0]["content"]


def test_in_the_harmony_format_vllm_forces_the_call(model_of: Any) -> None:
    dialect = ChatDialect(model_of(Parsers(tool="openai", reasoning="openai_gptoss", is_harmony=True)))
    body = dialect.body_of(
        request("Hi", SystemMessage("Brief."), tools=(TOOL,), tool_choice=NamedTool("f"), reasoning_effort="low"), "m"
    )
    assert body["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    assert body["reasoning_effort"] == "low"
    assert body["messages"][0] == {"role": "system", "content": "Brief."}
    assert "structured_outputs" not in body


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": (TOOL,), "tool_choice": "auto", "output": JsonSchema("s", {})}, "response_format"),
        ({"output": JsonSchema("s", {"const": 1}), "logprobs": True}, "logprobs"),
    ],
)
def test_what_the_chat_route_cannot_combine_is_refused(model_of: Any, fields: dict[str, Any], param: str) -> None:
    dialect = ChatDialect(model_of(Parsers(tool="mistral", reasoning="mistral")))
    with pytest.raises(InvalidRequest) as caught:
        dialect.body_of(request("Hi", **fields), "m")
    assert caught.value.param == param


_LIMIT = "This model's maximum context length is 2048 tokens. However, "


@pytest.mark.parametrize(
    ("message", "prompt", "completion", "is_lower_bound"),
    [
        (f"{_LIMIT}your prompt contains at least 2049 input tokens, which exceeds this limit.", 2049, None, True),
        (f"{_LIMIT}your prompt contains 2100 input tokens, which exceeds this limit.", 2100, None, False),
        (
            f"{_LIMIT}you requested 500 output tokens and your prompt contains 1800 input tokens, for a total of 2300.",
            1800,
            500,
            False,
        ),
        (
            f"{_LIMIT}your prompt contains 99999 characters (more than is the upper bound for 2048 input tokens).",
            2048,
            None,
            True,
        ),
    ],
)
def test_what_exceeds_the_context_has_its_counts(
    model_of: Any, message: str, prompt: int, completion: int | None, is_lower_bound: bool
) -> None:
    """In the words of vLLM 0.25 and 0.33."""
    found = ChatDialect(model_of(Parsers(reasoning="mistral"))).error_of(400, WireError(message=message))
    assert isinstance(found, ContextTooLong)
    assert (found.prompt_tokens, found.limit_tokens) == (prompt, 2048)
    assert (found.max_tokens, found.is_lower_bound) == (completion, is_lower_bound)


def test_thinking_that_a_template_can_switch_is_on_unless_it_is_switched_off(model_of: Any) -> None:
    """As on the other engines, whatever the template takes an absent variable for."""
    dialect = ChatDialect(model_of(Parsers(reasoning="qwen3")))
    for fields, variables in (
        ({}, {"enable_thinking": True}),
        ({"chat_template_kwargs": {"enable_thinking": False}}, {"enable_thinking": False}),
    ):
        assert dialect.body_of(request("Hi", **fields), "m")["chat_template_kwargs"] == variables
    plain = ChatDialect(model_of(Parsers(reasoning="qwen3"), "{{ messages }}"))
    assert "chat_template_kwargs" not in plain.body_of(request("Hi"), "m")


def test_reasoning_effort_switches_a_templates_thinking(model_of: Any) -> None:
    model = model_of(Parsers(reasoning="qwen3"))
    assert {"reasoning", "reasoning_effort", "chat_template_kwargs"} <= model.capabilities.features
    body = ChatDialect(model).body_of(request("Hi", reasoning_effort="none"), "m")
    assert body["chat_template_kwargs"] == {"reasoning_effort": "none", "enable_thinking": False}
    with pytest.raises(InvalidRequest, match="no variable 'nonsense'"):
        ChatDialect(model).body_of(request("Hi", chat_template_kwargs={"nonsense": 1}), "m")

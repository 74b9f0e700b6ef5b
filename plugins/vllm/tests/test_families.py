from pathlib import Path

import pytest

from enginehouse_vllm.checkpoint import Checkpoint
from enginehouse_vllm.families import Parsers, choose

HERMES = '{% if tools %}<tools>{{ tools }}</tools> <tool_call>{"name": "x", "arguments": {}}</tool_call>{% endif %}'


def checkpoint(model_type: str = "llama", template: str | None = None) -> Checkpoint:
    return Checkpoint(
        folder=Path("x"),
        config={"model_type": model_type},
        parameters={},
        weight_bytes=0,
        template=template,
        tokenizer=None,
    )


@pytest.mark.parametrize(
    ("model_type", "template", "tool", "reasoning"),
    [
        ("llama", "{{ messages }}", None, None),
        ("qwen2", HERMES, None, None),
        ("qwen3", HERMES + "<think>", None, None),
        ("qwen3_moe", "<tool_call><function=f><parameter=p></tool_call>", "qwen3_coder", None),
        ("llama", "Environment: ipython {{ tools }}", "llama3_json", None),
        ("llama4", "{{ tools }}", "llama4_pythonic", None),
        ("mistral", "[AVAILABLE_TOOLS] [TOOL_CALLS] [THINK]", "mistral", "mistral"),
        ("gpt_oss", "<|channel|>", "openai", "openai_gptoss"),
        ("deepseek_v3", "<\uff5ctool\u2581calls\u2581begin\uff5c> '```json'", "deepseek_v3", None),
        ("deepseek_v3", "<\uff5ctool\u2581calls\u2581begin\uff5c>", "deepseek_v31", None),
        ("granite", "<|tool_call|> Here is my thought process", "granite", "granite"),
        ("granite", "<|tool_call|>", "granite", None),
        ("glm4_moe", "<tool_call>{name}<arg_key>k</arg_key>", "glm45", None),
        ("kimi_k2", "<|tool_calls_section_begin|>", "kimi_k2", None),
    ],
)
def test_a_familys_own_form_of_calls_and_reasoning_has_its_parser(
    model_type: str, template: str, tool: str | None, reasoning: str | None
) -> None:
    found = choose(checkpoint(model_type, template), "auto", "auto")
    assert found == Parsers(tool=tool, reasoning=reasoning, is_harmony=model_type == "gpt_oss")


def test_the_options_come_before_the_family() -> None:
    found = choose(checkpoint("mistral", "[TOOL_CALLS] [THINK]"), "none", "none")
    assert found == Parsers()
    assert choose(checkpoint(), "hermes", "qwen3") == Parsers(tool="hermes", reasoning="qwen3")

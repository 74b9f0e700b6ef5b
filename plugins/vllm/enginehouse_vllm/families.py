"""Which of vLLM's parsers suits a model: by the marks in its chat template, then by its family.

A template that shows tools between `<tools>` and has calls as JSON behind `<tool_call>`, and one that shows no tools,
need none: the adapter reads these calls itself, and holds the model to valid ones by a grammar.
"""

from __future__ import annotations

import msgspec

from enginehouse_kit.text.chat_messages import CALL_OPENS

from .checkpoint import Checkpoint

# The first mark that the template has decides. Source: vLLM's documentation of tool calling, and its parsers.
_TOOL_MARKS = (
    ("<function=", "qwen3_coder"),
    ("<minimax:tool_call>", "minimax_m2"),
    ("<|tool_calls_section_begin|>", "kimi_k2"),
    ("<seed:tool_call>", "seed_oss"),
    ("<arg_key>", "glm45"),
    ("[TOOL_CALLS]", "mistral"),
    ("<|python_start|>", "llama4_pythonic"),
    ("<|python_tag|>", "llama3_json"),
    ("Environment: ipython", "llama3_json"),
    ("<\uff5ctool\u2581calls\u2581begin\uff5c>", "deepseek_v31"),
    ("<|tool_call|>", "granite"),
    ("<|START_ACTION|>", "cohere_command3"),
    ("<|plugin|>", "internlm"),
)
_TOOL_FAMILIES = {
    "gpt_oss": "openai",
    "deepseek_v32": "deepseek_v32",
    "deepseek_v4": "deepseek_v4",
    "gemma4": "gemma4",
    "gemma4_text": "gemma4",
    "hunyuan_v1_moe": "hunyuan_a13b",
    "jamba": "jamba",
    "lfm2": "lfm2",
    "lfm2_moe": "lfm2",
    "llama4": "llama4_pythonic",
    "phi4": "phi4_mini_json",
    "step3_vl": "step3",
}
_REASONING_MARKS = (
    ("[THINK]", "mistral"),
    ("<seed:think>", "seed_oss"),
    ("<|START_THINKING|>", "cohere_command3"),
)
_REASONING_FAMILIES = {
    "gpt_oss": "openai_gptoss",
    "gemma4": "gemma4",
    "gemma4_text": "gemma4",
    "granite": "granite",
    "hunyuan_v1_moe": "hunyuan_a13b",
}
_HARMONY = "gpt_oss"
_FENCED = "deepseek_v3"  # DeepSeek's older form has arguments between fences of Markdown

TOOL_PARSERS = frozenset({*dict(_TOOL_MARKS).values(), *_TOOL_FAMILIES.values(), _FENCED})
"""The parsers of tool calls that a model may get."""
REASONING_PARSERS = frozenset({*dict(_REASONING_MARKS).values(), *_REASONING_FAMILIES.values()})
"""The parsers of reasoning that a model may get."""


class Parsers(msgspec.Struct, frozen=True, kw_only=True):
    """vLLM's parsers for a model; None: the adapter's own.

    *is_harmony*: the model speaks a format of its own, in which vLLM alone can force calls.
    """

    tool: str | None = None
    reasoning: str | None = None
    is_harmony: bool = False


def choose(checkpoint: Checkpoint, tool_parser: str, reasoning_parser: str) -> Parsers:
    """Choose by the options, and by the model where they say `auto`."""
    template = checkpoint.template or ""
    family = checkpoint.model_type
    tool: str | None = tool_parser if tool_parser not in ("auto", "none") else None
    if tool_parser == "auto" and not has_our_calls(template):
        tool = _TOOL_FAMILIES.get(family) or _first(_TOOL_MARKS, template)
        if tool == "deepseek_v31" and "```json" in template:
            tool = _FENCED
    reasoning: str | None = reasoning_parser if reasoning_parser not in ("auto", "none") else None
    if reasoning_parser == "auto":
        reasoning = _REASONING_FAMILIES.get(family) or _first(_REASONING_MARKS, template)
        if family == "granite" and "Here is my thought process" not in template:
            reasoning = None
    return Parsers(tool=tool, reasoning=reasoning, is_harmony=family == _HARMONY)


def has_our_calls(template: str) -> bool:
    """Whether the template writes calls as this adapter reads them."""
    return CALL_OPENS in template and '"arguments"' in template and "<function=" not in template


def _first(marks: tuple[tuple[str, str], ...], template: str) -> str | None:
    return next((parser for mark, parser in marks if mark in template), None)

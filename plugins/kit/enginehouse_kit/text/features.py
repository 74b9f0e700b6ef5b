"""What an engine has that is driven through this kit: the list that its adapters start from."""

from __future__ import annotations

from .chat_messages import TemplateFacts

SAMPLED = frozenset(
    {
        "streaming",
        "n",
        "stop",
        "seed",
        "frequency_penalty",
        "presence_penalty",
        "repetition_penalty",
        "logit_bias",
        "logprobs",
        "min_tokens",
        "ignore_eos",
        "top_k",
        "min_p",
        "json_object",
        "json_schema",
        "tools",
        "tool_choice_required",
        "tool_choice_named",
        "parallel_tool_calls",
        "developer_role",
    }
)
"""What samplers and grammars give to every model that has a chat template."""


def features_of(
    facts: TemplateFacts, *, has_effort: bool, prefix_cache: bool, fills_in: bool = False
) -> frozenset[str]:
    """Features of a model with a template as *facts* tell; an adapter takes off what its engine lacks.

    *has_effort*: the template has a place for an effort of reasoning; *fills_in*: the model was made to fill in texts.
    """
    also = {
        "prefix_cache": prefix_cache,
        "reasoning": facts.thinking,
        # What is continued may be reasoning or the answer behind it: nothing of the text tells which.
        "continue_final_message": not facts.thinking,
        "chat_template_kwargs": bool(facts.variables),
        "reasoning_effort": has_effort,
        "suffix": fills_in,
    }
    return SAMPLED.union(name for name, is_there in also.items() if is_there)

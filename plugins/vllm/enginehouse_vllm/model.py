"""What was loaded: the facts that requests are checked and written by."""

from __future__ import annotations

import re

import msgspec

from enginehouse_kit.text.chat_messages import CALL_CLOSES, CALL_OPENS, TemplateFacts
from enginehouse_kit.text.features import features_of
from enginehouse_kit.text.filling import Filling, filling_of
from enginehouse_kit.text.thinking import MARKS, OPENS
from enginehouse_plugin import Capabilities

from .checkpoint import Checkpoint
from .families import Parsers, has_our_calls
from .start import MAX_STOPS
from .vocabulary import Vocabulary

_VARIABLES = (
    "enable_thinking",
    "thinking",
    "thinking_budget",
    "custom_instructions",
    "date_string",
    "documents",
    "reasoning_effort",
)
"""Variables beyond messages and tools that published templates read."""
_READ_MARKS = frozenset({*MARKS, CALL_OPENS, CALL_CLOSES})
_MAX_N = 128
_MAX_TOP_LOGPROBS = 20


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A loaded model.

    `hidden_ids` are the control tokens that are no part of an answer, and `hidden` finds their texts. vLLM leaves
    control tokens out of its text; where marks that the adapter reads are among them (`has_control_marks`) it must not.
    `silent_ids` are those of them that end no answer either, where it is known which one does.
    """

    capabilities: Capabilities
    template: TemplateFacts
    parsers: Parsers
    vocabulary: Vocabulary
    vocabulary_size: int
    control_tokens: tuple[str, ...]
    hidden_ids: frozenset[int]
    silent_ids: tuple[int, ...]
    hidden: re.Pattern[str] | None
    has_control_marks: bool
    filling: Filling | None = None

    @property
    def context_tokens(self) -> int:
        """Tokens of prompt and completion together."""
        return self.capabilities.context_tokens


def describe(
    checkpoint: Checkpoint,
    template: str,
    parsers: Parsers,
    vocabulary: Vocabulary,
    *,
    context_tokens: int,
    sequences: int,
    prefix_cache: bool,
) -> Model:
    """Derive what the loaded model can do."""
    facts = facts_of(template, parsers)
    has_effort = parsers.is_harmony or bool(facts.variables & {"reasoning_effort", "enable_thinking"})
    filling = filling_of(checkpoint.added_ids)
    features = features_of(facts, has_effort=has_effort, prefix_cache=prefix_cache, fills_in=filling is not None)
    if parsers.reasoning is not None or parsers.is_harmony:
        features -= {"continue_final_message"}
    if parsers.reasoning is not None:
        features |= {"reasoning"}
    if not len(vocabulary):
        features -= {"logprobs"}
    size = checkpoint.vocabulary_size or len(vocabulary)
    hidden = {number: text for number, text in checkpoint.controls.items() if text not in _READ_MARKS}
    return Model(
        capabilities=Capabilities(
            context_tokens=context_tokens,
            max_concurrent_requests=sequences,
            features=features,
            limits={"n": _MAX_N, "top_logprobs": _MAX_TOP_LOGPROBS, "stop": MAX_STOPS},
            vocabulary_size=size,
        ),
        template=facts,
        parsers=parsers,
        vocabulary=vocabulary,
        vocabulary_size=size,
        control_tokens=checkpoint.control_tokens,
        hidden_ids=frozenset(hidden),
        silent_ids=tuple(number for number, text in hidden.items() if text != checkpoint.ending)
        if checkpoint.ending in hidden.values()
        else (),
        hidden=re.compile("|".join(map(re.escape, hidden.values()))) if hidden else None,
        has_control_marks=len(hidden) < len(checkpoint.controls),
        filling=filling,
    )


def facts_of(template: str, parsers: Parsers) -> TemplateFacts:
    """What the template has a place for. Its own form of tools is used where the adapter or vLLM reads it."""
    shows_tools = bool(re.search(r"\btools\b", template)) and (has_our_calls(template) or parsers.tool is not None)
    return TemplateFacts(
        tools=shows_tools or parsers.is_harmony,
        tool_calls=(shows_tools and "tool_calls" in template) or parsers.is_harmony,
        reasoning="reasoning_content" in template or parsers.is_harmony,
        thinking=OPENS in template and parsers.reasoning is None,
        variables=frozenset(name for name in _VARIABLES if re.search(rf"\b{name}\b", template)),
    )

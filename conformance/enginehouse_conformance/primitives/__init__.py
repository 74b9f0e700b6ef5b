"""Techniques that give verdicts whatever a model says: [B] greedy, [T] [A] tokens, [C] forced content."""

from __future__ import annotations

from .constrained import constrained, constrained_or_refused, json_value, poem, require_clear_refusal
from .cut_json import begins_json
from .errors import require_error_form
from .forced import (
    TRIES,
    decoded,
    is_cut_short,
    is_whole,
    is_whole_call,
    json_schema,
    named,
    never_complete,
    nonce_tool,
    object_of,
    saying,
    tool,
    whole_answer,
)
from .greedy import STORY, TIE_GAP, Baseline, baseline, entry_at_difference, greedy, require_same_greedy, with_gaps
from .pace import arrives_as_made, comes_in_blocks
from .prompts import PAD, are_apart, ask_with_room, lost_ends
from .tokens import (
    KnownToken,
    alphabet,
    endless,
    forced_token,
    id_among,
    ids_of,
    only,
    printable_tokens,
    require_order,
    small_vocabulary,
    tally,
    vocabulary_size,
)

__all__ = [
    "PAD",
    "STORY",
    "TIE_GAP",
    "TRIES",
    "Baseline",
    "KnownToken",
    "alphabet",
    "are_apart",
    "arrives_as_made",
    "ask_with_room",
    "baseline",
    "begins_json",
    "comes_in_blocks",
    "constrained",
    "constrained_or_refused",
    "decoded",
    "endless",
    "entry_at_difference",
    "forced_token",
    "greedy",
    "id_among",
    "ids_of",
    "is_cut_short",
    "is_whole",
    "is_whole_call",
    "json_schema",
    "json_value",
    "lost_ends",
    "named",
    "never_complete",
    "nonce_tool",
    "object_of",
    "only",
    "poem",
    "printable_tokens",
    "require_clear_refusal",
    "require_error_form",
    "require_order",
    "require_same_greedy",
    "saying",
    "small_vocabulary",
    "tally",
    "tool",
    "vocabulary_size",
    "whole_answer",
    "with_gaps",
]

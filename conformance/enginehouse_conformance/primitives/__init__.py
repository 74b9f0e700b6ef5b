"""Techniques that give verdicts whatever a model says: [B] greedy, [T] [A] tokens, [C] forced content."""

from __future__ import annotations

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
from .greedy import TIE_GAP, Baseline, baseline, greedy, require_same_greedy
from .tokens import KnownToken, endless, forced_token, only, printable_tokens, small_vocabulary, tally

__all__ = [
    "TIE_GAP",
    "TRIES",
    "Baseline",
    "KnownToken",
    "baseline",
    "begins_json",
    "decoded",
    "endless",
    "forced_token",
    "greedy",
    "is_cut_short",
    "is_whole",
    "is_whole_call",
    "json_schema",
    "named",
    "never_complete",
    "nonce_tool",
    "object_of",
    "only",
    "printable_tokens",
    "require_error_form",
    "require_same_greedy",
    "saying",
    "small_vocabulary",
    "tally",
    "tool",
    "whole_answer",
]

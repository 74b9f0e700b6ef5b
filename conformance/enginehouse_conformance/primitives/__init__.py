"""Techniques that give verdicts whatever a model says: [B] greedy, [T] [A] tokens, [C] forced content."""

from __future__ import annotations

from .cut_json import begins_json
from .errors import require_error_form
from .forced import decoded, json_schema, named, nonce_tool, object_of, saying, tool
from .greedy import TIE_GAP, Baseline, baseline, greedy, require_same_greedy
from .tokens import KnownToken, endless, forced_token, only, printable_tokens, tally

__all__ = [
    "TIE_GAP",
    "Baseline",
    "KnownToken",
    "baseline",
    "begins_json",
    "decoded",
    "endless",
    "forced_token",
    "greedy",
    "json_schema",
    "named",
    "nonce_tool",
    "object_of",
    "only",
    "printable_tokens",
    "require_error_form",
    "require_same_greedy",
    "saying",
    "tally",
    "tool",
]

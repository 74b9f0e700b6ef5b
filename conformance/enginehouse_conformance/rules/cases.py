"""Rules of a common kind, as data: what is refused, what does no harm, what is given back, what is as on chat.

In every value `{prompt}` stands for the prompt of the check, and `{nonce}` for a fresh word.
"""

from __future__ import annotations

from typing import Any

import msgspec

Fields = dict[str, Any]  # of a request, as JSON


class _Case(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Data of a rule."""


class Refused(_Case, frozen=True, kw_only=True):
    """Each of *bodies*, over a right request, is refused with one of *status*, naming one of *names*; so is a request
    without each of *lacks*."""

    names: tuple[str, ...]
    bodies: tuple[Fields, ...] = ()
    lacks: tuple[str, ...] = ()
    status: tuple[int, ...] = (400,)


class Harmless(_Case, frozen=True, kw_only=True):
    """Each of *bodies* is served, and the greedy answer is that without it."""

    bodies: tuple[Fields, ...]


class Echoed(_Case, frozen=True, kw_only=True):
    """An answer to *fields* has *shown*; *fields* themselves unless given."""

    fields: Fields
    shown: Fields = {}


class LikeChat(_Case, frozen=True, kw_only=True):
    """The greedy answer to *fields* is that of chat to *chat*: text, calls, reason and counts.

    It is not that of chat without *chat*, where *shows* is set: the fields can be seen to have an effect. It is asked
    for as a stream where *streamed* is set.
    """

    fields: Fields
    chat: Fields
    shows: bool = True
    streamed: bool = False


Case = Refused | Harmless | Echoed | LikeChat

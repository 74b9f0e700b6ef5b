"""Profiles: one documented API on a dialect, as data that the dialect's endpoints consume."""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class Field(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A field of a request, as the document has it; `type` and `description` are its words.

    The bounds hold where they are narrower than the dialect's own, or wider than what that has by custom. `default`
    holds where a request is silent, after what the model's owner says; `default_is` tells of one that is no value, or
    that the dialect has by itself. `other_defaults` are those that can be read in the document as well: owners may set
    one of them, and the suite takes each. `values` are the choices; those of an `is_open` field are refused only by a
    strict profile.
    """

    type: str = ""
    required: bool = False
    default: Any = None  # of the field's own type
    default_is: str = ""
    other_defaults: tuple[Any, ...] = ()
    minimum: int | float | None = None
    maximum: int | float | None = None
    max_items: int | None = None
    values: tuple[str, ...] = ()
    is_open: bool = False
    description: str = ""


class ErrorWords(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the document calls a status (`title`), and what it says of it: messages begin with these `words`."""

    title: str = ""
    words: str


class Reading(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is done where the document is silent or contradicts itself.

    `about` is the place, `document` what stands there, `ours` what we make of it and `why`. `setting` is the key of the
    profile that changes it, as a mount's settings name it: `fields.temperature.default`; empty where nothing is to be
    chosen.
    """

    about: str
    document: str
    ours: str
    why: str
    setting: str = ""


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One documented API on a dialect: its routes, fields, errors, and what holds where a request is silent.

    Its routes begin with `base_path`, and each of `query` must stand in the query of a request. `endpoints` are the
    operations that it has. `roles` are those of messages (none: all that the dialect has), `fields` those of a request
    by their place: `tools[].function.name`. Fields of the dialect that are not among them stay accepted unless
    `strict_profile`. A field that nobody knows, and what a model lacks (`unsupported`), is refused, or with `report`
    left out and named. A line at the head of the system prompt that a client changes with each request
    (`changing_lines`) is moved behind the messages, dropped, or kept. `max_tokens` is an upper bound, or must fit into
    the context; `max_completion_tokens` bounds each choice, or all of a run together. Usage ends a stream in a chunk of
    its own where that is asked for, or always stands in the last chunk of the last choice. `errors` has the documented
    words by status, and `statuses` the documented status for one that is not; `retry_after` are statuses that say when
    to ask again. `headers` go with every answer. What the document shows of answers is in `answer`, a type by place
    (`choices[].index`), and of requests in `examples`, bodies in JSON.
    """

    name: str
    title: str = ""
    description: str = ""
    document: str = ""
    base_path: str = "/v1"
    query: dict[str, str] = {}
    endpoints: tuple[str, ...] = ("chat",)
    unknown_fields: Literal["refuse", "report"] = "refuse"
    unsupported: Literal["refuse", "report"] = "refuse"
    strict_profile: bool = False
    changing_lines: Literal["move", "drop", "keep"] = "move"
    roles: tuple[str, ...] = ()
    fields: dict[str, Field] = {}
    max_tokens_must_fit: bool = False
    max_completion_tokens_spans: Literal["choice", "run"] = "choice"
    stream_usage: Literal["on_request", "last_chunk"] = "on_request"
    errors: dict[int, ErrorWords] = {}
    statuses: dict[int, int] = {}
    retry_after: tuple[int, ...] = (429, 503)
    headers: dict[str, str] = {}
    answer: dict[str, str] = {}
    examples: tuple[str, ...] = ()
    readings: tuple[Reading, ...] = ()

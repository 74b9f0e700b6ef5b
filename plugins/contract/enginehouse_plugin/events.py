"""What an instance yields while it generates: engine-neutral events, one set for every endpoint.

The order (checked by the conformance suite):

- S1: `Started` first; exactly one `Finished` per choice; nothing for that choice follows it.
- S2: `UsageReport` last on success. After cancellation or failure the last cumulative counts seen
  (`completion_tokens` of each delta, `prompt_tokens` of `Started` where it has them) are what is charged.
- S3: a failure raises one of `enginehouse_plugin.errors`.

Text in events is whole characters: an adapter holds bytes back until a character is complete.
"""

from __future__ import annotations

from typing import Literal, final

import msgspec

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]
Channel = Literal["content", "reasoning", "refusal"]

EVENTS_VERSION = 2
"""Version of the set of events, negotiated with a worker: a new tag is sent only after negotiation."""


class TopLogprob(msgspec.Struct, frozen=True, gc=False):
    """One alternative at a position. `token_bytes` are the token's own bytes, `logprob` is natural."""

    token: str
    token_id: int
    token_bytes: bytes
    logprob: float


class TokenLogprob(msgspec.Struct, frozen=True, gc=False):
    """A sampled token: log-softmax of the raw logits, before bias, penalties, temperature and grammar.

    `top` is sorted by falling logprob and holds at most `top_logprobs` entries.
    """

    token: str
    token_id: int
    token_bytes: bytes
    logprob: float
    top: tuple[TopLogprob, ...] = ()
    channel: Channel = "content"


class Event(msgspec.Struct, frozen=True, gc=False, tag_field="t"):
    """Base of all events."""


@final
class Started(Event, frozen=True, gc=False, tag="started"):
    """The engine has taken the request. `cached_tokens` of the prompt came from a prefix cache.

    `prompt_tokens` None: the engine tells with the `UsageReport` alone. `ignored` names places of the request that
    cannot be enforced and need not be, `tools[0].function.parameters/properties/tags/uniqueItems`: they are left to
    the model.
    """

    prompt_tokens: int | None = None
    cached_tokens: int = 0
    ignored: tuple[str, ...] = ()


@final
class TextDelta(Event, frozen=True, gc=False, tag="text"):
    """More of the answer. `completion_tokens` is the running count of the choice."""

    choice: int
    text: str
    completion_tokens: int
    logprobs: tuple[TokenLogprob, ...] | None = None


@final
class ReasoningDelta(Event, frozen=True, gc=False, tag="reasoning"):
    """More of the model's reasoning, which is not part of the answer."""

    choice: int
    text: str
    completion_tokens: int
    logprobs: tuple[TokenLogprob, ...] | None = None


@final
class RefusalDelta(Event, frozen=True, gc=False, tag="refusal"):
    """More of a refusal."""

    choice: int
    text: str
    completion_tokens: int
    logprobs: tuple[TokenLogprob, ...] | None = None


@final
class ToolCallDelta(Event, frozen=True, gc=False, tag="tool_call"):
    """More of a tool call. `id` and `name` come once, on the first delta of a `call_index`."""

    choice: int
    call_index: int
    completion_tokens: int
    id: str | None = None
    name: str | None = None
    arguments_fragment: str = ""


@final
class Finished(Event, frozen=True, gc=False, tag="finished"):
    """A choice has ended. `matched_stop` is the stop string that ended it, if one did."""

    choice: int
    reason: FinishReason
    matched_stop: str | None = None


@final
class UsageReport(Event, frozen=True, gc=False, tag="usage"):
    """Final counts in tokens; `completion_tokens` sums over the choices, the prompt counts once."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0


AnyEvent = Started | TextDelta | ReasoningDelta | RefusalDelta | ToolCallDelta | Finished | UsageReport
Delta = TextDelta | ReasoningDelta | RefusalDelta | ToolCallDelta

"""The chat part of the OpenAI wire as engines' servers write it: what `openai_wire` reads, nothing more.

One struct serves chunks and whole answers, because one decode per token is what a token may cost.
Fields that only some engines have are optional; a dialect adds its own by subclassing `Chunk`.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

Byte = Annotated[int, msgspec.Meta(ge=0, le=255)]


class WireTopLogprob(msgspec.Struct, frozen=True, gc=False):
    """An alternative at a position; `id` is llama.cpp's."""

    token: str
    logprob: float
    bytes: list[Byte] | None = None
    id: int = -1


class WireLogprob(msgspec.Struct, frozen=True):
    """A sampled token."""

    token: str
    logprob: float
    bytes: list[Byte] | None = None
    id: int = -1
    top_logprobs: list[WireTopLogprob] = []


class WireLogprobs(msgspec.Struct, frozen=True):
    """Log-probabilities of a chunk or message."""

    content: list[WireLogprob] | None = None
    refusal: list[WireLogprob] | None = None


class WireFunction(msgspec.Struct, frozen=True, gc=False):
    """The function of a call; a delta holds a part of it."""

    name: str | None = None
    arguments: str | None = None


class WireToolCall(msgspec.Struct, frozen=True, gc=False):
    """A call; whole messages have no `index`."""

    function: WireFunction
    index: int | None = None
    id: str | None = None


class WireDelta(msgspec.Struct, frozen=True):
    """A delta or a message. Reasoning is `reasoning` with vLLM, `reasoning_content` with llama.cpp."""

    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    tool_calls: list[WireToolCall] | None = None


class WireChoice(msgspec.Struct, frozen=True):
    """A choice of a chunk (`delta`) or of a whole answer (`message`); `stop_reason`, the
    stop string that matched, is vLLM's and Enginehouse's."""

    index: int = 0
    delta: WireDelta | None = None
    message: WireDelta | None = None
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    logprobs: WireLogprobs | None = None


class WirePromptDetails(msgspec.Struct, frozen=True, gc=False):
    """Of the prompt's tokens."""

    cached_tokens: int | None = None


class WireCompletionDetails(msgspec.Struct, frozen=True, gc=False):
    """Of the completion's tokens."""

    reasoning_tokens: int | None = None


class WireUsage(msgspec.Struct, frozen=True):
    """Counts; with running counts (vLLM's `continuous_usage_stats`) those of the chunk's choice."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: WirePromptDetails | None = None
    completion_tokens_details: WireCompletionDetails | None = None

    @property
    def cached_tokens(self) -> int:
        """Tokens of the prompt that came from a cache."""
        return (self.prompt_tokens_details.cached_tokens or 0) if self.prompt_tokens_details else 0

    @property
    def reasoning_tokens(self) -> int:
        """Tokens of the completion that were reasoning."""
        return (self.completion_tokens_details.reasoning_tokens or 0) if self.completion_tokens_details else 0


class WireError(msgspec.Struct, frozen=True, kw_only=True):
    """An error's body; `n_prompt_tokens` and `n_ctx` are llama.cpp's."""

    message: str = ""
    type: str | None = None
    param: str | None = None
    code: int | str | None = None
    n_prompt_tokens: int | None = None
    n_ctx: int | None = None


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """A chunk of a stream, or a whole answer."""

    choices: list[WireChoice] = []
    usage: WireUsage | None = None
    error: WireError | str | None = None


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """The forms that error bodies come in: OpenAI's, FastAPI's `detail`, a bare `message`."""

    error: WireError | str | None = None
    message: str | None = None
    detail: Any = None
    type: str | None = None
    param: str | None = None
    code: int | str | None = None


def read_error(body: bytes) -> WireError:
    """Read an error's body, whatever its form; what is not JSON becomes the message (its first 500 characters)."""
    try:
        found = msgspec.json.decode(body, type=ErrorBody)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return WireError(message=body.decode("utf-8", "replace").strip()[:500])
    if isinstance(found.error, WireError):
        return found.error
    message = found.error or found.message
    if message is None and found.detail is not None:
        message = found.detail if isinstance(found.detail, str) else msgspec.json.encode(found.detail).decode()
    return WireError(message=message or "", type=found.type, param=found.param, code=found.code)

"""The wire as one kind of server speaks it: what is sent so that the answer is what was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec

from enginehouse_kit.http.openai import Body, OpenAIDialect
from enginehouse_kit.http.openai_reader import AnswerReader
from enginehouse_kit.http.openai_schema import WireError, WireLogprob
from enginehouse_kit.http.run import Reader
from enginehouse_plugin.errors import (
    ContextTooLong,
    EngineFailure,
    EnginehouseError,
    EngineOverloaded,
    EngineUnavailable,
    UnsupportedFeature,
)
from enginehouse_plugin.events import Channel, TokenLogprob
from enginehouse_plugin.request import AssistantMessage, GenerationRequest, Message

from .options import UpstreamOptions
from .servers import ServerKind

_REFUSES_US = {401: "does not know our key", 402: "wants to be paid", 403: "refuses our key"}
_BUSY = frozenset({"queue_full", "queue_timeout", "rate_limit_exceeded"})
_IGNORED_HEADER: Final = b"x-enginehouse-ignored"
_TOO_LONG = ("maximum context length", "context length", "context size", "context window")


class UpstreamDialect(OpenAIDialect):
    """The wire of *kind*, below the path *prefix*, for a context of *context_tokens*."""

    def __init__(self, kind: ServerKind, prefix: str, options: UpstreamOptions, context_tokens: int, name: str) -> None:
        super().__init__()
        self.path = f"{prefix}/chat/completions"
        self.kind = self._kind = kind
        self._max_tokens_field = options.max_tokens_field
        self._context_tokens = context_tokens
        self._name = name

    def body_of(self, request: GenerationRequest, model: str) -> Body:
        """See `OpenAIDialect.body_of`."""
        body = super().body_of(request, model)
        kind = self._kind
        for name, theirs in kind.names.items():
            if name in body:
                body[theirs] = body.pop(name)
        for name, value in kind.neutral.items():
            body.setdefault(name, value)
        if kind.window is not None:
            body[kind.window] = self._context_tokens
        if kind.seeds is not None and request.seed is not None:
            body["seed"] = request.seed % kind.seeds
        if kind.needs_top and request.logprobs:
            body["top_logprobs"] = max(1, request.top_logprobs)
        if not kind.takes_refusals:
            body["messages"] = [_spoken(message) for message in body["messages"]]
        limit = body.pop("max_tokens", None)
        # One that is longer than all there is means "up to the context"; some servers would refuse it instead.
        if limit is not None and (limit < self._context_tokens or request.max_tokens_must_fit):
            body[self._max_tokens_field] = limit
        return body

    def reader(self, request: GenerationRequest) -> Reader:
        """See `OpenAIDialect.reader`."""
        if self._kind.needs_top and request.logprobs and not request.top_logprobs:
            return AnswerReader(_WithoutTop(self), request.n, request.stop)
        return super().reader(request)

    def ignored_of(self, headers: Sequence[tuple[bytes, bytes]]) -> tuple[str, ...]:
        """See `OpenAIDialect.ignored_of`: what another Enginehouse names, which is as much as one header holds."""
        if self._kind.name != "enginehouse":
            return ()
        told = next((value for name, value in headers if name.lower() == _IGNORED_HEADER), b"")
        return tuple(unquote_to_bytes(name.strip()).decode("utf-8", "replace") for name in told.split(b",") if name)

    def error_of(self, status: int, error: WireError) -> EnginehouseError:
        """See `OpenAIDialect.error_of`. What a server says about our key is not passed on: it may hold the key."""
        if status in _REFUSES_US:
            return EngineFailure(f"{self._name} {_REFUSES_US[status]} (status {status}).")
        if status == 404:
            return EngineFailure(f"{self._name} does not have the model, or no such route (status 404).")
        if status in {408, 409, 425, 429} or (status == 503 and error.code in _BUSY):
            return EngineOverloaded(f"{self._name} has too much to do (status {status}).")
        if status in {502, 503, 504}:
            return EngineUnavailable(f"{self._name} takes no requests now (status {status}).")
        if status == 400 and error.code == "unsupported_parameter" and error.param:
            told = f"{self._name} refused '{error.param}': {error.message}"
            return UnsupportedFeature(error.param.partition("[")[0], param=error.param, message=told)
        if status in {400, 413, 422} and any(words in error.message.lower() for words in _TOO_LONG):
            return ContextTooLong(prompt_tokens=error.n_prompt_tokens, limit_tokens=error.n_ctx)
        return super().error_of(status, error)


class _WithoutTop(OpenAIDialect):
    """*dialect* for a request that asked for no alternatives."""

    def __init__(self, dialect: UpstreamDialect) -> None:
        super().__init__()
        self.error_of = dialect.error_of  # type: ignore[method-assign]  # all but this is the wire's own

    def token_logprob(self, wire: WireLogprob, channel: Channel) -> TokenLogprob:
        """See `OpenAIDialect.token_logprob`."""
        return msgspec.structs.replace(super().token_logprob(wire, channel), top=())


def _spoken(message: Message) -> Message:
    """*message* with a refusal as what was said, for servers that want content and know no refusals."""
    if not isinstance(message, AssistantMessage) or message.tool_calls or (message.content and not message.refusal):
        return message
    return msgspec.structs.replace(message, content=message.content or message.refusal or "", refusal=None)

"""The wire of `/v1/completions`: raw text or token ids, for servers that take them as this router does."""

from __future__ import annotations

import msgspec

from enginehouse_kit.http.openai import Body, OpenAIDialect
from enginehouse_kit.http.openai_schema import (
    Chunk,
    WireChoice,
    WireDelta,
    WireError,
    WireLogprob,
    WireLogprobs,
    WireTopLogprob,
    WireUsage,
)
from enginehouse_plugin.errors import EngineProtocolError
from enginehouse_plugin.request import Chat, GenerationRequest, Text, Tokens

_NO_MESSAGES = Chat(())


class _Logprobs(msgspec.Struct, frozen=True):
    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]] | None = None


class _Choice(msgspec.Struct, frozen=True):
    text: str
    index: int = 0
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    logprobs: _Logprobs | None = None


class _Completion(msgspec.Struct, frozen=True):
    choices: list[_Choice] = []
    usage: WireUsage | None = None
    error: WireError | str | None = None


_decode = msgspec.json.Decoder(_Completion).decode


class RawDialect(OpenAIDialect):
    """*chat* for prompts that are no conversations."""

    def __init__(self, chat: OpenAIDialect) -> None:
        super().__init__()
        self.path = f"{chat.path.removesuffix('/chat/completions')}/completions"
        self.decode = as_chunk  # type: ignore[assignment]  # payloads are bytes or text
        self.error_of = chat.error_of  # type: ignore[method-assign]  # errors are the server's, whatever is asked
        self.ignored_of = chat.ignored_of  # type: ignore[method-assign]  # and so are its headers
        self._chat = chat

    def body_of(self, request: GenerationRequest, model: str) -> Body:
        """See `OpenAIDialect.body_of`. A limit always goes with it: without one it would be 16."""
        body = self._chat.body_of(msgspec.structs.replace(request, prompt=_NO_MESSAGES, max_tokens=None), model)
        del body["messages"]
        prompt = request.prompt
        if isinstance(prompt, Text):
            body["prompt"] = prompt.text
        elif isinstance(prompt, Tokens):
            body["prompt"] = prompt.token_ids
        if request.max_tokens is not None:
            body["max_tokens"] = request.max_tokens
        if request.suffix:
            body["suffix"] = request.suffix
        if body.pop("top_logprobs", None) is not None:
            body["logprobs"] = request.top_logprobs
        return body


def as_chunk(payload: bytes | str) -> Chunk:
    """The chunk of the chat wire that says what *payload* does.

    Raises:
        msgspec.MsgspecError: it cannot be read.
        EngineProtocolError: what belongs together is not of one length.
    """
    told = _decode(payload)
    return Chunk(
        choices=[
            WireChoice(
                index=one.index,
                delta=WireDelta(content=one.text),
                finish_reason=one.finish_reason,
                stop_reason=one.stop_reason,
                logprobs=None if one.logprobs is None else WireLogprobs(content=_each(one.logprobs)),
            )
            for one in told.choices
        ],
        usage=told.usage,
        error=told.error,
    )


def _each(told: _Logprobs) -> list[WireLogprob]:
    top = told.top_logprobs if told.top_logprobs is not None else [{} for _ in told.tokens]
    if not len(told.tokens) == len(told.token_logprobs) == len(top):
        raise EngineProtocolError("The engine's log probabilities are not as many as its tokens.")
    return [
        WireLogprob(token, logprob, top_logprobs=[WireTopLogprob(*other) for other in others.items()])
        for token, logprob, others in zip(told.tokens, told.token_logprobs, top, strict=True)
    ]

"""From a request to the OpenAI chat wire of an engine's server, and from its answer to events.

`OpenAIDialect` is the wire as it is documented; an engine's adapter subclasses it where its server differs.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from enginehouse_plugin.errors import (
    ContextTooLong,
    EngineFailure,
    EnginehouseError,
    EngineOverloaded,
    EngineUnavailable,
    InvalidRequest,
)
from enginehouse_plugin.events import AnyEvent, Channel, TokenLogprob, TopLogprob
from enginehouse_plugin.request import Chat, GenerationRequest, JsonObject, JsonSchema, NamedTool, OutputFormat, Tool
from enginehouse_plugin.run import Run, Sink, pulled

from .client import LocalClient
from .openai_reader import AnswerReader
from .openai_schema import Chunk, WireChoice, WireDelta, WireError, WireLogprob, WireUsage
from .run import Reader

Body = dict[str, Any]  # JSON, or structs that encode to it

# Fields of the same name on the wire, which are left out where the request leaves them as they are.
_FIELDS = (
    "n", "top_k", "min_p", "frequency_penalty", "presence_penalty", "repetition_penalty", "logit_bias",
    "seed", "stop", "reasoning_effort", "chat_template_kwargs", "min_tokens", "ignore_eos", "continue_final_message",
)  # fmt: skip
_values = attrgetter(*_FIELDS)
_DEFAULTS = _values(GenerationRequest(id="", prompt=Chat(())))
encode = msgspec.json.Encoder().encode
"""Makes the bytes of a body."""


class OpenAIDialect:
    """How one kind of server speaks the chat wire. Override the methods where it differs."""

    path = "/v1/chat/completions"
    chunk_type: type[Chunk] = Chunk

    def __init__(self) -> None:
        self.decode = msgspec.json.Decoder(self.chunk_type).decode
        cls, base = type(self), OpenAIDialect
        self.is_plain = cls.usage_of is base.usage_of and cls.reasoning_of is base.reasoning_of
        """Counts and reasoning stand where the wire has them: these two need not be asked for each token."""

    # ---- the request ----

    def body_of(self, request: GenerationRequest, model: str) -> Body:
        """Return the body of the request; sampling values are always written out, never left to the engine.

        Raises:
            InvalidRequest: the prompt is not a conversation.
        """
        prompt = request.prompt
        if type(prompt) is not Chat:
            raise InvalidRequest("This engine takes conversations only, not raw text or tokens.", param="prompt")
        body: Body = {
            "model": model,
            "messages": prompt.messages,
            "temperature": request.temperature,
            "top_p": request.top_p,
        }
        if request.stream:
            body["stream"] = True
            body["stream_options"] = {"include_usage": True}
        if request.max_tokens is not None:
            body["max_tokens"] = request.max_tokens
        values = _values(request)
        if values != _DEFAULTS:
            for name, value, default in zip(_FIELDS, values, _DEFAULTS, strict=True):
                if value != default:
                    body[name] = value
        if request.continue_final_message:
            body["add_generation_prompt"] = False
        if request.logprobs:
            body["logprobs"] = True
            body["top_logprobs"] = request.top_logprobs
        if request.output is not None:
            body["response_format"] = _format_body(request.output)
        if request.tools:
            choice = request.tool_choice
            body["tools"] = [_tool_body(tool) for tool in request.tools]
            body["parallel_tool_calls"] = request.parallel_tool_calls
            body["tool_choice"] = (
                {"type": "function", "function": {"name": choice.name}} if isinstance(choice, NamedTool) else choice
            )
        return body

    def start(self, client: LocalClient, request: GenerationRequest, model: str, sink: Sink) -> Run:
        """Send *request* and push its events into *sink*; cancelling drops the connection, which ends the work."""
        body = encode(self.body_of(request, model))
        return client.start(self.path, body, self.reader(request), sink, is_stream=request.stream)

    def generate(self, client: LocalClient, request: GenerationRequest, model: str) -> AsyncGenerator[AnyEvent, None]:
        """Send *request* and yield its events: `start`, pulled."""
        return pulled(lambda request, sink: self.start(client, request, model, sink), request)

    # ---- the answer ----

    def reader(self, request: GenerationRequest) -> Reader:
        """What finds the events in the answer to *request*."""
        return AnswerReader(self, request.n, request.stop)

    def usage_of(self, chunk: Chunk) -> WireUsage | None:
        """The counts of a chunk: running ones of its choice where it has a choice, else the total."""
        return chunk.usage

    def reasoning_of(self, delta: WireDelta) -> str | None:
        """The reasoning of a delta."""
        return delta.reasoning_content or delta.reasoning

    def matched_stop(self, choice: WireChoice) -> str | None:
        """The stop string that ended the choice, where the engine tells."""
        return choice.stop_reason if isinstance(choice.stop_reason, str) else None

    def ignored_of(self, headers: Sequence[tuple[bytes, bytes]]) -> tuple[str, ...]:  # noqa: ARG002
        """Places of the request that are left to the model (`Started.ignored`), where the answer's *headers* tell."""
        return ()

    def token_logprob(self, wire: WireLogprob, channel: Channel) -> TokenLogprob:
        """One token's logprob; an engine that gives no ids has -1."""
        top = tuple(TopLogprob(t.token, t.id, _token_bytes(t.token, t.bytes), t.logprob) for t in wire.top_logprobs)
        return TokenLogprob(wire.token, wire.id, _token_bytes(wire.token, wire.bytes), wire.logprob, top, channel)

    def error_of(self, status: int, error: WireError) -> EnginehouseError:
        """The contract's error for an engine's; *status* is 500 for an error in a stream that has no number."""
        message = error.message or f"The engine answered with status {status}."
        if error.code == "context_length_exceeded" or error.type == "exceed_context_size_error":
            return ContextTooLong(prompt_tokens=error.n_prompt_tokens, limit_tokens=error.n_ctx)
        if status in {400, 413, 422}:
            return InvalidRequest(message, param=error.param)
        if status == 429:
            return EngineOverloaded(message)
        if status == 503:
            return EngineUnavailable(message)
        return EngineFailure(message)


def _token_bytes(token: str, numbers: list[int] | None) -> bytes:
    return token.encode("utf-8", "surrogatepass") if numbers is None else bytes(numbers)


def _format_body(output: OutputFormat) -> Body:
    if isinstance(output, JsonObject):
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": _schema_body(output)}


def _schema_body(schema: JsonSchema) -> Body:
    body: Body = {"name": schema.name, "schema": schema.schema, "strict": schema.strict}
    if schema.description is not None:
        body["description"] = schema.description
    return body


def _tool_body(tool: Tool) -> Body:
    function: Body = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.parameters is not None:
        function["parameters"] = tool.parameters
    if tool.strict:
        function["strict"] = True
    return {"type": "function", "function": function}

"""From a request to the OpenAI chat wire of an engine's server, and from its answer to events.

`OpenAIDialect` is the wire as it is documented; an engine's adapter subclasses it where its server differs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import msgspec

from enginehouse_kit.text.forced_calls import new_call_id
from enginehouse_plugin.errors import (
    ContextTooLong,
    EngineFailure,
    EnginehouseError,
    EngineOverloaded,
    EngineProtocolError,
    EngineUnavailable,
    InvalidRequest,
)
from enginehouse_plugin.events import (
    AnyEvent,
    Channel,
    Finished,
    FinishReason,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    TopLogprob,
    UsageReport,
)
from enginehouse_plugin.request import Chat, GenerationRequest, JsonObject, JsonSchema, NamedTool, Tool

from .client import Exchange, LocalClient
from .openai_schema import Chunk, WireChoice, WireDelta, WireError, WireLogprob, WireToolCall, WireUsage, read_error
from .sse import SSEParser

Body = dict[str, Any]  # JSON, or structs that encode to it

_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
_END_TIMEOUT_S = 1.0  # between `[DONE]` and the end of the answer, which lets the connection be kept
_encoder = msgspec.json.Encoder()


class OpenAIDialect:
    """How one kind of server speaks the chat wire. Override the methods where it differs."""

    path = "/v1/chat/completions"
    chunk_type: type[Chunk] = Chunk

    def __init__(self) -> None:
        self.decode = msgspec.json.Decoder(self.chunk_type).decode

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
        if request.n != 1:
            body["n"] = request.n
        for name in ("max_tokens", "seed", "reasoning_effort", "chat_template_kwargs"):
            value = getattr(request, name)
            if value is not None:
                body[name] = value
        for name in ("top_k", "min_p", "frequency_penalty", "presence_penalty", "logit_bias", "stop"):
            value = getattr(request, name)
            if value:
                body[name] = value
        if request.repetition_penalty != 1.0:
            body["repetition_penalty"] = request.repetition_penalty
        if request.logprobs:
            body["logprobs"] = True
            body["top_logprobs"] = request.top_logprobs
        if isinstance(request.output, JsonObject):
            body["response_format"] = {"type": "json_object"}
        elif isinstance(request.output, JsonSchema):
            body["response_format"] = {"type": "json_schema", "json_schema": _schema_body(request.output)}
        if request.tools:
            choice = request.tool_choice
            body["tools"] = [_tool_body(tool) for tool in request.tools]
            body["parallel_tool_calls"] = request.parallel_tool_calls
            body["tool_choice"] = (
                {"type": "function", "function": {"name": choice.name}} if isinstance(choice, NamedTool) else choice
            )
        return body

    async def generate(
        self, client: LocalClient, request: GenerationRequest, model: str
    ) -> AsyncGenerator[AnyEvent, None]:
        """Send *request* and yield its events; closing it closes the connection, which ends the work."""
        exchange = await client.send("POST", self.path, _encoder.encode(self.body_of(request, model)))
        if not request.stream:
            for event in await self.whole(exchange, request):
                yield event
            return
        events = self.events(exchange, request)
        try:
            async for event in events:
                yield event
        finally:
            await events.aclose()

    # ---- the answer ----

    def usage_of(self, chunk: Chunk) -> WireUsage | None:
        """The counts of a chunk: running ones of its choice where it has a choice, else the total."""
        return chunk.usage

    def reasoning_of(self, delta: WireDelta) -> str | None:
        """The reasoning of a delta."""
        return delta.reasoning_content or delta.reasoning

    def matched_stop(self, choice: WireChoice) -> str | None:
        """The stop string that ended the choice, where the engine tells."""
        return choice.stop_reason if isinstance(choice.stop_reason, str) else None

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

    async def events(self, exchange: Exchange, request: GenerationRequest) -> AsyncGenerator[AnyEvent, None]:
        """Yield the events of an answer, a stream or one body as *request* says; it closes *exchange*.

        Raises:
            InvalidRequest, ContextTooLong, EngineError: what the engine answered, or that it stopped answering.
        """
        if not request.stream:
            for event in await self.whole(exchange, request):
                yield event
            return
        try:
            if exchange.status != 200:
                raise self.error_of(exchange.status, read_error(await exchange.body()))
            answer = _Answer(self, request.n)
            parser = SSEParser()
            is_done = False
            while not is_done and (data := await exchange.read()):
                for payload in parser.feed(data):
                    if payload == b"[DONE]":
                        is_done = True
                    elif not is_done:
                        for event in answer.take(payload):
                            yield event
            if not is_done and not parser.closed_cleanly:
                raise EngineProtocolError("The engine's stream ended in the middle of an event.")
            await _read_to_the_end(exchange)
            yield answer.usage_report()
        finally:
            exchange.close()

    async def whole(self, exchange: Exchange, request: GenerationRequest) -> list[AnyEvent]:
        """Return the events of an answer that is one body; raises and closes as `events` does."""
        try:
            body = await exchange.body()
            if exchange.status != 200:
                raise self.error_of(exchange.status, read_error(body))
            answer = _Answer(self, request.n)
            return [*answer.take(body), answer.usage_report()]
        finally:
            exchange.close()


class _Answer:
    """What has been read of one answer."""

    __slots__ = ("_announced", "_completion_tokens", "_dialect", "_is_finished", "_is_started", "_n", "_usage")

    def __init__(self, dialect: OpenAIDialect, n: int) -> None:
        self._dialect = dialect
        self._n = n
        self._is_started = False
        self._is_finished = [False] * n
        self._completion_tokens = [0] * n
        self._announced: set[tuple[int, int]] = set()  # calls whose id and name have been given
        self._usage: WireUsage | None = None

    def take(self, payload: bytes) -> list[AnyEvent]:
        """Return the events of one chunk, or of a whole answer."""
        try:
            chunk = self._dialect.decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
            raise EngineProtocolError(f"The engine's answer cannot be read: {problem}") from problem
        if chunk.error is not None:
            error = WireError(message=chunk.error) if isinstance(chunk.error, str) else chunk.error
            raise self._dialect.error_of(error.code if isinstance(error.code, int) else 500, error)
        usage = self._dialect.usage_of(chunk)
        events: list[AnyEvent] = []
        if usage is not None:
            self._usage = usage
        for choice in chunk.choices:
            self._take_choice(choice, usage, len(chunk.choices), events)
        if not self._is_started and (events or usage is not None):
            self._is_started = True
            started = Started() if usage is None else Started(usage.prompt_tokens, usage.cached_tokens)
            events.insert(0, started)
        return events

    def usage_report(self) -> UsageReport:
        """Return the total, once every choice has finished."""
        if not all(self._is_finished):
            raise EngineProtocolError("The engine's answer ended before its choices had finished.")
        usage = self._usage
        if usage is None:
            raise EngineProtocolError("The engine gave no usage with its answer.")
        return UsageReport(usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens, usage.reasoning_tokens)

    def _take_choice(self, choice: WireChoice, usage: WireUsage | None, together: int, events: list[AnyEvent]) -> None:
        at = choice.index
        if not 0 <= at < self._n:
            raise EngineProtocolError(f"The engine answered with choice {at}; {self._n} were asked for.")
        before = len(events)
        delta = choice.delta or choice.message
        if delta is not None:
            self._take_delta(at, choice, delta, usage, together, events)
        if self._is_finished[at]:
            if len(events) > before:
                raise EngineProtocolError(f"The engine went on with choice {at} after it had finished.")
            return
        if choice.finish_reason is not None:
            reason = _REASONS.get(choice.finish_reason)
            if reason is None:
                raise EngineFailure(f"The engine ended the answer with '{choice.finish_reason}'.")
            self._is_finished[at] = True
            events.append(Finished(at, reason, self._dialect.matched_stop(choice)))

    def _take_delta(
        self,
        at: int,
        choice: WireChoice,
        delta: WireDelta,
        usage: WireUsage | None,
        together: int,
        events: list[AnyEvent],
    ) -> None:
        text = delta.content
        reasoning = self._dialect.reasoning_of(delta)
        logprobs = None
        wire = choice.logprobs
        if wire is not None and (wire.content or wire.refusal):
            # A reasoning token's logprob stands with the content's; its chunk tells which it is.
            channel: Channel = "refusal" if wire.refusal else "reasoning" if reasoning and not text else "content"
            logprobs = tuple(self._dialect.token_logprob(one, channel) for one in wire.refusal or wire.content or ())
        if not (text or reasoning or delta.refusal or delta.tool_calls or logprobs):
            if usage is not None and together == 1:
                self._completion_tokens[at] = max(self._completion_tokens[at], usage.completion_tokens)
            return
        count = self._count(at, usage, together, len(logprobs) if logprobs else 1)
        # Logprobs go with the first that is there of text, reasoning, refusal.
        if reasoning:
            events.append(ReasoningDelta(at, reasoning, count, None if text else logprobs))
        if delta.refusal:
            events.append(RefusalDelta(at, delta.refusal, count, None if text or reasoning else logprobs))
        if text or (logprobs and not reasoning and not delta.refusal):
            events.append(TextDelta(at, text or "", count, logprobs))
        for index, call in enumerate(delta.tool_calls or ()):
            events.append(self._call(at, index, call, count))

    def _count(self, at: int, usage: WireUsage | None, together: int, tokens: int) -> int:
        if usage is None:  # no running counts: each chunk holds a token at least
            count = self._completion_tokens[at] + tokens
        elif together == 1:
            count = usage.completion_tokens
        else:  # a whole answer tells the sum alone: the parts are known from logprobs, or taken as equal
            count = tokens if tokens > 1 else usage.completion_tokens // together
        self._completion_tokens[at] = count
        return count

    def _call(self, at: int, index: int, call: WireToolCall, count: int) -> ToolCallDelta:
        call_index = index if call.index is None else call.index
        arguments = call.function.arguments or ""
        if (at, call_index) in self._announced:
            return ToolCallDelta(at, call_index, count, arguments_fragment=arguments)
        if not call.function.name:
            raise EngineProtocolError("The engine began a tool call without a name.")
        self._announced.add((at, call_index))
        return ToolCallDelta(at, call_index, count, call.id or new_call_id(), call.function.name, arguments)


def _token_bytes(token: str, numbers: list[int] | None) -> bytes:
    return token.encode("utf-8", "surrogatepass") if numbers is None else bytes(numbers)


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


async def _read_to_the_end(exchange: Exchange) -> None:
    if exchange.is_complete:
        return
    try:
        async with asyncio.timeout(_END_TIMEOUT_S):
            while await exchange.read():
                pass
    except TimeoutError:
        return  # `close` drops the connection

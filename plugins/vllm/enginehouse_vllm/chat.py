"""Requests over `/v1/chat/completions`: for models whose calls or reasoning only vLLM's own parsers can read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import msgspec

from enginehouse_kit.grammar import OutputGrammar, output_grammar, ready_grammar
from enginehouse_kit.http.client import LocalClient
from enginehouse_kit.http.openai import Body, OpenAIDialect, encode
from enginehouse_kit.http.openai_schema import WireError, WireLogprob
from enginehouse_kit.http.run import Reader
from enginehouse_kit.text.bounds import room_for
from enginehouse_kit.text.chat_messages import instructions, template_messages, tool_json
from enginehouse_kit.text.thinking import State
from enginehouse_plugin import (
    AnyEvent,
    Chat,
    Finished,
    GenerationRequest,
    NamedTool,
    ReasoningDelta,
    Run,
    Sink,
    Started,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    UsageReport,
)
from enginehouse_plugin.errors import ContextTooLong, EnginehouseError, InvalidRequest
from enginehouse_plugin.events import Channel

from .body import constrain, is_copied, sampling
from .model import Model
from .prompt import message_body, template_variables
from .reading import ChoiceReading, logprob_of, token_id_of

# Three forms: counted, counted up to the limit, and not tokenized at all; vLLM 0.25 counts in the completion as well.
_TOO_LONG = re.compile(
    r"maximum context length is (?P<limit>\d+) tokens.*?(?:requested (?P<completion>\d+) output tokens.*?)?"
    r"(?P<least>at least |upper bound for )?(?P<prompt>\d+) (?:input )?tokens",
    re.DOTALL,
)


def needs_parsers(request: GenerationRequest, model: Model) -> bool:
    """Whether *request* needs vLLM's parsers."""
    if not isinstance(request.prompt, Chat):
        return False
    parsers = model.parsers
    return parsers.is_harmony or parsers.reasoning is not None or _has_native_calls(request, model)


def _has_native_calls(request: GenerationRequest, model: Model) -> bool:
    """Whether vLLM reads the calls; those that are forced it need not, except in its harmony format.

    A model whose template shows no tools is told of the adapter's form, whatever form its past calls are shown in.
    """
    if not request.tools or request.tool_choice == "none":
        return False
    is_in_its_form = model.parsers.tool is not None and model.template.tools
    return model.parsers.is_harmony or (request.tool_choice == "auto" and is_in_its_form)


class ChatDialect(OpenAIDialect):
    """The chat wire as vLLM speaks it."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self._model = model

    def body_of(self, request: GenerationRequest, model: str) -> Body:
        """See `OpenAIDialect.body_of`; the answer is always streamed, so that it can be counted as it is made.

        Raises:
            InvalidRequest: the request combines what this engine cannot combine.
        """
        if not isinstance(request.prompt, Chat):
            raise InvalidRequest("This route takes conversations only.", param="prompt")
        facts, is_harmony = self._model.template, self._model.parsers.is_harmony
        grammar = self._grammar(request)
        told = None if is_harmony else instructions(request, facts)
        body = sampling(request)
        body["model"] = model
        messages = template_messages(request.prompt.messages, facts, told)
        body["messages"] = [message_body(message) for message in messages]
        if request.max_tokens is not None and request.max_tokens < self._model.context_tokens:
            body["max_tokens"] = request.max_tokens  # cut to the room left; one above the context is an error of vLLM's
        if request.logprobs:
            body.update(logprobs=True, top_logprobs=request.top_logprobs, return_tokens_as_token_ids=True)
        if facts.thinking and self._model.has_control_marks:
            body.update(skip_special_tokens=False, spaces_between_special_tokens=False)
        if request.min_tokens:
            body["min_tokens"] = min(request.min_tokens, body.get("max_tokens", request.min_tokens))
        variables = template_variables(request, self._model)
        if is_harmony and request.reasoning_effort is not None:
            body["reasoning_effort"] = variables.pop("reasoning_effort")
        if variables:
            body["chat_template_kwargs"] = variables
        if request.tools and request.tool_choice != "none" and facts.tools:
            choice = request.tool_choice
            body["tools"] = [tool_json(tool) for tool in request.tools]
            body["parallel_tool_calls"] = request.parallel_tool_calls
            if not _has_native_calls(request, self._model):
                body["tool_choice"] = "none"  # they are shown all the same; the grammar forces the call
            elif isinstance(choice, NamedTool):
                body["tool_choice"] = {"type": "function", "function": {"name": choice.name}}
            else:
                body["tool_choice"] = choice
        if grammar is not None:
            constrain(body, grammar, self._model.silent_ids)
        return body

    async def compile(self, request: GenerationRequest) -> None:
        """Compile the grammar that the body of *request* holds, which may take its time."""
        if not _has_native_calls(request, self._model):
            await ready_grammar(request, for_xgrammar=True)

    def _grammar(self, request: GenerationRequest) -> OutputGrammar | None:
        is_native = _has_native_calls(request, self._model)
        if is_native and request.output is not None:
            raise InvalidRequest(
                "'response_format' cannot be combined with tools that the model may call freely on this model.",
                param="response_format",
            )
        grammar = None if is_native else output_grammar(request)
        if grammar is not None and request.logprobs:
            raise InvalidRequest(
                "'logprobs' cannot be combined with a schema or a forced tool call on this model.", param="logprobs"
            )
        return grammar

    def start(
        self, client: LocalClient, request: GenerationRequest, model: str, sink: Sink, thinking: State = "never"
    ) -> Run:
        """See `OpenAIDialect.start`. Calls that vLLM reads may stand behind reasoning that it does not: *thinking*."""
        choices = 1 if is_copied(request) else request.n
        streamed = msgspec.structs.replace(request, stream=True, n=choices)
        body = encode(self.body_of(streamed, model))
        readings = [self._reading(request, choice, thinking) for choice in range(choices)]
        reader = _ChatReader(self.reader(streamed), request, self._model, readings, self._left_out(request))
        return client.start(self.path, body, reader, sink, is_stream=True)

    def _left_out(self, request: GenerationRequest) -> tuple[str, ...]:
        grammar = None if _has_native_calls(request, self._model) else output_grammar(request)
        return () if grammar is None else grammar.ignored

    def _reading(self, request: GenerationRequest, choice: int, thinking: State) -> ChoiceReading:
        if _has_native_calls(request, self._model):
            request = msgspec.structs.replace(request, tools=(), tool_choice="none")
        return ChoiceReading(request, choice, thinking)

    def token_logprob(self, wire: WireLogprob, channel: Channel) -> TokenLogprob:
        """See `OpenAIDialect.token_logprob`."""
        ranked = [(token_id_of(top.token), top.logprob) for top in wire.top_logprobs]
        found = logprob_of(token_id_of(wire.token), wire.logprob, ranked, self._model.vocabulary)
        return msgspec.structs.replace(found, channel=channel)

    def error_of(self, status: int, error: WireError) -> EnginehouseError:
        """See `OpenAIDialect.error_of`."""
        found = _TOO_LONG.search(error.message)
        if status == 400 and found is not None:
            return ContextTooLong(
                prompt_tokens=int(found["prompt"]),
                limit_tokens=int(found["limit"]),
                max_tokens=int(found["completion"] or 0) or None,
                is_lower_bound=found["least"] is not None,
            )
        return super().error_of(status, error)


class _ChatReader:
    """Reads an answer through *wire*, and its texts through *readings*: one for each choice."""

    def __init__(
        self,
        wire: Reader,
        request: GenerationRequest,
        model: Model,
        readings: Sequence[ChoiceReading],
        ignored: tuple[str, ...] = (),
    ) -> None:
        self.begin = wire.begin
        self.refusal = wire.refusal
        self._wire = wire
        self._request = request
        self._model = model
        self._readings = readings
        self._ignored = ignored
        self._counts = [0] * len(readings)

    def take(self, payload: bytes, events: list[AnyEvent]) -> None:
        """See `Reader.take`."""
        found: list[AnyEvent] = []
        self._wire.take(payload, found)
        for event in found:
            events += self._read(event)

    def finish(self, events: list[AnyEvent]) -> None:
        """See `Reader.finish`."""
        found: list[AnyEvent] = []
        self._wire.finish(found)
        for event in found:
            events += self._read(event)

    def _read(self, event: AnyEvent) -> Iterable[AnyEvent]:
        if isinstance(event, Started):
            if event.prompt_tokens is not None:
                room_for(self._request, event.prompt_tokens, self._model.context_tokens)
            return (msgspec.structs.replace(event, ignored=self._ignored) if self._ignored else event,)
        if isinstance(event, UsageReport):
            read = sum(reading.reader.reasoning_tokens for reading in self._readings)
            return (msgspec.structs.replace(event, reasoning_tokens=max(event.reasoning_tokens, read)),)
        reading = self._readings[event.choice]
        if reading.is_finished:
            return ()
        if isinstance(event, Finished):
            return reading.read("", self._counts[event.choice], (), event.reason)
        self._counts[event.choice] = event.completion_tokens
        if isinstance(event, TextDelta):
            return reading.read(*self._visible(event), None)
        return (event,) if isinstance(event, ReasoningDelta | ToolCallDelta) else ()

    def _visible(self, delta: TextDelta) -> tuple[str, int, Sequence[TokenLogprob]]:
        """The text of *delta*, its count and its logprobs, without control tokens that are no part of an answer.

        vLLM's parsers make it keep them; where stop strings are asked for, so does it the one that ends the answer.
        """
        model = self._model
        logprobs = [token for token in delta.logprobs or () if token.token_id not in model.hidden_ids]
        text = model.hidden.sub("", delta.text) if model.hidden is not None else delta.text
        return text, delta.completion_tokens, logprobs

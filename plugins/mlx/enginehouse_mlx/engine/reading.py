"""From the tokens of one choice to its events."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from enginehouse_kit.text.chat_messages import tool_json
from enginehouse_kit.text.choice_reader import ChoiceReader, ReadsCalls
from enginehouse_kit.text.forced_calls import new_call_id
from enginehouse_kit.text.marked_calls import call_reader
from enginehouse_kit.text.stops import StopMatcher
from enginehouse_kit.text.thinking import State
from enginehouse_plugin import (
    AnyEvent,
    FinishReason,
    GenerationRequest,
    TextDelta,
    TokenLogprob,
    Tool,
    ToolCallDelta,
    TopLogprob,
)

from .jobs import Sampled
from .logprobs import RawLogprobs
from .templates import CallFormat, ModelTemplate
from .vocabulary import Vocabulary


class TokenReader:
    """Turns the tokens of choice *choice* into events: whole characters, cut at stop strings."""

    def __init__(
        self, request: GenerationRequest, choice: int, vocabulary: Vocabulary, template: ModelTemplate, thinking: State
    ) -> None:
        self._request = request
        self._vocabulary = vocabulary
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._ends = vocabulary.ends_of(request)
        self._stops = StopMatcher(request.stop)
        calls: ReadsCalls | None = call_reader(request)
        if template.calls is not None and template.reads_own_calls(request):
            calls = FormatReader(template.calls, request.tools, request.parallel_tool_calls)
        self._events = ChoiceReader(choice, calls, thinking, template.marks)
        self._count = 0
        self.is_finished = False

    @property
    def completion_tokens(self) -> int:
        """Tokens that the engine has sampled for this choice."""
        return self._count

    @property
    def reasoning_tokens(self) -> int:
        """Of these, tokens of reasoning."""
        return self._events.reasoning_tokens

    def read(self, sampled: Sampled) -> Iterator[AnyEvent]:
        """Take the next token. None counts that was on its way when a stop string ended the choice."""
        if self.is_finished:
            return
        self._count += 1
        is_shown = not (self._vocabulary.is_hidden(sampled.token_id) or sampled.token_id in self._ends)
        data = self._vocabulary.piece(sampled.token_id) if is_shown else b""
        logprobs: tuple[TokenLogprob, ...] = ()
        if data and sampled.raw is not None:
            logprobs = (self._logprob(sampled.token_id, sampled.raw),)
        text = self._decoder.decode(data)  # at the end too: a character that was never completed is no text
        passed, matched = self._stops.push(text)
        if matched is None and sampled.end is not None:
            passed += self._stops.flush()
        yield from self._events.read(passed, self._count, logprobs)
        if matched is not None or sampled.end is not None:
            self.is_finished = True
            reason: FinishReason = "stop" if matched is not None else sampled.end or "stop"
            yield from self._events.finish(reason, self._count, matched)

    def _logprob(self, token_id: int, raw: RawLogprobs) -> TokenLogprob:
        piece = self._vocabulary.piece(token_id)
        top = tuple(
            TopLogprob(_shown(self._vocabulary.piece(other)), other, self._vocabulary.piece(other), logprob)
            for other, logprob in raw.top
        )
        return TokenLogprob(_shown(piece), token_id, piece, raw.logprob, top)


class FormatReader:
    """Reads calls in the form that a model's own template teaches; each is passed on when it is whole."""

    def __init__(self, form: CallFormat, tools: Sequence[Tool], is_parallel: bool) -> None:
        self._form = form
        self._tools = [tool_json(tool) for tool in tools]
        self._names = {tool.name for tool in tools}
        self._is_parallel = is_parallel
        self._held = ""
        self._is_inside = False
        self._calls = 0

    def read(self, text: str, choice: int, completion_tokens: int) -> Iterator[AnyEvent]:
        """Take more text."""
        text, self._held = self._held + text, ""
        while text:
            mark = self._form.closes if self._is_inside else self._form.opens
            at = text.find(mark) if mark else -1
            if at < 0:
                keep = len(text) if self._is_inside else _beginning(text, mark)
                self._held = text[len(text) - keep :]
                yield from self._plain(text[: len(text) - keep], choice, completion_tokens)
                return
            if self._is_inside:
                yield from self._call(text[:at], choice, completion_tokens)
            else:
                yield from self._plain(text[:at], choice, completion_tokens)
            self._is_inside = not self._is_inside
            text = text[at + len(mark) :]

    def finish(self, choice: int, completion_tokens: int) -> Iterator[AnyEvent]:
        """Give what was held back; a call that goes on to the end of the text is whole only now."""
        if self._is_inside and not self._form.closes:
            yield from self._call(self._held, choice, completion_tokens)
        elif not self._is_inside:
            yield from self._plain(self._held, choice, completion_tokens)
        self._held = ""

    def reason(self, reason: FinishReason) -> FinishReason:
        """The finish reason of the choice, where *reason* is why the text ended."""
        return "tool_calls" if self._calls and reason == "stop" else reason

    def _plain(self, text: str, choice: int, completion_tokens: int) -> Iterator[TextDelta]:
        if text and not (self._calls and not text.strip()):  # blanks between calls belong to neither
            yield TextDelta(choice, text, completion_tokens)

    def _call(self, text: str, choice: int, completion_tokens: int) -> Iterator[AnyEvent]:
        """Pass the calls in *text* on; what is none, or of no tool that was given, is text."""
        calls = _parsed(self._form, text, self._tools)
        if not calls or any(call.get("name") not in self._names for call in calls):
            yield TextDelta(choice, f"{self._form.opens}{text}{self._form.closes}", completion_tokens)
            return
        for call in calls:
            if self._calls and not self._is_parallel:
                return
            arguments = call.get("arguments", {})
            written = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
            yield ToolCallDelta(choice, self._calls, completion_tokens, new_call_id(), call["name"], written)
            self._calls += 1


def _parsed(form: CallFormat, text: str, tools: list[dict[str, Any]]) -> list[dict[str, Any]]:  # JSON
    try:
        found = form.parse(text, tools)
    except Exception:  # noqa: BLE001  # mlx_lm's parsers raise whatever comes up where a text is no call
        return []
    calls = found if isinstance(found, list) else [found]
    return calls if all(isinstance(call, dict) for call in calls) else []


def _shown(piece: bytes) -> str:
    return piece.decode(errors="replace")


def _beginning(text: str, mark: str) -> int:
    """Length of the end of *text* that may become *mark*."""
    longest = min(len(mark) - 1, len(text))
    return next((size for size in range(longest, 0, -1) if text.endswith(mark[:size])), 0)

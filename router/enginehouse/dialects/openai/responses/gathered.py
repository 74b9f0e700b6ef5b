"""The items of an answer while they are made: what has come of each, and the struct that it is in the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from enginehouse.dialects.ids import unique_hex
from enginehouse.dialects.openai.chat.answers import TokenEntry
from enginehouse.dialects.openai.chat.encode import token_entry
from enginehouse.dialects.openai.responses.answers import (
    AnswerReasoning,
    AnswerRefusal,
    AnswerSummary,
    AnswerText,
    IncompleteReason,
    OutputCall,
    OutputCustomCall,
    OutputItem,
    OutputMessage,
    OutputReasoning,
)
from enginehouse.dialects.openai.responses.items import ItemStatus
from enginehouse_plugin.errors import EngineProtocolError
from enginehouse_plugin.events import Delta, FinishReason, ReasoningDelta, RefusalDelta, TokenLogprob, ToolCallDelta

_INCOMPLETE: Mapping[str, IncompleteReason] = {"length": "max_output_tokens", "content_filter": "content_filter"}
_decode = msgspec.json.Decoder().decode


class Part:
    """A part of a message: text with its log probabilities, or a refusal."""

    __slots__ = ("is_refusal", "logprobs", "pieces")

    def __init__(self, *, is_refusal: bool) -> None:
        self.is_refusal = is_refusal
        self.pieces: list[str] = []
        self.logprobs: list[TokenEntry] = []

    @property
    def text(self) -> str:
        """All of it so far."""
        return "".join(self.pieces)

    def made(self) -> AnswerText | AnswerRefusal:
        """The part as it is now."""
        return (
            AnswerRefusal(refusal=self.text) if self.is_refusal else AnswerText(text=self.text, logprobs=self.logprobs)
        )


class Message:
    """A message; its last part is the one that more comes of."""

    __slots__ = ("id", "parts")

    def __init__(self) -> None:
        self.id = f"msg_{unique_hex()}"
        self.parts: list[Part] = []

    def made(self, status: ItemStatus) -> OutputItem:
        """The item as it is now."""
        return OutputMessage(id=self.id, status=status, content=[part.made() for part in self.parts])


class Reasoning:
    """Reasoning: as a summary where *is_summary*, and for the client to carry where *seal* is given."""

    __slots__ = ("_seal", "id", "is_summary", "pieces")

    def __init__(self, *, is_summary: bool, seal: Callable[[str], str] | None) -> None:
        self.id = f"rs_{unique_hex()}"
        self.is_summary = is_summary
        self._seal = seal
        self.pieces: list[str] = []

    @property
    def text(self) -> str:
        """All of it so far."""
        return "".join(self.pieces)

    def made(self, status: ItemStatus) -> OutputItem:
        """The item as it is now."""
        text = self.text
        item = OutputReasoning(id=self.id, status=status, summary=[])
        if text and self.is_summary:
            item.summary = [AnswerSummary(text=text)]
        elif not self.is_summary:
            item.content = [AnswerReasoning(text=text)] if text else []
        if self._seal is not None and status != "in_progress":
            item.encrypted_content = self._seal(text)
        return item


class Called:
    """A call of a function, or (*is_custom*) of a custom tool."""

    __slots__ = ("at", "call_id", "id", "is_custom", "name", "pieces")

    def __init__(self, at: int, call_id: str, name: str, *, is_custom: bool) -> None:
        self.at = at  # which of the engine's calls it is
        self.id = f"{'ctc' if is_custom else 'fc'}_{unique_hex()}"
        self.call_id = call_id
        self.name = name
        self.is_custom = is_custom
        self.pieces: list[str] = []

    @property
    def text(self) -> str:
        """The arguments, or the input of a custom tool, so far."""
        text = "".join(self.pieces)
        return _input(text) if self.is_custom else text

    def made(self, status: ItemStatus) -> OutputItem:
        """The item as it is now."""
        if self.is_custom:
            given = "" if status == "in_progress" else self.text
            return OutputCustomCall(id=self.id, status=status, call_id=self.call_id, name=self.name, input=given)
        return OutputCall(id=self.id, status=status, call_id=self.call_id, name=self.name, arguments=self.text)


Gathered = Message | Reasoning | Called


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """How the items of an answer are to look: `customs` are the names of custom tools; see `Reasoning` for the rest."""

    logprobs: bool = False
    is_summary: bool = False
    seal: Callable[[str], str] | None = None
    customs: frozenset[str] = frozenset()


class Answer:
    """What has come of an answer in *form*: its `items` in their order, and why it ended."""

    __slots__ = ("finish_reason", "form", "items")

    def __init__(self, form: Form) -> None:
        self.form = form
        self.items: list[Gathered] = []
        self.finish_reason: FinishReason | None = None

    def take(self, event: Delta) -> Gathered:
        """Add what *event* brings to the item that it belongs to: the last, or a new one.

        Raises:
            EngineProtocolError: it belongs to no item that there can be.
        """
        if event.choice or self.finish_reason is not None:
            raise EngineProtocolError(
                f"The engine sent more for choice {event.choice}, which does not exist or has ended."
            )
        if type(event) is ToolCallDelta:
            call = self._call(event)
            call.pieces.append(event.arguments_fragment)
            return call
        last = self.items[-1] if self.items else None
        if type(event) is ReasoningDelta:
            if type(last) is not Reasoning:
                last = Reasoning(is_summary=self.form.is_summary, seal=self.form.seal)
                self.items.append(last)
            last.pieces.append(event.text)
            return last
        if type(last) is not Message:
            last = Message()
            self.items.append(last)
        is_refusal = type(event) is RefusalDelta
        if not last.parts or last.parts[-1].is_refusal != is_refusal:
            last.parts.append(Part(is_refusal=is_refusal))
        last.parts[-1].pieces.append(event.text)
        if self.form.logprobs and event.logprobs:
            last.parts[-1].logprobs += entries(event.logprobs)
        return last

    def finish(self, reason: FinishReason) -> None:
        """Take the end of the answer: one that has nothing else has an empty text."""
        if self.finish_reason is not None:
            raise EngineProtocolError("The engine finished an answer that had ended.")
        self.finish_reason = reason
        if not self.items:
            message = Message()
            message.parts.append(Part(is_refusal=False))
            self.items.append(message)

    @property
    def incomplete(self) -> IncompleteReason | None:
        """Why the answer is not whole; None: it is."""
        return _INCOMPLETE.get(self.finish_reason or "")

    @property
    def last_status(self) -> ItemStatus:
        """The status of the last item; those before it are completed."""
        return "completed" if self.finish_reason is not None and self.incomplete is None else "incomplete"

    def made(self) -> list[OutputItem]:
        """All items as they are now."""
        if not self.items:
            return []
        *before, last = self.items
        return [*(item.made("completed") for item in before), last.made(self.last_status)]

    def _call(self, event: ToolCallDelta) -> Called:
        for item in reversed(self.items):
            if type(item) is Called and item.at == event.call_index:
                return item
        if event.name is None:
            raise EngineProtocolError("The engine sent arguments of a call that it had not begun.")
        is_custom = event.name in self.form.customs
        call = Called(event.call_index, event.id or f"call_{unique_hex()}", event.name, is_custom=is_custom)
        self.items.append(call)
        return call


def entries(logprobs: Sequence[TokenLogprob]) -> list[TokenEntry]:
    """The log probabilities of the answer's own tokens, as the API has them."""
    return [token_entry(entry) for entry in logprobs if entry.channel != "reasoning"]


def _input(arguments: str) -> str:
    """The input in *arguments* of the function that a custom tool is to the model; where it is not there, all."""
    try:
        given: Any = _decode(arguments)
    except msgspec.DecodeError:
        return arguments
    text = given.get("input") if isinstance(given, dict) else None
    return text if isinstance(text, str) else arguments

"""Tool calls in the text of a choice: the whole text where they are forced, otherwise each behind its mark."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from enginehouse_plugin.events import AnyEvent, FinishReason, TextDelta
from enginehouse_plugin.request import GenerationRequest, NamedTool

from .chat_messages import CALL_OPENS
from .forced_calls import ForcedCallParser


class CallReader:
    """Reads the text of a choice whose tool calls the grammar shapes.

    *is_forced*: the whole text is calls. Otherwise each stands behind its mark. *is_named*: the request
    names the tool, and the finish reason is `stop`, as the API has it.
    """

    def __init__(self, *, is_forced: bool, is_named: bool = False) -> None:
        self._parser: ForcedCallParser | None = ForcedCallParser() if is_forced else None
        self._is_named = is_named
        self._calls = 0  # of parsers before this one
        self._held = ""

    def read(self, text: str, choice: int, completion_tokens: int) -> Iterator[AnyEvent]:
        """Take more text."""
        text, self._held = self._held + text, ""
        while text:
            if self._parser is None:
                before, mark, text = text.partition(CALL_OPENS)
                self._held = "" if mark else beginning_of_mark(before)
                plain = before.removesuffix(self._held)
                if plain and not self._calls:  # between two calls there are only marks
                    yield TextDelta(choice, plain, completion_tokens)
                if mark:
                    self._parser = ForcedCallParser()
                continue
            # A call ends with a brace, a list of calls with a bracket: what follows that is not for the parser.
            part, text = _up_to_end(text)
            for piece in self._parser.push(part):
                yield msgspec.structs.replace(piece, call_index=piece.call_index + self._calls).delta(
                    choice, completion_tokens
                )
            if self._parser.is_complete:
                self._calls += self._parser.calls
                self._parser = None

    def finish(self, choice: int, completion_tokens: int) -> Iterator[TextDelta]:
        """Give what was held back."""
        if self._held and not self._calls:
            yield TextDelta(choice, self._held, completion_tokens)

    def reason(self, reason: FinishReason) -> FinishReason:
        """The finish reason of the choice, where *reason* is why the text ended."""
        has_calls = self._calls and self._parser is None  # a stop string may end the text inside a call
        return "tool_calls" if has_calls and reason == "stop" and not self._is_named else reason


def call_reader(request: GenerationRequest) -> CallReader | None:
    """A reader for one choice of *request*, if it may call tools."""
    if not request.tools or request.tool_choice == "none":
        return None
    return CallReader(is_forced=request.tool_choice != "auto", is_named=isinstance(request.tool_choice, NamedTool))


def _up_to_end(text: str) -> tuple[str, str]:
    """Split *text* behind the first character that may end a call or a list of calls."""
    ends = [at for at in (text.find("}"), text.find("]")) if at >= 0]
    cut = min(ends) + 1 if ends else len(text)
    return text[:cut], text[cut:]


def beginning_of_mark(text: str) -> str:
    """The end of *text* that may become the mark of a call."""
    longest = min(len(CALL_OPENS) - 1, len(text))
    return next((text[-size:] for size in range(longest, 0, -1) if CALL_OPENS.startswith(text[-size:])), "")

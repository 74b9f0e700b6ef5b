"""Tool calls forced by a JSON Schema: the model writes `{"name": …, "arguments": {…}}`, the adapter makes calls of it.

For engines that can constrain output to a schema but do not force calls by themselves.
"""

from __future__ import annotations

import secrets
from typing import Literal

import msgspec

from enginehouse_plugin.errors import EngineProtocolError
from enginehouse_plugin.events import ToolCallDelta

MAX_CALLS = 16
"""Calls in one answer; a bound, or a weak model writes calls for ever."""


def new_call_id() -> str:
    """Make an id for a call."""
    return "call_" + secrets.token_hex(12)


class CallPiece(msgspec.Struct, frozen=True):
    """More of a call. `id` and `name` come once, on the call's first piece."""

    call_index: int
    id: str | None
    name: str | None
    arguments_fragment: str

    def delta(self, choice: int, completion_tokens: int) -> ToolCallDelta:
        """Return it as an event of *choice*."""
        return ToolCallDelta(choice, self.call_index, completion_tokens, self.id, self.name, self.arguments_fragment)


_Expected = Literal[
    "start",  # { or [
    "call",  # {
    "key or end",  # in a call
    "key",  # the rest of one
    "colon",
    "value",
    "comma",  # or }
    "next",  # , or ] behind a call of an array
    "end",
]


class ForcedCallParser:
    """Reads the constrained output piece by piece; arguments come out as they come in.

    Should `arguments` stand before `name`, they are kept until the name is known.
    """

    def __init__(self) -> None:
        self._is_array = False
        self._expects: _Expected = "start"
        self.calls = 0
        """Calls that have been passed on, the last perhaps in part."""
        self._call_index = -1
        self._name: str | None = None
        self._arguments = ""  # not yet passed on
        self._key = ""
        self._value: list[str] = []  # of a key, or of a value that is not passed on
        self._depth = 0  # of containers in the value
        self._in_string = False
        self._is_escaped = False
        self._has_value = False
        self._is_announced = False

    @property
    def is_complete(self) -> bool:
        """The output has come to its end; what follows can only be white space."""
        return self._expects == "end"

    def push(self, text: str) -> list[CallPiece]:
        """Take more of the output.

        Raises:
            EngineProtocolError: it is no call, or array of calls, in this form.
        """
        pieces: list[CallPiece] = []
        at = 0
        while at < len(text):
            if self._expects == "value":
                at = self._read_value(text, at)
            elif self._expects == "key":
                at = self._read_key(text, at)
            else:
                self._read_mark(text[at], pieces)
                at += 1
        self._pass_on(pieces)
        return pieces

    def _read_mark(self, mark: str, pieces: list[CallPiece]) -> None:
        if mark in " \t\r\n":
            return
        expected = self._expects
        if mark == "[" and expected == "start":
            self._is_array = True
            self._expects = "call"
        elif mark == "{" and expected in {"start", "call"}:
            self._begin_call()
        elif mark == '"' and expected == "key or end":
            self._expects = "key"
        elif mark == ":" and expected == "colon":
            self._expects = "value"
        elif mark == "," and expected == "comma":
            self._expects = "key or end"
        elif mark == "}" and expected in {"comma", "key or end"}:
            self._end_call(pieces)
        elif mark == "," and expected == "next":
            self._expects = "call"
        elif mark == "]" and expected in {"next", "call"}:
            self._expects = "end"
        else:
            raise EngineProtocolError(f"The engine wrote {mark!r} where a forced tool call cannot have it.")

    def _begin_call(self) -> None:
        self._call_index += 1
        self._name = None
        self._arguments = ""
        self._is_announced = False
        self._expects = "key or end"

    def _end_call(self, pieces: list[CallPiece]) -> None:
        if self._name is None:
            raise EngineProtocolError("The engine wrote a forced tool call without a name.")
        self._pass_on(pieces)
        self._expects = "next" if self._is_array else "end"

    def _read_key(self, text: str, at: int) -> int:
        while at < len(text):
            char = text[at]
            at += 1
            if char == '"' and not self._is_escaped:
                self._key = _decoded('"' + "".join(self._value) + '"')
                self._value = []
                self._expects = "colon"
                return at
            self._is_escaped = char == "\\" and not self._is_escaped
            self._value.append(char)
        return at

    def _read_value(self, text: str, at: int) -> int:
        """Take the value in up to its end or the text's."""
        start = at
        while at < len(text):
            char = text[at]
            if self._in_string:
                if self._is_escaped:
                    self._is_escaped = False
                elif char == "\\":
                    self._is_escaped = True
                elif char == '"':
                    self._in_string = False
                    if self._depth == 0:
                        return self._take(text[start : at + 1], at + 1)
            elif char == '"':
                self._in_string = self._has_value = True
            elif char in "{[":
                self._depth += 1
                self._has_value = True
            elif char in "}]" and self._depth:
                self._depth -= 1
                if self._depth == 0:
                    return self._take(text[start : at + 1], at + 1)
            elif self._depth == 0:
                if self._has_value and char in ",}] \t\r\n":  # behind a number, true, false, null
                    return self._take(text[start:at], at)
                if char in " \t\r\n":
                    start = at + 1
                elif char in ",}]:":
                    raise EngineProtocolError(f"The engine wrote {char!r} where a forced tool call needs a value.")
                else:
                    self._has_value = True
            at += 1
        self._keep(text[start:])
        return at

    def _take(self, last: str, at: int) -> int:
        self._keep(last)
        self._has_value = False
        self._expects = "comma"
        if self._key == "name":
            self._name = _decoded("".join(self._value))
        self._value = []
        return at

    def _keep(self, part: str) -> None:
        if self._key == "arguments":
            self._arguments += part
        else:
            self._value.append(part)

    def _pass_on(self, pieces: list[CallPiece]) -> None:
        if self._name is None or (self._is_announced and not self._arguments):
            return
        if self._is_announced:
            pieces.append(CallPiece(self._call_index, None, None, self._arguments))
        else:
            pieces.append(CallPiece(self._call_index, new_call_id(), self._name, self._arguments))
            self._is_announced = True
            self.calls += 1
        self._arguments = ""


def _decoded(text: str) -> str:
    try:
        return msgspec.json.decode(text, type=str)
    except msgspec.MsgspecError as error:
        raise EngineProtocolError(
            f"The engine wrote a forced tool call with a name that is no string: {error}"
        ) from error

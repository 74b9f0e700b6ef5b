"""What a target said, in one form for every target: the JSON answer, the stream and the contract's events.

`Delta` is a piece of an answer as it arrived, `Answer` the whole; `raw` keeps the JSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from .wire.faults import BrokenAnswer

Json = Any  # whatever a target sends

_BUSY = frozenset({
    "engine_overloaded", "overloaded", "overloaded_error", "queue_full", "queue_timeout", "rate_limit_error",
    "rate_limit_exceeded", "server_overloaded", "service_unavailable", "too_many_requests", "429", "503", "529",
})  # fmt: skip
BUSY_STATUSES = (429, 503)


class Alternative(msgspec.Struct, frozen=True):
    """One of the likeliest tokens at a position."""

    token: str
    logprob: float
    token_bytes: bytes | None


class TokenEntry(msgspec.Struct, frozen=True):
    """One entry of the log probabilities."""

    token: str
    logprob: float
    token_bytes: bytes | None
    top: tuple[Alternative, ...] = ()

    @property
    def likeliest(self) -> list[Alternative]:
        """`top` in its right order, whatever it came in: only LP5 judges that."""
        return sorted(self.top, key=lambda other: -other.logprob)


class CallPiece(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a tool call; id, type and name where this piece has them."""

    index: int
    id: str | None = None
    type: str | None = None
    name: str | None = None
    arguments: str = ""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A tool call; `arguments` as sent, a string of JSON if the target is right."""

    id: str | None
    type: str | None
    name: str | None
    arguments: str

    def decoded(self) -> Json:
        """The arguments as JSON; raises ValueError where they are none."""
        return msgspec.json.decode(self.arguments)


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Counts in tokens; None where the target does not tell."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class Delta(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a stream, as seen `at_s` seconds after the request began. Text "" and finish None: nothing new."""

    choice: int = 0
    role: str | None = None
    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    calls: tuple[CallPiece, ...] = ()
    finish: str | None = None
    logprobs: tuple[TokenEntry, ...] | None = None
    usage: Usage | None = None
    at_s: float = 0.0


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """One choice. `text` is "" where content is null or absent; `raw` tells the difference."""

    index: int
    text: str
    finish: str | None
    role: str | None = None
    reasoning: str = ""
    refusal: str = ""
    calls: tuple[Call, ...] = ()
    logprobs: tuple[TokenEntry, ...] | None = None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer. `deltas` is empty for a JSON answer, `raw` None where there was no JSON."""

    choices: tuple[Choice, ...]
    usage: Usage | None = None
    model: str | None = None
    raw: Json = None
    deltas: tuple[Delta, ...] = ()

    @property
    def first(self) -> Choice:
        """The first choice; raises BrokenAnswer where there is none."""
        if not self.choices:
            raise BrokenAnswer("the answer has no choices")
        return self.choices[0]

    @property
    def text(self) -> str:
        """Content of the first choice."""
        return self.first.text

    @property
    def finish(self) -> str | None:
        """finish_reason of the first choice."""
        return self.first.finish

    @property
    def calls(self) -> tuple[Call, ...]:
        """Tool calls of the first choice."""
        return self.first.calls

    @property
    def logprobs(self) -> tuple[TokenEntry, ...]:
        """Entries of the first choice; raises BrokenAnswer where there are none."""
        if self.first.logprobs is None:
            raise BrokenAnswer("log probabilities were asked for, and the answer has none")
        return self.first.logprobs

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt; raises BrokenAnswer where the answer does not tell."""
        return _told(self.usage.prompt_tokens if self.usage else None, "usage.prompt_tokens")

    @property
    def completion_tokens(self) -> int:
        """Tokens of the completion; raises BrokenAnswer where the answer does not tell."""
        return _told(self.usage.completion_tokens if self.usage else None, "usage.completion_tokens")


def _told(count: int | None, name: str) -> int:
    if count is None:
        raise BrokenAnswer(f"the answer has no {name}")
    return count


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """A request that was not served: the status (None from a backend), and the error's fields as sent."""

    status: int | None
    message: str
    type: Json = None
    param: Json = None
    code: Json = None
    raw: Json = None

    def names(self, *fields: str) -> bool:
        """Whether the refusal names one of *fields*: in `param` (as it is, or as its root), or in the message.

        It must stand in the message as a word: one that merely holds the letter does not name `n`.
        """
        param = self.param if isinstance(self.param, str) else ""
        for field in fields:
            if param == field or param.startswith((f"{field}.", f"{field}[")) or param.endswith(f".{field}"):
                return True
            if re.search(rf"(?<!\w){re.escape(field)}(?!\w)", self.message):
                return True
        return False

    @property
    def is_of_context(self) -> bool:
        """Whether the request was too long for the context, by what the refusal says."""
        return self.code == "context_length_exceeded" or "context" in self.message.lower()

    @property
    def is_busy(self) -> bool:
        """Whether the target had no time for the request: by its status, or by what an error event says it is."""
        return self.status in BUSY_STATUSES or any(f"{told}" in _BUSY for told in (self.code, self.type))

    def __str__(self) -> str:
        status = "" if self.status is None else f"{self.status} "
        return f"{status}param={self.param!r} code={self.code!r}: {self.message[:300]}"


def assemble(deltas: Iterable[Delta], *, model: str | None = None) -> Answer:
    """The answer that *deltas* make up; raises BrokenAnswer where pieces do not fit together."""
    kept = tuple(deltas)
    parts: dict[int, list[Delta]] = {}
    usage = None
    for delta in kept:
        if delta.usage is not None:
            usage = delta.usage
        else:
            parts.setdefault(delta.choice, []).append(delta)
    choices = tuple(_assemble_choice(index, parts[index]) for index in sorted(parts))
    return Answer(choices=choices, usage=usage, model=model, deltas=kept)


def _assemble_choice(index: int, deltas: list[Delta]) -> Choice:
    entries = [delta.logprobs for delta in deltas if delta.logprobs is not None]
    return Choice(
        index=index,
        role=next((delta.role for delta in deltas if delta.role), None),
        text="".join(delta.text for delta in deltas),
        reasoning="".join(delta.reasoning for delta in deltas),
        refusal="".join(delta.refusal for delta in deltas),
        calls=assemble_calls(piece for delta in deltas for piece in delta.calls),
        finish=next((delta.finish for delta in deltas if delta.finish), None),
        logprobs=tuple(entry for group in entries for entry in group) if entries else None,
    )


def assemble_calls(pieces: Iterable[CallPiece]) -> tuple[Call, ...]:
    """The calls that *pieces* make up, in the order of their indices."""
    by_index: dict[int, list[CallPiece]] = {}
    for piece in pieces:
        by_index.setdefault(piece.index, []).append(piece)
    return tuple(
        Call(
            id=next((piece.id for piece in group if piece.id), None),
            type=next((piece.type for piece in group if piece.type), None),
            name=next((piece.name for piece in group if piece.name), None),
            arguments="".join(piece.arguments for piece in group),
        )
        for _, group in sorted(by_index.items())
    )

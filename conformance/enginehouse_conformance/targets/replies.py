"""What comes back over HTTP, as data: a whole answer, a whole stream, an error."""

from __future__ import annotations

import msgspec

from enginehouse_conformance.answer import Answer, Json, Refusal, assemble
from enginehouse_conformance.reading import read_chunk
from enginehouse_conformance.wire.client import Head
from enginehouse_conformance.wire.faults import BrokenAnswer
from enginehouse_conformance.wire.sse import SSEEvent

from .base import Refused, ServerFailure


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """A whole HTTP answer."""

    head: Head
    body: bytes

    @property
    def status(self) -> int:
        """The status code."""
        return self.head.status

    def json(self) -> dict[str, Json]:
        """The body as a JSON object, which every body of the API is; raises BrokenAnswer where it is none."""
        decoded = decode_json(self.body, "the body of the answer")
        if not isinstance(decoded, dict):
            raise BrokenAnswer(f"the body of the answer is JSON, but no object: {self.body[:120]!r}")
        return decoded


class StreamTrace(msgspec.Struct, kw_only=True):
    """A whole stream as it was on the wire. `chunks` are the decoded data lines, [DONE] left out."""

    head: Head
    events: list[SSEEvent] = []
    chunks: list[Json] = []
    times_s: list[float] = []
    problems: list[str] = []
    comments: list[str] = []
    bad_data: list[str] = []
    fault: str | None = None

    @property
    def done_count(self) -> int:
        """How many [DONE] there were."""
        return sum(event.data == "[DONE]" for event in self.events)

    def require_shape(self) -> None:
        """Raise BrokenAnswer where a chunk has not the types that every check relies on."""
        for chunk in self.chunks:
            problem = _misshapen(chunk)
            if problem:
                raise BrokenAnswer(f"in a chunk of the stream, {problem}: {str(chunk)[:200]}")

    def entries(self) -> list[Json]:
        """All entries of `choices` of all chunks, in order."""
        return [entry for chunk in self.chunks if isinstance(chunk, dict) for entry in chunk.get("choices") or []]

    def answer(self) -> Answer:
        """The assembled answer."""
        deltas = [delta for chunk, at in zip(self.chunks, self.times_s, strict=True) for delta in read_chunk(chunk, at)]
        return assemble(deltas)

    def keep(self, events: list[SSEEvent], at_s: float) -> None:
        """Add *events*, which came *at_s* seconds after the request."""
        for event in events:
            self.events.append(event)
            if event.data == "[DONE]":
                continue
            try:
                chunk = msgspec.json.decode(event.data)
            except msgspec.DecodeError:
                self.bad_data.append(event.data)
            else:
                self.chunks.append(chunk)
                self.times_s.append(at_s)


def _misshapen(chunk: Json) -> str | None:
    if not isinstance(chunk, dict):
        return "there is no object"
    if not isinstance(chunk.get("usage"), dict | None):
        return "`usage` is no object"
    choices = chunk.get("choices", [])
    if not isinstance(choices, list):
        return "`choices` is no array"
    for entry in choices:
        if not isinstance(entry, dict) or not isinstance(entry.get("delta"), dict | None):
            return "a choice, or its delta, is no object"
        if not isinstance(entry.get("index", 0), int) or not isinstance(entry.get("finish_reason"), str | None):
            return "`index` is no integer or `finish_reason` no string"
    return None


def decode_json(data: bytes, what: str) -> Json:
    """*data* as JSON; raises BrokenAnswer naming *what* where it is none."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise BrokenAnswer(f"{what} is no JSON ({exc}): {data[:120]!r}") from exc


def error_of(status: int, body: bytes) -> Exception:
    """What to raise for an answer with *status*, which is not 200."""
    try:
        raw = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raw = None
    refusal = read_refusal(status, raw, body.decode("utf-8", "replace"))
    if 400 <= status < 500:
        return Refused(refusal)
    if status >= 500:
        return ServerFailure(refusal)
    return BrokenAnswer(f"the target answered {status}, neither 200 nor an error")


def read_refusal(status: int | None, raw: Json, text: str) -> Refusal:
    """The error in *raw*, in whatever form; *text* stands in where there is no message.

    `{"error": "text"}` and fields that lie flat are read too: only ERR1 judges the form.
    """
    error = raw.get("error", raw) if isinstance(raw, dict) else None
    fields = error if isinstance(error, dict) else {"message": error}
    message = fields["message"] if isinstance(fields.get("message"), str) else None
    return Refusal(
        status=status,
        message=message if message is not None else text[:500],
        type=fields.get("type"),
        param=fields.get("param"),
        code=fields.get("code"),
        raw=raw,
    )

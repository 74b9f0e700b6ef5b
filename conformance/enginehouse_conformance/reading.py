"""Reads answers and chunks of streams from their JSON.

Reading is lenient where a rule of its own judges the detail, and raises `BrokenAnswer` where nothing can be read.
"""

from __future__ import annotations

from .answer import (
    Alternative,
    Answer,
    Call,
    CallPiece,
    Choice,
    Delta,
    Json,
    TokenEntry,
    Usage,
)
from .wire.faults import BrokenAnswer


def read_answer(raw: Json) -> Answer:
    """The chat completion *raw*; raises BrokenAnswer where it cannot be one."""
    choices = [_read_choice(entry, at) for at, entry in enumerate(_array(_object(raw, "the answer"), "choices"))]
    model = raw.get("model")
    return Answer(
        choices=tuple(choices),
        usage=read_usage(raw.get("usage")),
        model=model if isinstance(model, str) else None,
        raw=raw,
    )


def _read_choice(entry: Json, at: int) -> Choice:
    entry = _object(entry, f"choices[{at}]")
    message = _object(entry.get("message"), f"choices[{at}].message")
    return Choice(
        index=_index(entry.get("index"), at),
        role=_text_or_none(message, "role"),
        text=_text(message, "content"),
        reasoning=_text(message, "reasoning_content") or _text(message, "reasoning"),
        refusal=_text(message, "refusal"),
        calls=tuple(
            Call(id=piece.id, type=piece.type, name=piece.name, arguments=piece.arguments)
            for piece in _read_calls(message)
        ),
        finish=_text_or_none(entry, "finish_reason"),
        logprobs=read_logprobs(entry.get("logprobs")),
    )


def read_chunk(raw: Json, at_s: float) -> list[Delta]:
    """The deltas of one chunk of a stream; usage comes as a delta of its own."""
    raw = _object(raw, "a chunk")
    deltas = [_read_delta(entry, at, at_s) for at, entry in enumerate(_array(raw, "choices"))]
    usage = read_usage(raw.get("usage"))
    if usage is not None:
        deltas.append(Delta(usage=usage, at_s=at_s))
    return deltas


def _read_delta(entry: Json, at: int, at_s: float) -> Delta:
    entry = _object(entry, f"choices[{at}] of a chunk")
    delta = _object(entry.get("delta") or {}, f"choices[{at}].delta of a chunk")
    return Delta(
        choice=_index(entry.get("index"), at),
        role=_text_or_none(delta, "role"),
        text=_text(delta, "content"),
        reasoning=_text(delta, "reasoning_content") or _text(delta, "reasoning"),
        refusal=_text(delta, "refusal"),
        calls=_read_calls(delta),
        finish=_text_or_none(entry, "finish_reason"),
        logprobs=read_logprobs(entry.get("logprobs")),
        at_s=at_s,
    )


def _read_calls(holder: dict[str, Json]) -> tuple[CallPiece, ...]:
    calls = holder.get("tool_calls")
    if calls is None:
        return ()
    pieces = []
    for at, entry in enumerate(_array(holder, "tool_calls")):
        entry = _object(entry, f"tool_calls[{at}]")
        function = _object(entry.get("function") or {}, f"tool_calls[{at}].function")
        pieces.append(
            CallPiece(
                index=_index(entry.get("index"), at),
                id=_text_or_none(entry, "id"),
                type=_text_or_none(entry, "type"),
                name=_text_or_none(function, "name"),
                arguments=_text(function, "arguments"),
            )
        )
    return tuple(pieces)


def read_usage(raw: Json) -> Usage | None:
    """Usage, or None where it is null or absent."""
    if raw is None:
        return None
    raw = _object(raw, "usage")
    return Usage(
        prompt_tokens=_count(raw, "prompt_tokens"),
        completion_tokens=_count(raw, "completion_tokens"),
        total_tokens=_count(raw, "total_tokens"),
        cached_tokens=_count(raw.get("prompt_tokens_details") or {}, "cached_tokens"),
        reasoning_tokens=_count(raw.get("completion_tokens_details") or {}, "reasoning_tokens"),
    )


def read_logprobs(raw: Json) -> tuple[TokenEntry, ...] | None:
    """The entries of `logprobs.content`, or None where there are none."""
    if raw is None or _object(raw, "logprobs").get("content") is None:
        return None
    return tuple(_read_entry(entry) for entry in _array(raw, "content"))


def _read_entry(raw: Json) -> TokenEntry:
    raw = _object(raw, "an entry of logprobs")
    top = raw.get("top_logprobs")
    alternatives = tuple(
        Alternative(_text(alternative, "token"), _number(alternative, "logprob"), _bytes(alternative))
        for alternative in (_array(raw, "top_logprobs") if top is not None else [])
    )
    return TokenEntry(_text(raw, "token"), _number(raw, "logprob"), _bytes(raw), alternatives)


def _object(raw: Json, where: str) -> dict[str, Json]:
    if not isinstance(raw, dict):
        raise BrokenAnswer(f"{where} is no object but {str(raw)[:80]!r}")
    return raw


def _array(raw: dict[str, Json], name: str) -> list[Json]:
    value = raw.get(name)
    if not isinstance(value, list):
        raise BrokenAnswer(f"`{name}` is no array but {str(value)[:80]!r}")
    return value


def _index(value: Json, default: int) -> int:
    return value if isinstance(value, int) else default


def _text(raw: Json, name: str) -> str:
    value = _text_or_none(raw, name)
    return "" if value is None else value


def _text_or_none(raw: Json, name: str) -> str | None:
    value = raw.get(name) if isinstance(raw, dict) else None
    if value is not None and not isinstance(value, str):
        raise BrokenAnswer(f"`{name}` is no string but {str(value)[:80]!r}")
    return value


def _number(raw: Json, name: str) -> float:
    value = raw.get(name) if isinstance(raw, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BrokenAnswer(f"`{name}` is no number but {value!r}")
    return float(value)


def _count(raw: Json, name: str) -> int | None:
    value = raw.get(name) if isinstance(raw, dict) else None
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise BrokenAnswer(f"usage `{name}` is no integer but {value!r}")
    return value


def _bytes(raw: Json) -> bytes | None:
    value = raw.get("bytes") if isinstance(raw, dict) else None
    if value is None:
        return None
    try:
        return bytes(_array(raw, "bytes"))
    except (TypeError, ValueError) as exc:
        raise BrokenAnswer(f"`bytes` of a token is no array of bytes but {str(value)[:80]!r}") from exc

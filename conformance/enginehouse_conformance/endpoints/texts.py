"""How the endpoints are asked that generate nothing: vectors of texts, scores of documents, tokens."""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Sequence

from enginehouse_conformance.answer import Answer, Json
from enginehouse_conformance.reading import read_usage
from enginehouse_conformance.targets.base import Body
from enginehouse_conformance.wire.faults import BrokenAnswer

from .base import Endpoint, Event, entry


class _Whole(Endpoint):
    """An endpoint whose answers are never streamed, and say nothing."""

    def answer(self, raw: dict[str, Json]) -> Answer:
        """What *raw* has counted."""
        return Answer(choices=(), usage=read_usage(raw.get("usage")), model=raw.get("model"), raw=raw)

    def streamed(self, events: Sequence[Event]) -> Answer:  # noqa: ARG002  # there are none
        """None is."""
        raise BrokenAnswer(f"{self.path} has no streams")


class Embeddings(_Whole):
    """`POST /embeddings`."""

    name = "embeddings"
    path = "/embeddings"
    has_task = True

    def body(self, prompt: str, max_tokens: int) -> Body:  # noqa: ARG002  # none are made
        """A request for the vector of *prompt*."""
        return {"input": prompt}


class Rerank(_Whole):
    """`POST /rerank`."""

    name = "rerank"
    path = "/rerank"
    has_task = True

    def body(self, prompt: str, max_tokens: int) -> Body:  # noqa: ARG002  # none are made
        """A request for scores of two documents."""
        return {"query": prompt, "documents": [prompt, "Paris is in France."]}


class Tokenize(_Whole):
    """`POST /tokenize`, and `/detokenize` beside it."""

    name = "tokenize"
    path = "/tokenize"
    is_at_host = True

    def body(self, prompt: str, max_tokens: int) -> Body:  # noqa: ARG002  # none are made
        """A request for the tokens of *prompt*."""
        return {"prompt": prompt}


def vectors_of(raw: dict[str, Json]) -> list[tuple[float, ...]]:
    """The vectors in an answer, of numbers or in base64; raises BrokenAnswer."""
    return [_vector(entry_of) for entry_of in entry(raw, "data", list)]


def _vector(one: Json) -> tuple[float, ...]:
    given = one.get("embedding") if isinstance(one, dict) else None
    if isinstance(given, str):
        try:
            data = base64.b64decode(given, validate=True)
            return struct.unpack(f"<{len(data) // 4}f", data)
        except (ValueError, struct.error) as exc:
            raise BrokenAnswer(f"`embedding` is no base64 of numbers of 32 bits: {exc}") from exc
    if not isinstance(given, list) or not all(type(number) in (int, float) for number in given) or not given:
        raise BrokenAnswer(f"`embedding` is no array of numbers but {str(given)[:80]!r}")
    return tuple(map(float, given))


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """How alike two vectors are; of other lengths: not at all."""
    if len(one) != len(other):
        return -1.0
    sizes = math.hypot(*one) * math.hypot(*other)
    return math.fsum(a * b for a, b in zip(one, other, strict=True)) / sizes if sizes else 0.0

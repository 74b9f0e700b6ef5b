"""Requests that were in flight when an engine ended: a request that ends engines is refused by itself.

The first time, all that were in flight are under suspicion, and run as others do. The second time, one that was there
alone is refused from then on. Of several none can be told, also where all others are new: what ends engines may differ
by a letter each time, beside a request that means no harm. Each suspect runs alone in its instance from then on, so
that a third end tells. A suspect that completes is cleared.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Literal, Protocol

import msgspec

from enginehouse_plugin import Chat, GenerationRequest, Text
from enginehouse_plugin.errors import EnginehouseError

from .errors import RequestPoisonous

REFUSED_S = 600.0
"""How long a suspicion lasts, and a refusal."""
_MAX = 1024

Suspicion = Literal["seen", "alone", "refused"]
_encode = msgspec.json.Encoder().encode


class Holder(Protocol):
    """Who has a request in flight on an instance."""

    @property
    def request(self) -> GenerationRequest:
        """What is in flight."""
        ...

    def lost(self, error: EnginehouseError) -> None:
        """Hear that the instance is gone and will say nothing more."""


class Suspects:
    """The suspects among the requests of one model."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: OrderedDict[bytes, tuple[Suspicion, float]] = OrderedDict()  # with the time that it lasts until
        self._shapes: set[tuple[object, ...]] = set()  # of all that were ever known: a digest takes its time

    def ended(self, requests: Iterable[GenerationRequest]) -> None:
        """Suspect *requests*, which were in flight when their engine ended unasked."""
        found: set[bytes | None] = set()
        for request in requests:
            self._shapes.add(_shape(request))
            found.add(digest_of(request))
        until = self._clock() + REFUSED_S
        for digest in found:
            if digest is None:
                continue
            known = self._suspicion(digest) is not None
            now: Suspicion = "seen" if not known else "refused" if len(found) == 1 else "alone"
            self._known[digest] = now, until
            self._known.move_to_end(digest)
        while len(self._known) > _MAX:
            self._known.popitem(last=False)

    def must_run_alone(self, request: GenerationRequest) -> bool:
        """Whether *request* may run only where nothing else does.

        Raises:
            RequestPoisonous: it is not to run at all.
        """
        if not self._known or _shape(request) not in self._shapes:
            return False
        digest = digest_of(request)
        suspicion = None if digest is None else self._suspicion(digest)
        if digest is not None and suspicion == "refused":
            raise RequestPoisonous(retry_after_s=self._known[digest][1] - self._clock())
        return suspicion == "alone"

    def clear(self, request: GenerationRequest) -> None:
        """Suspect *request* no more: it has completed."""
        if self._known and _shape(request) in self._shapes and (digest := digest_of(request)) is not None:
            self._known.pop(digest, None)

    def _suspicion(self, digest: bytes) -> Suspicion | None:
        suspicion, until = self._known.get(digest, (None, 0.0))
        if suspicion is not None and until <= self._clock():
            del self._known[digest]
            return None
        return suspicion


def digest_of(request: GenerationRequest) -> bytes | None:
    """A digest of what *request* asks for, whoever asks; None where its values cannot be written down."""
    try:
        # The order of keys that are no texts cannot be asked for.
        bias = sorted(request.logit_bias.items())
        plain = _encode([msgspec.structs.replace(request, id="", stream=False, logit_bias={}), bias])
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None
    return hashlib.blake2b(plain, digest_size=16).digest()


def _shape(request: GenerationRequest) -> tuple[object, ...]:
    prompt = request.prompt
    if isinstance(prompt, Chat):
        size = len(prompt.messages)
    else:
        size = len(prompt.text) if isinstance(prompt, Text) else len(prompt.token_ids)
    return size, request.n, request.max_tokens, request.temperature, request.seed, len(request.tools)

"""Responses that are kept for a while, in memory: bounded in time, number and bytes, and each for one key alone."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import Lock

import msgspec

from enginehouse.config import ResponsesConfig
from enginehouse.dialects.openai.responses.answers import ResponseStatus
from enginehouse.dialects.openai.responses.sealed import Seal
from enginehouse_plugin.errors import RequestError

_OVERHEAD_BYTES = 1024
"""What an entry takes beside its text."""


class ResponseNotFound(RequestError):
    """No response *response_id* is kept for this key."""

    code = "response_not_found"

    def __init__(self, response_id: str, *, param: str | None = "response_id") -> None:
        super().__init__(
            f"No response '{response_id[:100]}' is kept here. Responses are kept for a while only, and for the key "
            "that made them.",
            param=param,
        )


class Kept(msgspec.Struct, kw_only=True):
    """One response. `body` is its JSON, and `items` hold the conversation up to its end, each a JSON array.

    Those of earlier responses come first, then what was given this time; the last `said` of them, one or none, is what
    the model has said.
    """

    id: str
    key: str
    body: bytes
    items: tuple[bytes, ...]
    status: ResponseStatus
    said: int = 0
    is_background: bool = False
    expires_at: float = 0.0
    cancel: Callable[[], None] | None = None
    """Ends what still runs."""


class KeptResponses:
    """Keeps responses as *config* says; the oldest goes first. May be used from several threads.

    `seal` signs what clients carry in place of what is kept.
    """

    def __init__(self, config: ResponsesConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._clock = clock
        self.seal = Seal(config.signing_key)
        self._lock = Lock()
        self._entries: OrderedDict[str, Kept] = OrderedDict()
        self._shared: dict[int, int] = {}  # by the identity of bytes: how many entries hold them
        self._due_at = 0.0  # until then none is removed for its age; 0: looked at with the next
        self.held_bytes = 0

    @property
    def is_on(self) -> bool:
        """Whether anything is kept."""
        return self._config.store == "memory"

    def __len__(self) -> int:
        return len(self._entries)

    def follow(self, config: ResponsesConfig) -> None:
        """Keep as *config* says from now on."""
        with self._lock:
            self._config = config
            self._trim(self._clock())

    def put(self, kept: Kept) -> None:
        """Keep *kept*, in place of what has its id."""
        with self._lock:
            if kept.id in self._entries:
                self._remove(kept.id)
            now, config = self._clock(), self._config
            kept.expires_at = now + config.ttl_s
            self._entries[kept.id] = kept
            size, shared = len(kept.body) + _OVERHEAD_BYTES, self._shared
            for each in kept.items:
                held = shared.get(id(each), 0)
                shared[id(each)] = held + 1
                if not held:
                    size += len(each)
            self.held_bytes += size
            is_full = len(self._entries) > config.max_responses or self.held_bytes > config.max_bytes
            if is_full or now >= self._due_at:
                self._trim(now)

    def get(self, response_id: str, key: str, *, param: str | None = "response_id") -> Kept:
        """Return the response *response_id* of *key*.

        Raises:
            ResponseNotFound: none is kept for this key; the error is about *param*.
        """
        with self._lock:
            kept = self._entries.get(response_id)
            if kept is None or kept.key != key or kept.expires_at <= self._clock():
                raise ResponseNotFound(response_id, param=param)
            return kept

    def delete(self, response_id: str, key: str) -> None:
        """Keep the response *response_id* of *key* no more; what runs of it ends.

        Raises:
            ResponseNotFound: none is kept for this key.
        """
        kept = self.get(response_id, key)
        if kept.cancel is not None:
            kept.cancel()
        with self._lock:
            self._remove(response_id)

    def of(self, key: str) -> Sequence[Kept]:
        """Return what is kept for *key*, the newest first."""
        with self._lock:
            now = self._clock()
            return [each for each in reversed(self._entries.values()) if each.key == key and each.expires_at > now]

    def _trim(self, now: float) -> None:
        config = self._config
        most = config.max_responses if config.store == "memory" else 0
        while self._entries:
            first = next(iter(self._entries.values()))
            if first.expires_at > now and len(self._entries) <= most and self.held_bytes <= config.max_bytes:
                self._due_at = first.expires_at
                return
            self._remove(first.id)
        self._due_at = 0.0

    def _remove(self, response_id: str) -> None:
        kept = self._entries.pop(response_id, None)
        if kept is None:
            return
        self.held_bytes -= len(kept.body) + _OVERHEAD_BYTES
        for each in kept.items:
            left = self._shared[id(each)] - 1
            if left:
                self._shared[id(each)] = left
            else:
                del self._shared[id(each)]
                self.held_bytes -= len(each)

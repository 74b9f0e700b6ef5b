"""What a check works with: requests, verdicts, nonces. One `Context` per rule and run."""

from __future__ import annotations

import asyncio
import random
import string
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, NoReturn

import msgspec

from .answer import BUSY_STATUSES, Answer, Refusal, assemble
from .declared import Declared
from .rules import ProfileData, Rule
from .targets import (
    Body,
    Busy,
    LiveStream,
    NoRoom,
    Recording,
    Refused,
    Reply,
    StreamTrace,
    Target,
    TargetHooks,
    UrlTarget,
)
from .targets.backend import BackendTarget
from .targets.base import ServerFailure
from .targets.replies import error_of, read_refusal
from .verdicts import Failed, NotInScope, Recorded, Unclear
from .wire.client import Header, Request

_WORDS = [
    "amber",
    "birch",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "heron",
    "ivory",
    "jasper",
    "kelp",
    "linen",
    "maple",
    "north",
    "ochre",
    "pearl",
]


class Shared:
    """What the checks of one run share: results that many of them need and that cost requests to get.

    `refused` are the fields that the target refused although it was not said to lack what they ask for, `served` those
    that it served with values that ask for something.
    """

    def __init__(self) -> None:
        self.refused: set[str] = set()
        self.served: set[str] = set()
        self._kept: dict[object, Any] = {}
        self._locks: dict[object, asyncio.Lock] = {}

    async def once(self, key: object, make: Callable[[], Awaitable[Any]]) -> Any:
        """The value for *key*, made by the first who asks; an exception is kept and raised again like a value."""
        async with self._locks.setdefault(key, asyncio.Lock()):
            if key not in self._kept:
                try:
                    self._kept[key] = (await make(), None)
                except (Failed, Unclear, NotInScope, Refused, ServerFailure) as exc:
                    self._kept[key] = (None, exc)
        value, fault = self._kept[key]
        if fault is not None:
            raise fault
        return value


class Context:
    """The hands of a check."""

    def __init__(
        self,
        rule: Rule,
        target: Target,
        profile: ProfileData,
        *,
        seed: int,
        shared: Shared,
        time_scale: float = 1.0,
    ) -> None:
        self.rule = rule
        self.target = target
        self.profile = profile
        self.shared = shared
        self.recording = Recording()
        self.random = random.Random(f"{seed}/{rule.id}")  # noqa: S311  # nonces that a report can reproduce
        self.notes: list[str] = []
        self._time_scale = time_scale

    # ---- facts ----

    @property
    def declared(self) -> Declared:
        """What the target declares."""
        return self.target.declared

    @property
    def hooks(self) -> TargetHooks:
        """The target's optional abilities."""
        return self.target.hooks

    @property
    def url(self) -> UrlTarget:
        """The target as a URL, for checks of scope `wire`."""
        if not isinstance(self.target, UrlTarget):
            raise NotInScope("there is no HTTP here")
        return self.target

    @property
    def backend(self) -> BackendTarget:
        """The target as a backend, for checks of scope `contract`."""
        if not isinstance(self.target, BackendTarget):
            raise NotInScope("there is no backend here")
        return self.target

    @property
    def hottest(self) -> float:
        """The highest temperature that the target allows."""
        return self.declared.max_temperature or self.profile.max_temperature

    def has(self, *features: str) -> bool:
        """Whether all *features* are declared."""
        return all(self.declared.has(feature) for feature in features)

    def speaks(self, *parameters: str) -> bool:
        """Whether the profile has all *parameters*."""
        return all(parameter in self.profile.parameters for parameter in parameters)

    # ---- making requests ----

    def nonce(self, length: int = 10) -> str:
        """A fresh word of lower-case letters: no model says it by luck."""
        return "".join(self.random.choices(string.ascii_lowercase, k=length))

    def topic(self) -> str:
        """A harmless prompt; another one for each rule, so that prefix caches of other checks play no part."""
        return f"Write a story about {self.random.choice(_WORDS)} and {self.random.choice(_WORDS)}."

    def body(self, prompt: str | None = None, /, **fields: Any) -> Body:
        """A request: *prompt* (else a topic) as the user's message, 16 tokens, and *fields* over that."""
        return {
            "messages": [{"role": "user", "content": self.topic() if prompt is None else prompt}],
            "max_tokens": 16,
            **fields,
        }

    async def ask(self, body: Body) -> Answer:
        """The answer, not streamed. A refusal ends the check: it fails."""
        with self._room_for(body):
            return self._whole(body, await self.target.ask(body, self.recording))

    async def stream(self, body: Body) -> Answer:
        """The answer, streamed and assembled; `.deltas` keeps the pieces."""
        with self._room_for(body):
            stream = await self.target.open_stream(body, self.recording)
            try:
                return self._whole(body, assemble([delta async for delta in stream]))
            finally:
                await stream.drop()

    @asynccontextmanager
    async def live(self, body: Body) -> AsyncIterator[LiveStream]:
        """A stream to be read, or left, by hand; it is dropped at the end of the block."""
        with self._room_for(body):
            stream = await self.target.open_stream(body, self.recording)
        try:
            yield stream
        finally:
            await stream.drop()

    @contextmanager
    def _room_for(self, body: Body) -> Generator[None]:
        """Make `NoRoom` of a refusal for the context's sake, where *body* may really be more than that holds.

        No token is less than a byte, and a template adds to a message about what JSON does.
        """
        try:
            yield
        except Refused as exc:
            limit = self.declared.context_tokens
            longest = len(msgspec.json.encode(body)) + max(body.get("max_tokens") or 0, 1)
            if limit is not None and longest > limit and exc.refusal.is_of_context:
                raise NoRoom(exc.refusal) from exc
            raise

    def _whole(self, body: Body, answer: Answer) -> Answer:
        """*answer*, unless the context ended it before the length that *body* asks for: `NoRoom`."""
        self.shared.served |= {name for name, value in body.items() if value and value != 1}
        limit, wanted, usage = self.declared.context_tokens, body.get("max_tokens") or 0, answer.usage
        if limit is not None and usage is not None and len(answer.choices) == 1 and answer.finish == "length":
            count = usage.completion_tokens or 0
            if count < wanted and (usage.prompt_tokens or 0) + count >= limit:
                raise NoRoom(Refusal(status=None, message=f"the context ended the answer after {count} tokens"))
        return answer

    async def attempt(self, body: Body) -> Answer | Refusal:
        """The answer, or the refusal as a value."""
        try:
            return await self.ask(body)
        except Refused as exc:
            return exc.refusal

    # ---- requests of scope `wire` ----

    async def post(self, body: Body) -> Reply:
        """The HTTP answer to a chat request, as it is: no retry, no judgement."""
        return await self.url.exchange(self.url.chat_request(body), self.recording)

    async def post_raw(self, data: bytes, *, chunks: tuple[bytes, ...] | None = None) -> Reply:
        """The HTTP answer to *data* (or *chunks*, in chunked coding) posted to the chat route."""
        request = Request(
            method="POST",
            url=self.url.url("/chat/completions"),
            headers=self.url.headers(),
            body=data,
            chunks=chunks,
        )
        return await self.url.exchange(request, self.recording)

    async def get(self, path: str, *, headers: tuple[Header, ...] | None = None) -> Reply:
        """The HTTP answer to a GET of *path* under the base URL."""
        url = self.url
        request = Request(method="GET", url=url.url(path), headers=url.headers() if headers is None else headers)
        return await url.exchange(request, self.recording)

    async def trace(self, body: Body, *, pause_s: float = 0.0) -> StreamTrace:
        """A whole stream as it was on the wire, for checks of its form. Fails where it is not answered 200."""
        trace = await self.url.trace(self.url.chat_request({**body, "stream": True}), self.recording, pause_s=pause_s)
        self._require_time(trace)
        if 400 <= trace.head.status < 500 and trace.head.status not in BUSY_STATUSES:
            with self._room_for(body):
                raise error_of(trace.head.status, self.recording.exchanges[-1].response_body.encode())
        self.require(trace.head.status == 200, "a stream answered 200", f"status {trace.head.status}")
        trace.require_shape()
        return trace

    def _require_time(self, trace: StreamTrace) -> None:
        """Raise `Busy` where *trace* ends for want of a slot, unless the rule has faults made to see how they look."""
        errors = [chunk for chunk in trace.chunks if isinstance(chunk, dict) and chunk.get("error") is not None]
        told = [read_refusal(None, chunk, "") for chunk in errors]
        busy = next((refusal for refusal in told if refusal.is_busy), None)
        if busy is not None and "fault" not in self.rule.hooks:
            raise Busy(f"{busy}")

    async def refused(self, body: Body, *fields: str, status: tuple[int, ...] = (400,)) -> Reply:
        """Require that *body* is refused with one of *status*, naming one of *fields* (none: any message will do)."""
        reply = await self.url.exchange(self.url.chat_request(body), self.recording, is_refusal=True)
        allowed = " or ".join(str(code) for code in status)
        what = f"{allowed} naming {' or '.join(fields)}" if fields else allowed
        self.require(reply.status in status, what, f"status {reply.status}: {reply.body[:300]!r}")
        refusal = read_refusal(reply.status, reply.json(), "")
        self.require(not fields or refusal.names(*fields), what, str(refusal))
        return reply

    def time_for(self, seconds: float) -> float:
        """What the run gives the target where the rule gives it *seconds*; a note tells where that is not the same."""
        if self._time_scale != 1.0:
            note = f"the target has {self._time_scale:g} times as long as the rule says"
            self.notes += [] if note in self.notes else [note]
        return seconds * self._time_scale

    # ---- verdicts ----

    def require(self, holds: object, expected: str, seen: object = None) -> None:
        """End with `fail` unless *holds*; *expected* is a phrase, *seen* a phrase or a value."""
        if not holds:
            self.fail(expected, seen)

    def equal(self, seen: object, expected: object, what: str) -> None:
        """End with `fail` unless *seen* equals *expected*; *what* names the thing compared."""
        if seen != expected:
            self.fail(f"{what} {expected!r}", repr(seen))

    def fail(self, expected: str, seen: object = None) -> NoReturn:
        """End with `fail`."""
        raise Failed(expected, seen)

    def unclear(self, reason: str) -> NoReturn:
        """End with `inconclusive`: the target's behaviour allows no verdict."""
        raise Unclear(reason)

    def not_in_scope(self, reason: str) -> NoReturn:
        """End with `not_applicable`."""
        raise NotInScope(reason)

    def record(self, message: str) -> NoReturn:
        """End with `info`."""
        raise Recorded(message)

    def note(self, message: str) -> None:
        """Keep something worth knowing beside the verdict."""
        self.notes.append(message)

"""One other host: asked now and then how it is; there, asleep, or gone.

    unknown ─▶ up ⇄ down       asleep stands for down where it can be woken
                │
                └▶ incompatible, self: nothing is sent there

A host that asks us something is asked back at once, so that one that comes again is not waited for.

Where its address is from mDNS, it has to prove each time that it is the one before it is sent anything: see `proof`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from enginehouse.config import HostConfig
from enginehouse.fleet.claims import Foreseen
from enginehouse.fleet.errors import HostNotWoken
from enginehouse.telemetry import get_logger
from enginehouse_plugin.errors import LoadFailed

from .proof import Question, Unproven
from .told import HOST_HEADER, SNAPSHOT_PATH, HostTold, Incompatible, read_told
from .wake import send_magic_packet

if TYPE_CHECKING:
    import httpx2

HostState = Literal["unknown", "up", "down", "asleep", "incompatible", "self", "found"]
"""`found` are those that no file names."""

POLL_S: Final = 1.0
"""A host that is there is asked so often."""
ANSWER_S: Final = 2.0
"""It has this long to answer."""
MOST_S: Final = 30.0
"""One that is not is asked less and less often, but as often as this."""
_AGAIN_S: Final = 0.25
_FAILURES: Final = 3
"""So many questions in a row without an answer, and it is gone."""
_PACKET_EVERY_S: Final = 3.0
_MOST_NAMED: Final = 5
_MOST_BYTES: Final = 4 << 20

log = get_logger()


class HostSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A host as it is known here: what it has `told` last, `age_s` ago.

    `is_waking`: packets are sent to it, and it is waited for. `unwoken` says why the last try came to nothing.
    """

    name: str
    url: str
    state: HostState
    reason: str
    can_wake: bool
    told: HostTold | None
    age_s: float | None
    is_waking: bool = False
    unwoken: str = ""


class Host:
    """The host called *name*; *on_change* hears of its state and of what it tells, when that is news, and *on_told* of
    all that it tells, with which *on_change* may have been called before.

    `me` is how this host is called in the file, once that is known. *router* is this router's own name. `url` is where
    it is; empty: that is to be found (`found_at`), and to be proven.
    """

    def __init__(
        self,
        name: str,
        config: HostConfig,
        router: str,
        on_change: Callable[[Host], None],
        on_told: Callable[[Host], None],
    ) -> None:
        self.name = name
        self.config = config
        self.url = config.url if config.announced_as is None else ""
        self.state: HostState = "unknown"
        self.reason = "not asked yet"
        self.told: HostTold | None = None
        self.me = ""
        self._router = router
        self._on_change = on_change
        self._on_told = on_told
        self.heard_at = 0.0
        self._failures = 0
        self._tries = 0
        self._nudge = asyncio.Event()
        self._has_changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._found: tuple[str, ...] = ()
        self._woken_by = 0  # those that wait for it to wake
        self._order: asyncio.Task[None] | None = None
        self._unwoken = ""
        self._http = _client(config.url)

    def start(self) -> None:
        """Begin to ask it."""
        self._task = asyncio.create_task(self._watch(), name=f"host {self.name}")

    async def close(self) -> None:
        """Ask it no more."""
        for task in (self._task, self._order):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        await self._http.aclose()

    def nudge(self) -> None:
        """Ask it now, unless it is known to be there."""
        if self.state != "up":
            self._tries = 0
            self._nudge.set()

    def found_at(self, urls: Collection[str]) -> None:
        """Hear that it is at *urls*. Anybody could have said that: it stays where it answers, else has to prove it."""
        self._found = tuple(urls)
        self.nudge()

    def snapshot(self) -> HostSnapshot:
        """How it is now."""
        return HostSnapshot(
            name=self.name,
            url=self.url or self.config.url,
            state=self.state,
            reason=self.reason,
            can_wake=self.config.wake is not None,
            told=self.told,
            age_s=None if not self.heard_at else time.monotonic() - self.heard_at,
            is_waking=self._woken_by > 0,
            unwoken=self._unwoken,
        )

    def check_wake(self) -> None:
        """Return if it is to be woken.

        Raises:
            HostNotWoken: it is not.
        """
        if self.state in ("up", "self", "incompatible"):
            raise HostNotWoken(self.name, reason=f"it is there already ({self.reason})")
        if self.config.wake is None:
            raise HostNotWoken(self.name, reason="it has no `wake` address in the file")

    def foresee_wake(self) -> Foreseen:
        """What an order to wake it would come to now."""
        try:
            self.check_wake()
        except HostNotWoken as error:
            return Foreseen(fits=False, reason=error.message)
        config = self.config
        told = f"a packet for {config.wake} goes to {config.wake_to} every {_PACKET_EVERY_S:g} s, until it answers"
        models = sorted(self.told.models) if self.told is not None else ()
        served = f"; it served {', '.join(models[:_MOST_NAMED])}" if models else ""
        more = f" and {len(models) - _MOST_NAMED} more" if len(models) > _MOST_NAMED else ""
        return Foreseen(fits=True, reason=f"{told} or {config.wake_timeout_s:g} s are over{served}{more}")

    def wake(self) -> None:
        """Begin to wake it, unless that is under way: `awaken`, for nobody in particular.

        Raises:
            HostNotWoken: it is not to be woken, or no packet can be sent.
        """
        self.check_wake()
        if self._order is not None and not self._order.done():
            return
        try:
            send_magic_packet(str(self.config.wake), self.config.wake_to)
        except OSError as error:
            raise HostNotWoken(self.name, reason=f"no packet can be sent to {self.config.wake_to} ({error})") from error
        self._order = asyncio.create_task(self._awaken_alone(), name=f"wake {self.name}")

    async def _awaken_alone(self) -> None:
        with contextlib.suppress(LoadFailed):  # `unwoken` says so
            await self.awaken()

    async def awaken(self) -> None:
        """Return when it is there; wake it where it sleeps.

        Raises:
            LoadFailed: it does not answer, and cannot be woken, or has not woken in time.
        """
        if self._is_up():
            return
        if self.config.wake is None:
            raise LoadFailed(f"The host '{self.name}' does not answer: {self.reason}.", retryable=False)
        began_at = time.monotonic()
        log.info("host woken", host=self.name, mac=self.config.wake)
        self._unwoken = ""
        self._woken_by += 1
        try:
            async with asyncio.timeout(self.config.wake_timeout_s):
                while not self._is_up():
                    self._send_packet()
                    self.nudge()
                    self._has_changed.clear()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(_PACKET_EVERY_S):
                            await self._has_changed.wait()
        except TimeoutError:
            told = f"The host '{self.name}' did not wake within {self.config.wake_timeout_s:g} s"
            self._unwoken = f"it did not wake within {self.config.wake_timeout_s:g} s"
            raise LoadFailed(f"{told} ({self.reason}).", retryable=False) from None
        finally:
            self._woken_by -= 1
        log.info("host awake", host=self.name, after_s=round(time.monotonic() - began_at, 1))

    def _is_up(self) -> bool:
        return self.state == "up"

    def _send_packet(self) -> None:
        try:
            send_magic_packet(str(self.config.wake), self.config.wake_to)
        except OSError as error:
            log.warning("host not woken", host=self.name, reason=str(error))

    async def _watch(self) -> None:
        while True:
            try:
                self._hear(read_told(await self._ask()))
                wait_s = POLL_S
            except Incompatible as error:
                self._failures = 0
                # One that can be woken may still be asleep, whoever has taken its name.
                is_asleep = isinstance(error, Unproven) and self.config.wake
                self._set("asleep" if is_asleep else "incompatible", str(error))
                wait_s = MOST_S
            except Exception as error:  # noqa: BLE001  # whatever goes wrong with one host costs no other
                wait_s = self._miss(error)
            if self.state == "self":
                return
            self._nudge.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._nudge.wait()

    async def _ask(self) -> bytes:
        key = _key(self.config)
        if self.config.announced_as is not None:
            self.url = await self._prove(self.config.announced_as, key or "")
        headers = {HOST_HEADER.decode(): self.me or "host"}
        if key is not None:
            headers["authorization"] = f"Bearer {key}"
        status, body = await self._get(f"{self.url.rstrip('/')}{SNAPSHOT_PATH}", headers)
        if status != 200:
            raise Incompatible(_refusal(status))
        return body

    async def _prove(self, name: str, key: str) -> str:
        """Have it prove that it is *name*: where it is, or else wherever it may be; returns where it has.

        Raises:
            ConnectionError: there is no address to ask at.
            Unproven: at one of them there is somebody else, and it is nowhere.
        """
        urls = [self.url] if self.state == "up" else [url for url in dict.fromkeys((self.url, *self._found)) if url]
        if not urls:
            raise ConnectionError(f"mDNS has not found '{name}' yet")
        asked = [asyncio.ensure_future(self._prove_at(url, name, key)) for url in urls]
        failures = []
        try:
            for each in asyncio.as_completed(asked):
                try:
                    return await each
                except Exception as error:  # noqa: BLE001  # told if it is nowhere
                    failures.append(error)
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        raise next((error for error in failures if isinstance(error, Unproven)), failures[0])

    async def _prove_at(self, url: str, name: str, key: str) -> str:
        question = Question(key, name, url)
        try:
            question.check(*await self._get(question.url, {}))
        except Incompatible as error:
            told = f"what announces itself as '{name}' at {url} cannot prove that it is: {error}"
            raise Unproven(told) from error
        return url

    async def _get(self, url: str, headers: dict[str, str]) -> tuple[int, bytes]:
        """The status and the body of an answer, whoever gives it: in time, in bounds, and nothing to unpack."""
        headers = {"accept-encoding": "identity", **headers}
        body = bytearray()
        async with (
            asyncio.timeout(2 * ANSWER_S),  # the client's own time is for each step
            self._http.stream("GET", url, headers=headers) as answer,
        ):
            async for part in answer.aiter_raw():
                body += part
                if len(body) > _MOST_BYTES:
                    raise Incompatible("what it tells of itself is too long")
        if answer.status_code >= 500:  # it is there, and has no time for us
            raise ConnectionError(f"status {answer.status_code}")
        return answer.status_code, bytes(body)

    def _hear(self, told: HostTold) -> None:
        self._failures = self._tries = 0
        self.heard_at = time.monotonic()
        before, self.told = self.told, told
        if told.router == self._router:
            self._set("self", "this host")
            return
        if not self._set("up", f"answers, version {told.enginehouse}") and _is_news(before, told):
            self._on_change(self)
        self._on_told(self)

    def _miss(self, error: Exception) -> float:
        """Count a question that was not answered; returns when to ask again."""
        self._failures += 1
        self._tries += 1
        if self.state == "up" and self._failures < _FAILURES:
            return _AGAIN_S
        reason = str(error) or ("no answer in time" if isinstance(error, TimeoutError) else type(error).__name__)
        self._set("asleep" if self.config.wake else "down", f"it does not answer ({reason})")
        return min(MOST_S, POLL_S * 2.0 ** min(self._tries - 1, 10))

    def _set(self, state: HostState, reason: str) -> bool:
        """Change the state; returns whether that is news."""
        before, self.state, self.reason = self.state, state, reason
        if state == "up":
            self._unwoken = ""
        if before == state:
            return False
        write = log.info if state in ("up", "self") else log.warning
        write(f"host {state}", host=self.name, url=self.url or self.config.url, reason=reason)
        self._has_changed.set()
        self._on_change(self)
        return True


def _is_news(before: HostTold | None, told: HostTold) -> bool:
    """Whether *told* may change what is sent there: how full its devices are changes all the time, and nothing."""
    return before is None or msgspec.structs.replace(before, devices=told.devices) != told


def _client(url: str) -> httpx2.AsyncClient:
    """A client for the host at *url*. Authorities are read for HTTPS alone: that takes a while."""
    import httpx2  # where there are hosts alone: commands need it not

    logging.getLogger("httpx2").setLevel(logging.WARNING)  # it has a line for each request
    return httpx2.AsyncClient(timeout=ANSWER_S, trust_env=False, verify=url.startswith("https:"))


def _refusal(status: int) -> str:
    if status in (401, 403):
        return "it refuses our key: give key_env or key_file, with a key for all models"
    return f"it answers with status {status}, unlike a host of Enginehouse"


def _key(config: HostConfig) -> str | None:
    """The key for *config*'s host; None: it asks for none.

    Raises:
        Incompatible: there is none where it should be.
    """
    if config.key_env is not None:
        key = os.environ.get(config.key_env, "").strip()
        if not key:
            raise Incompatible(f"the environment variable {config.key_env} (key_env) is not set")
    elif config.key_file is not None:
        try:
            key = Path(config.key_file).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Incompatible(f"the key in {config.key_file} (key_file) cannot be read: {error}") from error
        if not key:
            raise Incompatible(f"there is no key in {config.key_file} (key_file)")
    else:
        return None
    return key

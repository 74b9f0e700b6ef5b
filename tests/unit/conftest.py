"""A scripted engine for faults of the fleet: real engines are driven by tests/integration."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import pytest
import structlog

from enginehouse.config import Config, ModelConfig, PlacementConfig, ServerConfig
from enginehouse.fleet import Fleet, RestartPolicy
from enginehouse.fleet.gate import Gate, Waiter
from enginehouse.telemetry import logs as logs_module
from enginehouse_kit.text.tokens import check_tokens
from enginehouse_plugin import (
    AnyEvent,
    Backend,
    BackendType,
    Capabilities,
    Chat,
    Device,
    ExitReport,
    Finished,
    GenerationRequest,
    Instance,
    LoadProgress,
    Placement,
    ProbeReport,
    Run,
    Sink,
    Started,
    TextDelta,
    Tokenized,
    TokenizeRequest,
    UsageReport,
    UserMessage,
)
from enginehouse_plugin.errors import EnginehouseError, EngineUnavailable

CPU = Device(id="cpu", kind="cpu", name="Test CPU", memory_bytes=8 << 30)
QUICK = RestartPolicy(first_s=0.001, cap_s=0.002, healthy_s=60, max_failures=3)
Answer = Callable[["ScriptedInstance", GenerationRequest], AsyncGenerator[AnyEvent, None]]


async def hello(instance: ScriptedInstance, request: GenerationRequest) -> AsyncGenerator[AnyEvent, None]:
    yield Started(prompt_tokens=7, cached_tokens=2)
    yield TextDelta(choice=0, text="hel", completion_tokens=1)
    yield TextDelta(choice=0, text="lo", completion_tokens=2)
    yield Finished(choice=0, reason="stop")
    yield UsageReport(prompt_tokens=7, completion_tokens=2, cached_tokens=2)


class ScriptedInstance(Instance):
    """Does what the script says; `active` counts the answers under way."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.capabilities = script.capabilities
        self.active = 0
        self.unloads = 0
        self.is_answering = True
        self._closed: asyncio.Future[ExitReport] = asyncio.get_running_loop().create_future()

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[AnyEvent, None]:
        self.active += 1
        self.script.requests.append(request)
        try:
            async with contextlib.aclosing(self.script.answer(self, request)) as events:
                async for event in events:
                    yield event
        finally:
            self.active -= 1

    def start(self, request: GenerationRequest, sink: Sink) -> Run:
        self.script.starts(request)
        return super().start(request, sink)

    async def count_tokens(self, request: GenerationRequest) -> int:
        return 7

    async def tokenize_prompt(self, wanted: TokenizeRequest) -> Tokenized:
        self.refuse_unsupported(wanted.request)
        return self.script.tokenizes(wanted)

    async def detokenize(self, token_ids: Sequence[int]) -> str:
        check_tokens(token_ids, 9)
        return " ".join(map(str, token_ids))

    async def check(self, request: GenerationRequest) -> None:
        await super().check(request)
        self.script.checks(request)

    async def check_ready(self) -> None:
        if not self.is_answering:
            raise self.script.check_error

    async def unload(self) -> None:
        self.unloads += 1
        if not self._closed.done():
            self._closed.set_result(ExitReport(is_expected=True, reason="unloaded"))

    async def wait_closed(self) -> ExitReport:
        return await asyncio.shield(self._closed)

    def crash(self) -> None:
        self._closed.set_result(ExitReport(is_expected=False, reason="killed", last_words=("bye",)))


class SleepyInstance(ScriptedInstance):
    """One that can sleep; `nights` are errors of the next times that it is to sleep or wake."""

    def __init__(self, script: Script) -> None:
        super().__init__(script)
        self.is_awake = True
        self.sleeps = self.wakes = 0
        self.nights: list[Exception] = []
        self.on_sleep: Callable[[], None] = lambda: None

    async def sleep(self) -> None:
        assert self.is_awake
        self.on_sleep()
        await asyncio.sleep(0)
        if self.nights:
            raise self.nights.pop()
        self.is_awake = False
        self.sleeps += 1

    async def wake(self) -> None:
        assert not self.is_awake
        await asyncio.sleep(0)
        if self.nights:
            raise self.nights.pop()
        self.is_awake = True
        self.wakes += 1


class Script(Backend):
    """What loading and answering do; keeps every placement asked for, instance made and request begun."""

    def __init__(self) -> None:
        self.capabilities = Capabilities(
            context_tokens=512,
            max_concurrent_requests=2,
            features=frozenset({"streaming", "n", "stop"}),
            limits={"n": 4},
        )
        self.answer: Answer = hello
        self.starts: Callable[[GenerationRequest], None] = lambda _: None
        self.checks: Callable[[GenerationRequest], None] = lambda _: None
        self.tokenizes: Callable[[TokenizeRequest], Tokenized] = lambda _: Tokenized(token_ids=(1, 2))
        self.recommends: Mapping[str, Any] | Exception = {}
        self.load_errors: list[Exception] = []
        self.may_load = asyncio.Event()
        self.may_load.set()
        self.check_error: Exception = EngineUnavailable("no answer")
        self.placements: list[Placement] = []
        self.instances: list[ScriptedInstance] = []
        self.requests: list[GenerationRequest] = []
        self.cancelled_loads = 0
        self.makes: type[ScriptedInstance] = ScriptedInstance

    def type(self, **changes: object) -> BackendType:
        made = BackendType(name="scripted", version="1", create=lambda: self, options=NoOptions, needs_weights=False)
        return msgspec.structs.replace(made, **changes)

    async def probe(self, python: str | None = None) -> ProbeReport:
        return ProbeReport(available=True, engine="scripted")

    async def recommended(self, placement: Placement) -> Mapping[str, Any]:
        if isinstance(self.recommends, Exception):
            raise self.recommends
        return self.recommends

    async def load(self, placement, devices, progress) -> Instance:
        self.placements.append(placement)
        progress(LoadProgress(stage="weights", fraction=0.5))
        try:
            await self.may_load.wait()
        except asyncio.CancelledError:
            self.cancelled_loads += 1
            raise
        if self.load_errors:
            raise self.load_errors.pop(0)
        self.instances.append(self.makes(self))
        return self.instances[-1]


class Guest:
    """A request at *gate*; `slot` has what it was given, or why it has nothing."""

    def __init__(self, gate: Gate, client: str = "a", weight: int = 1) -> None:
        self.gate = gate
        self.slot: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.waiter: Waiter | None = None
        if taken := gate.enter(weight):
            self.slot.set_result(taken)
            return
        try:
            self.waiter = gate.queue(client, weight, self)
        except EnginehouseError as error:
            self.slot.set_exception(error)

    def admitted(self, weight: int) -> None:
        self.slot.set_result(weight)

    def refused(self, error: EnginehouseError) -> None:
        self.slot.set_exception(error)

    def stranded(self) -> None:
        """Wait on."""

    def withdraw(self) -> None:
        assert self.waiter is not None
        self.gate.withdraw(self.waiter)


class Reader:
    """A sink that keeps what it hears; `ended` has the error, if there was one."""

    def __init__(self) -> None:
        self.heard: list[AnyEvent] = []
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def events(self, batch: Sequence[AnyEvent]) -> None:
        assert batch
        assert not self.ended.done()
        self.heard.extend(batch)

    def end(self, error: Exception | None) -> None:
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)

    async def answer(self) -> list[AnyEvent]:
        """Wait for the end, and return all events."""
        await self.ended
        return self.heard


class NoOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A backend without options."""


def a_request(**fields: object) -> GenerationRequest:
    prompt = Chat(messages=(UserMessage(content="hi"),))
    return GenerationRequest(**{"id": "r1", "prompt": prompt, "stream": True, **fields})


class House:
    """A fleet of scripted models on one CPU."""

    def __init__(self) -> None:
        self.script = Script()
        self.changes: list[tuple[str, str]] = []
        self._states: list[tuple[str, str]] = []
        self.fleet: Fleet | None = None
        self._has_changed = asyncio.Event()

    def config(self, *names: str, server: dict[str, object] | None = None, **model: object) -> Config:
        placement = PlacementConfig(backend="scripted", source="anywhere", options=NoOptions())
        models = {name: ModelConfig(placements=(placement,), **model) for name in names or ("m",)}
        return Config(models=models, server=ServerConfig(**server or {}))

    def build(
        self,
        config: Config | None = None,
        *,
        policy: RestartPolicy = QUICK,
        fetch=None,
        devices=(CPU,),
        select=None,
        profiles=None,
        survey=None,
        **backend,
    ) -> Fleet:
        self.fleet = Fleet(
            config or self.config(),
            {"scripted": self.script.type(**backend)},
            devices,
            on_change=self._changed,
            select=select,
            policy=policy,
            profiles=profiles,
            survey=survey,
            **({"fetch": fetch} if fetch else {}),
        )
        return self.fleet

    def _changed(self, change) -> None:
        self.changes.append((change.before, change.after))
        self._states.append((change.instance_id, change.after))
        self._has_changed.set()

    @property
    def hosted(self):
        return next(self.fleet.instances())

    async def until(self, state: str, hosted=None) -> None:
        """Wait for a state that the test has made sure will come, also if it is over before this is run again."""
        hosted = hosted or self.hosted
        since = len(self._states)
        async with asyncio.timeout(10):
            while hosted.state != state and (hosted.id, state) not in self._states[since:]:
                self._has_changed.clear()
                await self._has_changed.wait()


async def turn_until(holds: Callable[[], bool]) -> None:
    """Let the event loop turn until *holds*, which the test has made sure will come."""
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110  # what is waited for has no event of its own
            await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def loggers_of_one_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test makes of the logs ends with it, and what tests elsewhere made of them ends before it."""
    structlog.reset_defaults()
    monkeypatch.setattr(logs_module, "_json_lines", None)
    yield
    structlog.reset_defaults()


@pytest.fixture
def eventually():
    return turn_until


@pytest.fixture
async def house():
    house = House()
    yield house
    if house.fleet is not None:
        await house.fleet.close()
        assert all(instance.unloads for instance in house.script.instances)


@pytest.fixture
def make_request():
    return a_request


@pytest.fixture
def logs():
    """Log entries of the test, as dictionaries."""
    with structlog.testing.capture_logs() as entries:
        yield entries

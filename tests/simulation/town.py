"""Routers and engines in simulated time: the plan, the budget, the choice, the gates and the affinity are the router's.

What is not real: engines are a number of slots and a store of prefixes, with times that are drawn; there is no network,
no lease's retries beyond one, no task and no queue's deadline; loads that engines tell reach a router with its answers.
"""

from __future__ import annotations

import heapq
import itertools
import random
import time
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from enginehouse.config import BudgetConfig, ModelConfig, PlacementConfig, ServerConfig
from enginehouse.fleet import Holding, InstancePlan, Planner, choose
from enginehouse.fleet.affinity import Block
from enginehouse.fleet.budget import lacking, limits
from enginehouse.fleet.instance import HostedInstance
from enginehouse.fleet.keeper import Keeper
from enginehouse.fleet.nodes import Stay
from enginehouse.fleet.traffic import Traffic
from enginehouse_plugin import Backend, BackendType, Chat, Device, GenerationRequest, UserMessage

GIB = 1 << 30
TOKENS = 64
TOKEN_S = 1 / 60
CHAR_S = 2e-5
SYSTEM_CHARS = 2000
TURN_CHARS = 600
MOST_TURNS = 12


class _Options(msgspec.Struct, frozen=True):
    """None."""


@dataclass
class Size:
    """What is simulated: *arrivals* a second of all routers together; *is_sticky*: a client stays with its router."""

    routers: int = 4
    nodes: int = 200
    devices: int = 5
    models: int = 50
    replicas: int = 20
    slots: int = 200
    arrivals: int = 100_000
    conversations: int = 1000
    seconds: float = 4.0
    is_sticky: bool = False
    seed: int = 1


@dataclass
class Engine:
    """An engine with *slots*, and the prefixes that it has read last, of so many conversations."""

    slots: int
    running: int = 0
    is_there: bool = True
    queue: deque[Callable[[], None]] = field(default_factory=deque)
    known: OrderedDict[tuple[int, int], int] = field(default_factory=OrderedDict)

    def read(self, conversation: tuple[int, int], turn: int) -> int:
        """Read the prompt of that turn; returns the characters that were not known."""
        had = self.known.get(conversation, -1)
        self.known[conversation] = turn
        self.known.move_to_end(conversation)
        if len(self.known) > 400:
            self.known.popitem(last=False)
        if had < 0:
            return SYSTEM_CHARS + TURN_CHARS * (turn + 1)
        return TURN_CHARS * max(1, turn - had)


class Town:
    """The simulation of *size*; `run` goes through it, and `report` has the figures."""

    def __init__(self, size: Size) -> None:
        self.size = size
        self.random = random.Random(size.seed)
        self.now = 0.0
        self.counted: Counter[str] = Counter()
        self.decided_s: list[float] = []
        self.imbalance: list[tuple[float, float, float]] = []
        self.took_s: dict[str, float] = {}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self.devices = self._devices(set())
        placement = PlacementConfig(backend="engine", source="w")
        self.config = ModelConfig(placements=(placement,), replicas=size.replicas)
        kind = BackendType(name="engine", version="1", create=_no_backend, options=_Options, kinds=("cuda",))
        models = {f"m{number}": self.config for number in range(size.models)}
        self.planner = Planner(models, (), {"engine": kind})
        self.keeper = Keeper(self.devices, BudgetConfig())
        self.took_s["plan of all models"] = self._timed(lambda: self._plan({}))
        self.engines: dict[str, Engine] = {}
        self.planned = {one.id: one for plan in self.planner.plans.values() for one in plan.instances}
        for key in self.planned:
            self.engines[key] = Engine(size.slots)
        self.took_s["room for one more instance"] = self._timed(self._room)
        self._queues: defaultdict[HostedInstance, deque[Callable[[], None]]] = defaultdict(deque)
        self.routers = [self._router() for _ in range(size.routers)]
        self._turns: Counter[tuple[int, int]] = Counter()

    def _devices(self, gone: set[str]) -> tuple[Device, ...]:
        return tuple(
            Device(id=f"{node}/cuda:{number}", kind="cuda", name="GPU", memory_bytes=80 * GIB)
            for node in (f"n{at:03}" for at in range(self.size.nodes))
            if node not in gone
            for number in range(self.size.devices)
        )

    def _plan(self, running: dict[str, dict[int, Stay]]) -> None:
        self.planner.follow_nodes(self.devices, {}, lambda model: running.get(model, {}), BudgetConfig())

    def _room(self) -> None:
        holdings = [
            Holding(instance=one.id, estimated=dict.fromkeys(one.device_ids, 60 * GIB)) for one in self.planned.values()
        ]
        bounds = limits(self.devices, BudgetConfig(), {})
        assert not lacking({}, bounds, holdings)
        # What the budget has to find: a second engine of this size fits beside no other.
        first = next(iter(self.planned.values())).device_ids[0]
        assert lacking({first: 60 * GIB}, bounds, holdings)

    def _timed(self, work: Callable[[], None]) -> float:
        began_at = time.thread_time()
        work()
        return time.thread_time() - began_at

    def _router(self) -> dict[str, tuple[Traffic, list[HostedInstance]]]:
        made: dict[str, tuple[Traffic, list[HostedInstance]]] = {}
        for name, plan in self.planner.plans.items():
            hosted = [self._view(one) for one in plan.instances]
            made[name] = (Traffic(self.config, ServerConfig()), hosted)
        return made

    def _view(self, planned: InstancePlan) -> HostedInstance:
        hosted = HostedInstance(planned, self.config, self.planner, keeper=self.keeper)
        hosted.state = "ready"
        hosted.gate.open(self.size.slots)
        hosted.cache.owner = hosted
        return hosted

    # ---- time ----

    def at(self, when: float, work: Callable[[], None]) -> None:
        """Do *work* at that time."""
        heapq.heappush(self._events, (when, next(self._order), work))

    def run(self) -> None:
        """Go through all of it: a tenth of the nodes vanishes halfway."""
        size = self.size
        self.at(0.0, self._arrive)
        self.at(size.seconds / 2, self._vanish)
        samples = 20
        for number in range(1, samples):
            self.at(size.seconds * number / samples, self._sample)
        while self._events and self.now < size.seconds:
            self.now, _, work = heapq.heappop(self._events)
            work()

    def _arrive(self) -> None:
        size, draw = self.size, self.random
        model = draw.randrange(size.models)
        conversation = (model, draw.randrange(size.conversations))
        turn = self._turns[conversation] % MOST_TURNS
        self._turns[conversation] += 1
        router = conversation[1] % size.routers if size.is_sticky else draw.randrange(size.routers)
        self._ask(router, conversation, turn, avoid=())
        self.at(self.now + draw.expovariate(size.arrivals), self._arrive)

    def _ask(self, router: int, conversation: tuple[int, int], turn: int, avoid: tuple[HostedInstance, ...]) -> None:
        name = f"m{conversation[0]}"
        traffic, instances = self.routers[router][name]
        life = self._turns[conversation] // MOST_TURNS
        blocks = [(hash(name), SYSTEM_CHARS)]
        blocks += [(hash((conversation, life, at)), SYSTEM_CHARS + TURN_CHARS * (at + 1)) for at in range(turn + 1)]
        traffic.habits.turn += 1
        began_at = time.thread_time()
        cached = traffic.affinity.cached_chars(blocks)
        hosted = choose(_REQUEST, instances, avoid, None, traffic.habits, blocks, cached, self.now)
        assert hosted is not None
        weight = hosted.gate.enter(1)
        self.decided_s.append(time.thread_time() - began_at)
        traffic.went_to(hosted, self.now)
        self.counted["asked"] += 1
        engine = self.engines[hosted.id]
        if not engine.is_there:  # found by the first request that goes there
            if weight:
                hosted.gate.leave(weight)
            hosted.gate.pause()
            hosted.forget()
            instances.remove(hosted)
            self.counted["tried again"] += 1
            self._ask(router, conversation, turn, (*avoid, hosted))
            return
        start = self._starting(router, hosted, engine, conversation, (turn, blocks))
        if weight:
            start()
        else:
            self.counted["waited"] += 1
            hosted.gate.waiting += 1
            self._queues[hosted].append(start)

    def _starting(
        self, router: int, hosted: HostedInstance, engine: Engine, conversation: tuple[int, int],
        prompt: tuple[int, list[Block]],
    ) -> Callable[[], None]:  # fmt: skip
        turn, blocks = prompt

        def start() -> None:
            if engine.running < engine.slots:
                begin()
            else:
                self.counted["waited at the engine"] += 1
                engine.queue.append(begin)

        def begin() -> None:
            engine.running += 1
            unread = engine.read((conversation[1], self._turns[conversation] // MOST_TURNS), turn)
            if turn:
                self.counted["later turns"] += 1
                self.counted["cache hits"] += unread == TURN_CHARS
            tokens = 1 + int(self.random.expovariate(1 / TOKENS))
            took_s = unread * CHAR_S + tokens * TOKEN_S * (1 + engine.running / engine.slots)
            self.at(self.now + took_s, lambda: end(tokens, took_s))

        def end(tokens: int, took_s: float) -> None:
            if not engine.is_there:
                self.counted["lost after they had begun"] += 1
                return
            engine.running -= 1
            if engine.queue:
                engine.queue.popleft()()
            gate, waiting = hosted.gate, self._queues[hosted]
            gate.running -= 1
            hosted.others.hear(engine.running + len(engine.queue), self.now)
            if waiting:
                gate.waiting -= 1
                gate.running += 1
                waiting.popleft()()
            traffic, _ = self.routers[router][f"m{conversation[0]}"]
            hosted.pace.answered(tokens, took_s, self.now)
            traffic.affinity.note(blocks, hosted.cache)
            self.counted["answered"] += 1

        return start

    # ---- what happens ----

    def _sample(self) -> None:
        loads = sorted(engine.running for engine in self.engines.values() if engine.is_there)
        mean = sum(loads) / len(loads)
        self.imbalance.append((mean, loads[int(0.99 * len(loads))], loads[-1]))

    def _vanish(self) -> None:
        gone = {f"n{at:03}" for at in self.random.sample(range(self.size.nodes), self.size.nodes // 10)}
        lost = {key for key, one in self.planned.items() if one.node in gone}
        for key in lost:
            self.engines[key].is_there = False
        self.devices = self._devices(gone)
        running: dict[str, dict[int, Stay]] = {}
        for key, one in self.planned.items():
            if key not in lost:
                running.setdefault(one.model, {})[one.number] = Stay(one.device_ids, one.index)
        self.took_s["plan again without a tenth of the nodes"] = self._timed(lambda: self._plan(running))
        after = {one.id: one for plan in self.planner.plans.values() for one in plan.instances}
        self.counted["instances"] = len(self.planned)
        self.counted["instances lost"] = len(lost)
        self.counted["instances moved without need"] = sum(
            after[key].device_ids != one.device_ids for key, one in self.planned.items() if key not in lost
        )
        self.counted["instances with a place again"] = sum(key in after for key in lost)
        on = Counter(device for one in after.values() for device in one.device_ids)
        self.counted["most instances on one device"] = max(on.values())


def _no_backend() -> Backend:
    raise AssertionError("nothing is loaded here")


_REQUEST = GenerationRequest(id="r", prompt=Chat((UserMessage("Hi"),)), max_tokens=None, stream=True)

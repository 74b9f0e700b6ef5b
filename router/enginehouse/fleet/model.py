"""A model, as clients name it, and the instances that serve it on this host."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from typing import Any

from enginehouse.config import ModelConfig, ServerConfig, Trust
from enginehouse_plugin import Instance, Task

from .choice import Select
from .deadlines import Deadlines, Watch
from .errors import InstanceUnavailable, WrongTask
from .instance import HostedInstance
from .planner import Planner
from .reference import Reference
from .snapshot import ModelSnapshot
from .suspects import Suspects
from .traffic import Traffic

ANY_CONTEXT = 2**40
"""More tokens than any prompt has."""


class Model:
    """What clients name: its configuration, and its instances (none: no placement holds).

    Its instances are compared with `reference`. Its requests keep `deadlines`, for which `watch` looks at the clock;
    `select` is asked before the router which instance serves one, `suspects` are those that were in flight when engines
    ended, and `traffic` is what is learnt of them all. `sleepers` are instances of sleeping hosts that its requests
    wake, though others serve them meanwhile.
    """

    def __init__(
        self,
        name: str,
        config: ModelConfig,
        trust: Trust,
        planner: Planner,
        deadlines: Deadlines,
        select: Select | None,
        server: ServerConfig,
    ) -> None:
        self.name = name
        self.config = config
        self.trust: Trust = trust
        self.instances: list[HostedInstance] = []
        self.sleepers: tuple[HostedInstance, ...] = ()
        self.deadlines = deadlines
        self.watch = Watch()
        self.select = select
        self.suspects = Suspects()
        self.reference = Reference(name, lambda: min((hosted.planned.index for hosted in self.instances), default=0))
        self.traffic = Traffic(config, server)
        self._planner = planner

    def describe(self, config: ModelConfig, profiles: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        """Take from *config* what needs no other instances, and the defaults of *profiles* (None: as before)."""
        before, self.config = self.config, config
        self.traffic.follow(config)
        for hosted in self.instances:
            hosted.defaults.follow(config.defaults, profiles)
            gate = hosted.gate
            gate.max_queue, gate.queue_timeout_s = config.max_queue, config.queue_timeout_s
            gate.load_timeout_s = config.load_timeout_s
            if config.keep_alive_s != before.keep_alive_s:
                hosted.residence.follow(config.keep_alive_s)
            if config.pinned != before.pinned:  # else what its owner said meanwhile stands
                hosted.pin(config.pinned)

    def bounds(self, max_tokens: int | None, said: Collection[str], profile: str) -> tuple[int | None, int]:
        """The most tokens of a choice that a request by *profile* asks for, and of prompt and choice together.

        None: it says nothing, and no default does. Where no instance has told its context yet, no prompt is too long.
        """
        most_tokens = 0
        for hosted in self.instances:
            capabilities = hosted.capabilities
            if capabilities is not None and capabilities.context_tokens > most_tokens:
                most_tokens = capabilities.context_tokens
        if max_tokens is None and "max_tokens" not in said:
            defaults = (hosted.defaults.max_tokens(profile) for hosted in self.instances)
            max_tokens = max((found for found in defaults if found is not None), default=None)
        return max_tokens, most_tokens or ANY_CONTEXT

    @property
    def tasks(self) -> Collection[Task]:
        """What it is for, as its configuration says or a loaded instance; none: not known yet."""
        if self.config.task is not None:
            return (self.config.task,)
        for hosted in self.instances:
            if hosted.capabilities is not None:
                return hosted.capabilities.tasks
        return ()

    def refuse_other(self, task: Task) -> None:
        """Refuse *task* where it is known that it is for others.

        Raises:
            WrongTask: it is.
        """
        tasks = self.tasks
        if tasks and task not in tasks:
            raise WrongTask(self.name, tasks, task)

    def checked(self, instance: Instance, task: Task | None) -> Instance:
        """Return *instance*, which has loaded.

        Raises:
            WrongTask: it is not for *task*, where one is wanted.
        """
        tasks = instance.capabilities.tasks
        if task is not None and task not in tasks:
            raise WrongTask(self.name, tasks, task)
        return instance

    def alone(self) -> Model:
        """It with the instances of this host only: for requests that another host has sent, which go no further."""
        view = copy.copy(self)
        view.instances = [hosted for hosted in self.instances if hosted.planned.host is None]
        view.sleepers = ()
        return view

    def wake_replicas(self, instance: str) -> None:
        """Load the replicas of *instance*, which is ready, that gave their memory back, where there is room for them.

        Requests go to what is ready, so that nobody would ask for these.
        """
        ready = next((hosted for hosted in self.instances if hosted.id == instance), None)
        for hosted in self.instances:
            if ready and hosted.state in ("unloaded", "asleep") and hosted.planned.placement is ready.planned.placement:
                hosted.wake()

    @property
    def load_told(self) -> bytes:
        """What other hosts are told of the load of its instances here, with an answer: `running=3, waiting=1`."""
        own = [hosted.gate for hosted in self.instances if hosted.planned.host is None and hosted.gate.is_open]
        return b"running=%d, waiting=%d" % (sum(gate.running for gate in own), sum(gate.waiting for gate in own))

    def nowhere(self) -> InstanceUnavailable:
        """Why it has no instance."""
        plan = self._planner.plans.get(self.name)
        if plan is None:
            return InstanceUnavailable(self.name, reason="it is not configured any more", retry_after_s=60.0)
        rejected = plan.rejected
        reasons = "; ".join(f"placement {one.index}: {one.reason}" for one in rejected)
        return InstanceUnavailable(self.name, reason=reasons or "it has no instance", retry_after_s=60.0)

    def snapshot(self) -> ModelSnapshot:
        """How it is now."""
        plan = self._planner.plans[self.name]
        return ModelSnapshot(
            name=self.name,
            config=self.config,
            trust=self.trust,
            has_place=bool(plan.instances) or any(hosted.planned.host for hosted in self.instances),
            instances=tuple(instance.snapshot() for instance in self.instances),
            rejected=plan.rejected,
        )

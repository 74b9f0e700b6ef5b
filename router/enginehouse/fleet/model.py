"""A model, as clients name it, and the instances that serve it on this host."""

from __future__ import annotations

from enginehouse.config import ModelConfig, Trust
from enginehouse_plugin import LoadProgress

from .choice import Select
from .deadlines import Deadlines
from .errors import InstanceUnavailable
from .lifecycle import HostedInstance
from .placement import Decision


class Model:
    """What clients name: its configuration, where it was placed, and its instances (none: no placement holds).

    Its requests keep `deadlines`; `select` is asked before the router which instance serves one.
    """

    def __init__(
        self,
        name: str,
        config: ModelConfig,
        trust: Trust,
        decision: Decision,
        instances: list[HostedInstance],
        deadlines: Deadlines,
        select: Select | None,
    ) -> None:
        self.name = name
        self.config = config
        self.trust: Trust = trust
        self.decision = decision
        self.instances = instances
        self.deadlines = deadlines
        self.select = select

    @property
    def described(self) -> HostedInstance | None:
        """The instance that stands for what the model can do; None before the first has loaded."""
        return next((hosted for hosted in self.instances if hosted.capabilities), None)

    @property
    def state(self) -> str:
        """`unplaced` where no placement holds and fits; `ready` when an instance is; else the state of the first."""
        if not self.has_place:
            return "unplaced"
        states = [hosted.state for hosted in self.instances]
        return "ready" if "ready" in states else states[0]

    @property
    def has_place(self) -> bool:
        """Whether a placement is chosen here. A load may find that none fits, and a later one that one does."""
        return self.decision.chosen is not None

    @property
    def loading(self) -> LoadProgress | None:
        """How far it is, while it loads and its engine has told."""
        if self.state != "loading":
            return None
        return next((hosted.progress for hosted in self.instances if hosted.state == "loading"), None)

    @property
    def is_ready(self) -> bool:
        """Whether a request would start at once or queue at an instance that runs."""
        return self.state == "ready"

    def nowhere(self) -> InstanceUnavailable:
        """Why it has no instance."""
        reasons = "; ".join(f"placement {rejected.index}: {rejected.reason}" for rejected in self.decision.rejected)
        return InstanceUnavailable(self.name, reason=reasons or "it has no instance", retry_after_s=60.0)

"""The fleet: which models there are, where they run, who may start, and what happens when an engine ends."""

from __future__ import annotations

from .choice import Select, choose
from .deadlines import Deadlines
from .errors import (
    Draining,
    FirstTokenTimeout,
    FleetError,
    GenerationTimeout,
    IdleTimeout,
    InstanceUnavailable,
    ModelNotFound,
    QueueFull,
    QueueTimeout,
    TotalTimeout,
)
from .fitting import Weighed, place_fitting
from .lease import Lease, Notes
from .lifecycle import HostedInstance
from .model import Model
from .placement import Chosen, Decision, Rejected, place
from .registry import Fleet
from .restart import RestartPolicy
from .sources import ResolveSource, resolve_source

__all__ = [
    "Chosen",
    "Deadlines",
    "Decision",
    "Draining",
    "FirstTokenTimeout",
    "Fleet",
    "FleetError",
    "GenerationTimeout",
    "HostedInstance",
    "IdleTimeout",
    "InstanceUnavailable",
    "Lease",
    "Model",
    "ModelNotFound",
    "Notes",
    "QueueFull",
    "QueueTimeout",
    "Rejected",
    "ResolveSource",
    "RestartPolicy",
    "Select",
    "TotalTimeout",
    "Weighed",
    "choose",
    "place",
    "place_fitting",
    "resolve_source",
]

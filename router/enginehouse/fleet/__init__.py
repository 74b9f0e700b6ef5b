"""The fleet: which models there are, where they run, who may start, and what happens when an engine ends."""

from __future__ import annotations

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
from .lifecycle import HostedInstance
from .placement import Chosen, Decision, Rejected, place
from .registry import Fleet, Model
from .restart import RestartPolicy
from .sources import ResolveSource, resolve_source

__all__ = [
    "Chosen",
    "Decision",
    "Draining",
    "FirstTokenTimeout",
    "Fleet",
    "FleetError",
    "GenerationTimeout",
    "HostedInstance",
    "IdleTimeout",
    "InstanceUnavailable",
    "Model",
    "ModelNotFound",
    "QueueFull",
    "QueueTimeout",
    "Rejected",
    "ResolveSource",
    "RestartPolicy",
    "TotalTimeout",
    "Weighed",
    "place",
    "place_fitting",
    "resolve_source",
]

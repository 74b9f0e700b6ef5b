"""The fleet: which models there are, where they run, who may start, and what happens when an engine ends.

plan      which placements become instances, on which devices, and why not the others: pure
planner   the plans of this host, made again as loading tells more
instance  one life: loaded (loader, sources), watched, started again (restart), ended
gate      who may start at an instance
lease     one request's way: choice, gate, instance, deadlines
snapshot  all of it at one moment, for every listing
"""

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
from .fleet import Fleet
from .instance import HostedInstance
from .lease import Lease, Notes
from .model import Model
from .plan import Experience, InstancePlan, ModelPlan, Rejected, plan_model
from .planner import FindWeights, Planner
from .restart import RestartPolicy
from .snapshot import FleetSnapshot, InstanceSnapshot, ModelSnapshot, State
from .sources import Fetch, NotFetched, fetch_in_thread, fetch_weights, find_weights

__all__ = [
    "Deadlines",
    "Draining",
    "Experience",
    "Fetch",
    "FindWeights",
    "FirstTokenTimeout",
    "Fleet",
    "FleetError",
    "FleetSnapshot",
    "GenerationTimeout",
    "HostedInstance",
    "IdleTimeout",
    "InstancePlan",
    "InstanceSnapshot",
    "InstanceUnavailable",
    "Lease",
    "Model",
    "ModelNotFound",
    "ModelPlan",
    "ModelSnapshot",
    "NotFetched",
    "Notes",
    "Planner",
    "QueueFull",
    "QueueTimeout",
    "Rejected",
    "RestartPolicy",
    "Select",
    "State",
    "TotalTimeout",
    "choose",
    "fetch_in_thread",
    "fetch_weights",
    "find_weights",
    "plan_model",
]

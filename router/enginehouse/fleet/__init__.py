"""The fleet: which models there are, where they run, who may start, and what happens when an engine ends.

plan      which placements become instances, on which devices, and why not the others: pure
planner   the plans of this host, made again as loading tells more
instance  one life: loaded (loader, sources), watched (liveness), started again (restart), ended
face      what an instance shows, and the orders that it takes
residence how long it stays loaded
budget    bytes per device: held, free, and who gives way: pure
keeper    who may load, and who leaves for it
gate      who may start at an instance
suspects  requests that were in flight when engines ended
hosts     other machines, and what they serve as instances here
lease     one request's way: choice, gate, instance, deadlines
defaults  what a request gets where it is silent
snapshot  all of it at one moment, for every listing
"""

from __future__ import annotations

from .budget import DeviceBudget, Holding, budgets, others_on
from .choice import Select, choose
from .claims import Foreseen
from .counted import Ask, count
from .deadlines import Deadlines
from .defaults import Decided, Default, decide, recommended
from .errors import (
    Draining,
    FirstTokenTimeout,
    FleetError,
    GenerationTimeout,
    HostNotFound,
    HostNotWoken,
    IdleTimeout,
    InstanceNotFound,
    InstanceUnavailable,
    ModelLoading,
    ModelNotFound,
    QueueFull,
    QueueTimeout,
    RequestPoisonous,
    TotalTimeout,
    WrongTask,
)
from .explain import Asked, Considered, RequestExplained, explain_request
from .fleet import Fleet
from .foresight import foresee_load
from .hosts import (
    HOST_HEADER,
    LOAD_HEADER,
    PROOF_PATH,
    SNAPSHOT_PATH,
    HostSnapshot,
    HostTold,
    Incompatible,
    Listener,
    Proof,
    ToldDevice,
    key_id,
    magic_packet,
    read_told,
)
from .instance import HostedInstance
from .jobs import GENERATION, Counting, Job, Several, Working
from .lease import Lease
from .model import ANY_CONTEXT, Model
from .notes import Notes
from .plan import Experience, InstancePlan, ModelPlan, Rejected, plan_model
from .planner import FindWeights, Planner
from .restart import RestartPolicy
from .snapshot import FleetSnapshot, InstanceSnapshot, ModelSnapshot, State
from .sources import Fetch, NotFetched, disk_of, fetch_in_thread, fetch_weights, find_weights
from .work import Work

__all__ = [
    "ANY_CONTEXT",
    "GENERATION",
    "HOST_HEADER",
    "LOAD_HEADER",
    "PROOF_PATH",
    "SNAPSHOT_PATH",
    "Ask",
    "Asked",
    "Considered",
    "Counting",
    "Deadlines",
    "Decided",
    "Default",
    "DeviceBudget",
    "Draining",
    "Experience",
    "Fetch",
    "FindWeights",
    "FirstTokenTimeout",
    "Fleet",
    "FleetError",
    "FleetSnapshot",
    "Foreseen",
    "GenerationTimeout",
    "Holding",
    "HostNotFound",
    "HostNotWoken",
    "HostSnapshot",
    "HostTold",
    "HostedInstance",
    "IdleTimeout",
    "Incompatible",
    "InstanceNotFound",
    "InstancePlan",
    "InstanceSnapshot",
    "InstanceUnavailable",
    "Job",
    "Lease",
    "Listener",
    "Model",
    "ModelLoading",
    "ModelNotFound",
    "ModelPlan",
    "ModelSnapshot",
    "NotFetched",
    "Notes",
    "Planner",
    "Proof",
    "QueueFull",
    "QueueTimeout",
    "Rejected",
    "RequestExplained",
    "RequestPoisonous",
    "RestartPolicy",
    "Select",
    "Several",
    "State",
    "ToldDevice",
    "TotalTimeout",
    "Work",
    "Working",
    "WrongTask",
    "budgets",
    "choose",
    "count",
    "decide",
    "disk_of",
    "explain_request",
    "fetch_in_thread",
    "fetch_weights",
    "find_weights",
    "foresee_load",
    "key_id",
    "magic_packet",
    "others_on",
    "plan_model",
    "read_told",
    "recommended",
]

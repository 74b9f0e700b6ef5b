"""The hooks that a plugin may implement. All are synchronous; all are optional.

A plugin is a module (or object) named by an entry point in the group `enginehouse.plugins`. It declares
the version of this contract that it was built for, and marks its hooks:

    from enginehouse_plugin import hookimpl

    enginehouse_api = "2.0"

    @hookimpl
    def enginehouse_backends():
        return [BackendType(name="echo", …)]
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pluggy

from .backend import BackendType, Device
from .profile import Profile
from .request import GenerationRequest

ENTRY_POINT_GROUP = "enginehouse.plugins"
API_VERSION = "2.1"
"""Version of the contract. Another major version is quarantined; a higher minor one is too."""

hookspec = pluggy.HookspecMarker("enginehouse")
hookimpl = pluggy.HookimplMarker("enginehouse")


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """An instance that could serve a request; `running` and `waiting` count sequences of this router."""

    instance_id: str
    model: str
    backend: str
    device_ids: tuple[str, ...]
    running: int
    waiting: int
    max_concurrent_requests: int


class InstanceChange(msgspec.Struct, frozen=True, kw_only=True):
    """An instance went from one state to another. `at` is Unix time in seconds."""

    instance_id: str
    model: str
    backend: str
    before: str
    after: str
    reason: str
    at: float


class RequestFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a request that has ended, its stream closed. Times in seconds, counts in tokens.

    `queue_s` is the time it waited for a free slot. `endpoint` is the operation that was
    asked for (`chat`, `completions`, …); `ignored` names fields of the request that were reported, not honoured.
    """

    request_id: str
    model: str
    instance_id: str | None
    key: str | None
    status: int
    is_stream: bool
    is_cancelled: bool
    ttft_s: float | None
    duration_s: float
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    finish_reasons: tuple[str, ...]
    error_code: str | None
    reasoning_tokens: int = 0
    queue_s: float = 0.0
    endpoint: str = ""
    ignored: tuple[str, ...] = ()


@hookspec
def enginehouse_backends() -> Sequence[BackendType]:  # type: ignore[empty-body]  # a spec has no body
    """Backend types that this plugin offers."""


@hookspec
def enginehouse_devices() -> Sequence[Device]:  # type: ignore[empty-body]  # a spec has no body
    """Devices that this plugin can see on this host."""


@hookspec
def enginehouse_profiles() -> Sequence[Profile]:  # type: ignore[empty-body]  # a spec has no body
    """Profiles that this plugin offers; each has a name of its own."""


@hookspec(firstresult=True)
def enginehouse_select(request: GenerationRequest, candidates: Sequence[Candidate]) -> str | None:
    """Choose the `instance_id` that serves *request*, or None to leave it to others; the router is last."""


@hookspec
def enginehouse_instance_changed(change: InstanceChange) -> None:
    """Observe an instance's change of state."""


@hookspec
def enginehouse_request_finished(facts: RequestFacts) -> None:
    """Observe a request that has ended, after its stream is closed."""


@hookspec
def enginehouse_cli(group: object) -> None:
    """Add commands to *group*, the router's `click.Group`."""

"""Why the fleet does not serve a request.

EnginehouseError
├── RequestError
│   ├── ModelNotFound         no model of that name is configured
│   ├── WrongTask             the model is for something else
│   ├── InstanceNotFound      no instance of that name is here
│   ├── HostNotFound          no host of that name is in the file
│   ├── HostNotWoken          that host cannot be woken, or is there
│   └── RequestPoisonous      it was in flight when engines ended, again and again
└── FleetError                not now; `retry_after_s` says when to ask again
    ├── QueueFull             as many requests wait already as may
    ├── QueueTimeout          no slot came free in time
    ├── Draining              the router is going down
    ├── InstanceUnavailable   the model cannot be loaded, or has failed
    ├── ModelLoading          it was not loaded in time: it loads, wakes, or waits for memory
    └── GenerationTimeout     the engine took too long
        ├── FirstTokenTimeout before it began
        ├── IdleTimeout       between two events
        └── TotalTimeout      in all
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from typing import Final

from enginehouse_plugin.errors import EnginehouseError, RequestError

_COMPARED: Final = 100
"""Characters of a name that is not known for which a close one is looked for: that takes more than linear time."""


_WAYS: Final = {
    "chat": "POST /v1/chat/completions",
    "embed": "POST /v1/embeddings",
    "rerank": "POST /v1/rerank",
}
"""How a model is asked for its task, on this server's own profile."""


class ModelNotFound(RequestError):
    """No model is called *model*."""

    code = "model_not_found"

    def __init__(self, model: str, *, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(model[:_COMPARED], names, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        listed = ", ".join(f"'{name}'" for name in names[:20]) or "none"
        more = " and others (see /v1/models)" if len(names) > 20 else ""
        super().__init__(f"The model {model[:200]!r} does not exist here.{hint} Models: {listed}{more}.", param="model")
        self.model = model


class WrongTask(RequestError):
    """*model* is for *tasks*, and was asked for another one."""

    code = "wrong_task"

    def __init__(self, model: str, tasks: Collection[str], wanted: str) -> None:
        its = " and ".join(f"'{task}'" for task in sorted(tasks))
        ways = ", or ".join(_WAYS[task] for task in sorted(tasks) if task in _WAYS)
        ask = f" Ask it by {ways}." if ways else ""
        super().__init__(
            f"The model {model[:200]!r} has the task {its}, and this request needs one with the task '{wanted}'.{ask}",
            param="model",
        )
        self.model = model


class RequestPoisonous(RequestError):
    """Engines ended while the request was in flight, again and again; it is refused for *retry_after_s* seconds."""

    code = "request_poisonous"

    def __init__(self, *, retry_after_s: float) -> None:
        super().__init__(
            "The engine has died or hung more than once while it worked on this request, so it is refused for "
            f"{max(1.0, retry_after_s):.0f} s. Change the request, or report it to the operator of this server."
        )


class FleetError(EnginehouseError):
    """The fleet cannot serve the request now."""

    code = "model_unavailable"
    retryable = True


class QueueFull(FleetError):
    """*limit* requests wait already."""

    code = "queue_full"

    def __init__(self, model: str, *, limit: int, retry_after_s: float) -> None:
        super().__init__(
            f"The queue of '{model}' is full ({limit} requests wait). Try again in {retry_after_s:.0f} s.",
            retry_after_s=retry_after_s,
        )


class QueueTimeout(FleetError):
    """No slot came free within *waited_s* seconds."""

    code = "queue_timeout"

    def __init__(self, model: str, *, waited_s: float, retry_after_s: float) -> None:
        super().__init__(
            f"No slot of '{model}' came free within {waited_s:g} s. Try again in {retry_after_s:.0f} s.",
            retry_after_s=retry_after_s,
        )


class Draining(FleetError):
    """The router is going down: it takes no more requests, and with *is_cut* one that ran could not be finished."""

    code = "draining"

    def __init__(self, *, is_cut: bool = False, retry_after_s: float = 5.0) -> None:
        what = "could not finish this request in time" if is_cut else "takes no more requests"
        super().__init__(f"This server is going down and {what}.", retry_after_s=retry_after_s)


class InstanceUnavailable(FleetError):
    """No instance of *model* can serve; *reason* says why."""

    def __init__(self, model: str, *, reason: str, retry_after_s: float) -> None:
        super().__init__(f"The model '{model}' is not available: {reason}", retry_after_s=retry_after_s)


class ModelLoading(FleetError):
    """*model* was not loaded within *waited_s* seconds; *reason* says what it does."""

    code = "model_loading"

    def __init__(self, model: str, *, waited_s: float, reason: str, retry_after_s: float) -> None:
        super().__init__(
            f"The model '{model}' was not loaded within {waited_s:g} s: {reason}. Try again in {retry_after_s:.0f} s.",
            retry_after_s=retry_after_s,
        )


class GenerationTimeout(FleetError):
    """The engine took longer than *limit_s* seconds."""

    code = "timeout"
    retryable = False
    what = "The request took longer"

    def __init__(self, limit_s: float) -> None:
        super().__init__(f"{self.what} than {limit_s:g} s.")
        self.limit_s = limit_s


class FirstTokenTimeout(GenerationTimeout):
    """The engine did not begin in time (queue and loading included)."""

    what = "The model took longer to begin"


class IdleTimeout(GenerationTimeout):
    """The engine paused too long in mid-answer."""

    what = "The model paused longer"


class TotalTimeout(GenerationTimeout):
    """The request took too long in all."""


class InstanceNotFound(RequestError):
    """There is no instance of this name, or the model of this name has none."""

    code = "instance_not_found"

    def __init__(self, name: str, *, known: Iterable[str]) -> None:
        listed = ", ".join(list(known)[:20]) or "none"
        super().__init__(f"There is no instance of '{name[:200]}' on this host. There are: {listed}.", param="instance")


class HostNotFound(RequestError):
    """No other host of this name is in the file."""

    code = "host_not_found"

    def __init__(self, name: str, *, known: Iterable[str]) -> None:
        listed = ", ".join(list(known)[:20]) or "none"
        super().__init__(f"There is no host '{name[:200]}' in the file. There are: {listed}.", param="host")


class HostNotWoken(RequestError):
    """A host was to be woken, and no packet was sent; *reason* says why."""

    code = "host_not_woken"

    def __init__(self, name: str, *, reason: str) -> None:
        super().__init__(f"The host '{name}' is not woken: {reason}.", param="host")

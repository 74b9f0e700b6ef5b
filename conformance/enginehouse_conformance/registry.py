"""Checks: small async functions, one per rule, registered under the rule's id.

    @check("STOP1")
    async def ends_at_the_stop_string(ctx: Context) -> None:
        ...

A check that returns has passed. It ends otherwise by `ctx.require`, `ctx.unclear` and their like, or because
a request was refused that should not have been.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from .context import Context

CheckFunction = Callable[["Context"], Awaitable[None]]


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """A registered check. An `exclusive` one runs alone, because it loads the target or measures it."""

    rule: str
    function: CheckFunction
    exclusive: bool = False
    time_limit_s: float | None = None

    @property
    def name(self) -> str:
        """The function's name, in words."""
        return self.function.__name__.replace("_", " ")


_CHECKS: dict[str, Check] = {}


def check(
    rule: str, *, exclusive: bool = False, time_limit_s: float | None = None
) -> Callable[[CheckFunction], CheckFunction]:
    """Register the decorated function as the check of *rule*; *time_limit_s* is its least limit."""

    def register(function: CheckFunction) -> CheckFunction:
        if rule in _CHECKS:
            raise ValueError(f"{rule} has two checks: {_CHECKS[rule].name} and {function.__name__}")
        _CHECKS[rule] = Check(rule=rule, function=function, exclusive=exclusive, time_limit_s=time_limit_s)
        return function

    return register


def all_checks() -> dict[str, Check]:
    """All checks by rule id; imports every module of `checks` the first time."""
    package = importlib.import_module("enginehouse_conformance.checks")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return dict(_CHECKS)

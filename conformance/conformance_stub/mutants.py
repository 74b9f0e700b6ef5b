"""Mutants: the stub with one fault each, and the rules that must catch it, written down before the run.

@mutant(kills=("STOP1", "STOP2"), origin="mlx_lm.server: stop is never read")
class IgnoresStop(Behaviour):
    "Stop strings are ignored."

    def accept(self, request):
        return msgspec.structs.replace(request, stop=())
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from enginehouse_conformance.rules import RULES

from .behaviour import Behaviour
from .engine import STUB_FEATURES

_T = TypeVar("_T", bound=type[Behaviour])


class Mutant(msgspec.Struct, frozen=True, kw_only=True):
    """A faulty stub.

    `kills` are the rules that must fail on it; `may_kill` those that fail too, by chance or as a consequence
    ("STOP*" stands for a whole section, "@stream" for all rules about the parameter stream).
    `absent` are features that the target declares absent. `in_process` runs it as a backend too. `time_scale` is below
    one for a mutant that is caught by what never comes: rules need not wait long for that.
    """

    name: str
    fault: str
    behaviour: type[Behaviour]
    kills: frozenset[str]
    may_kill: frozenset[str]
    origin: str
    profile: str
    absent: frozenset[str]
    engine_lacks: frozenset[str]
    in_process: bool
    time_scale: float

    @property
    def engine_features(self) -> frozenset[str]:
        """What its engine offers."""
        return STUB_FEATURES - self.engine_lacks


MUTANTS: dict[str, Mutant] = {}


def mutant(
    *,
    kills: tuple[str, ...],
    may_kill: tuple[str, ...] = (),
    origin: str = "",
    profile: str = "openai",
    absent: tuple[str, ...] = (),
    engine_lacks: tuple[str, ...] = (),
    in_process: bool = False,
    time_scale: float = 1.0,
) -> Callable[[_T], _T]:
    """Register the decorated behaviour; its docstring says what the fault is."""

    def register(behaviour: _T) -> _T:
        name = behaviour.__name__
        if name in MUTANTS and MUTANTS[name].behaviour.__module__ != behaviour.__module__:
            raise ValueError(f"two mutants are called {name}")
        MUTANTS[name] = Mutant(
            name=name,
            fault=" ".join((behaviour.__doc__ or "").split()),
            behaviour=behaviour,
            kills=frozenset(kills),
            may_kill=frozenset(_rules(may_kill)),
            origin=origin,
            profile=profile,
            absent=frozenset(absent),
            engine_lacks=frozenset(engine_lacks),
            in_process=in_process,
            time_scale=time_scale,
        )
        return behaviour

    return register


def _rules(names: tuple[str, ...]) -> Iterator[str]:
    """The rules that *names* stand for."""
    for name in names:
        if name.endswith("*"):
            yield from (rule.id for rule in RULES.values() if rule.section == name[:-1])
        elif name.startswith("@"):
            yield from (rule.id for rule in RULES.values() if name[1:] in rule.parameters)
        else:
            yield name


def load_mutants(folder: Path) -> dict[str, Mutant]:
    """All mutants in the Python files of *folder*."""
    for path in sorted(folder.glob("*.py")):
        spec = importlib.util.spec_from_file_location(f"conformance_mutants_{path.stem}", path)
        if spec is None or spec.loader is None:
            raise ImportError(f"{path} is no module")
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    return dict(MUTANTS)

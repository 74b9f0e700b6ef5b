"""Plugins: loaded, checked, and called one by one, so that no fault in one reaches another.

pluggy keeps the hooks and their order; it would let one raising implementation stop the others, so it is not
asked to call them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Self, TypeVar

import msgspec
import pluggy

from enginehouse.telemetry import get_logger
from enginehouse_plugin import (
    API_VERSION,
    ENTRY_POINT_GROUP,
    Backend,
    BackendType,
    Candidate,
    Device,
    GenerationRequest,
    InstanceChange,
    ProbeReport,
    Profile,
    RequestFacts,
    hooks,
)

log = get_logger()
T = TypeVar("T", BackendType, Profile)

_PREFIX = "enginehouse_"
_VERSION_NAME = "enginehouse_api"
_SINCE_1 = (
    "what is for 1.x goes on after these changes: import processes, worker, HTTP client, text and grammar from "
    "enginehouse_kit (they were enginehouse_plugin.hosting); RequestRecord is RequestFacts, and the argument of "
    "enginehouse_request_finished is called facts; Started.prompt_tokens and the numbers of ContextTooLong may be "
    "None; a kind of device is any word in lower case; the router calls Instance.start, which relays your generate "
    f'unless you write your own; then set {_VERSION_NAME} = "{API_VERSION}"'
)


class LoadedPlugin(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin that takes part: where it came from, the hooks it implements, the backends it offers."""

    name: str
    distribution: str
    api: str
    hooks: tuple[str, ...]
    backends: tuple[str, ...] = ()


class QuarantinedPlugin(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin that was refused: why, what the router wanted, what the plugin offered."""

    name: str
    distribution: str
    reason: str
    wanted: str
    offered: str


class _Refused(Exception):
    """A plugin cannot take part."""

    def __init__(self, reason: str, *, wanted: str, offered: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wanted = wanted
        self.offered = offered


class Plugins:
    """All plugins of this process, behind one method per hook.

    *profiles* are the router's own; `profiles` has those that plugins offer beside them.
    """

    def __init__(self, profiles: Mapping[str, Profile] | None = None) -> None:
        self.backends: dict[str, BackendType] = {}
        self.profiles: dict[str, Profile] = dict(profiles or {})
        self.loaded: list[LoadedPlugin] = []
        self.quarantined: list[QuarantinedPlugin] = []
        self._manager = pluggy.PluginManager("enginehouse")
        self._manager.add_hookspecs(hooks)
        self._specs = tuple(name for name in vars(hooks) if name.startswith(_PREFIX))
        self._faults: set[tuple[str, str]] = set()
        self._find_observers()

    @classmethod
    def load(cls, points: Iterable[EntryPoint] | None = None, *, profiles: Mapping[str, Profile] | None = None) -> Self:
        """Load the plugins at *points* (those installed), in the order of their names."""
        plugins = cls(profiles)
        found = entry_points(group=ENTRY_POINT_GROUP) if points is None else points
        for point in sorted(found, key=lambda point: point.name):
            distribution = point.dist.name if point.dist else "?"
            try:
                plugin = point.load()
            except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever a plugin does on import is its own fault
                is_ours = isinstance(error, ImportError) and (error.name or "").startswith("enginehouse_plugin")
                refused = _Refused(
                    f"it cannot be imported: {type(error).__name__}: {error}",
                    wanted=_SINCE_1 if is_ours else "a module that imports without its engine",
                    offered=point.value,
                )
                plugins._quarantine(point.name, distribution, refused)
            else:
                plugins.add(plugin, point.name, distribution)
        return plugins

    def add(self, plugin: object, name: str, distribution: str = "?") -> None:
        """Take *plugin* in, or quarantine it."""
        try:
            api = _checked_version(plugin)
            self._register(plugin, name)
            backends = self._offered(plugin, "enginehouse_backends", BackendType, "backend", self.backends)
            profiles = self._offered(plugin, "enginehouse_profiles", Profile, "profile", self.profiles)
        except _Refused as refused:
            if self._manager.is_registered(plugin):
                self._manager.unregister(plugin)
            self._quarantine(name, distribution, refused)
            return
        self.backends.update(backends)
        self.profiles.update(profiles)
        implemented = tuple(caller.name for caller in self._manager.get_hookcallers(plugin) or ())
        self.loaded.append(
            LoadedPlugin(
                name=name,
                distribution=distribution,
                api=api,
                hooks=implemented,
                backends=tuple(backends),
            )
        )
        self._find_observers()

    # ---- one method per hook ----

    def devices(self) -> tuple[Device, ...]:
        """Devices that plugins see on this host; of two with one id the first counts."""
        found: dict[str, Device] = {}
        for device in self._collect("enginehouse_devices", Device):
            found.setdefault(device.id, device)
        return tuple(found.values())

    def select(self, request: GenerationRequest, candidates: Sequence[Candidate]) -> str | None:
        """The first instance id that a plugin chooses among *candidates*; None leaves it to the router."""
        for impl in self._selectors:
            chosen = self._call(impl, request=request, candidates=candidates)
            if chosen is None:
                continue
            if any(candidate.instance_id == chosen for candidate in candidates):
                return str(chosen)
            self._fault(impl, f"it chose {chosen!r}, which is no candidate")
        return None

    def instance_changed(self, change: InstanceChange) -> None:
        """Tell observers of an instance's change of state."""
        for impl in self._change_observers:
            self._call(impl, change=change)

    def request_finished(self, facts: RequestFacts) -> None:
        """Tell observers of a request that has ended."""
        for impl in self._request_observers:
            self._call(impl, facts=facts)

    def cli(self, group: object) -> None:
        """Let plugins add commands to *group*."""
        for impl in self._implementations("enginehouse_cli"):
            self._call(impl, group=group)

    @property
    def has_selectors(self) -> bool:
        """Whether a plugin wants to choose instances."""
        return bool(self._selectors)

    @property
    def has_request_observers(self) -> bool:
        """Whether a plugin wants the facts of requests."""
        return bool(self._request_observers)

    def refusals(self) -> dict[str, str]:
        """The reason for each plugin in quarantine, by its name."""
        return {plugin.name: f"{plugin.reason} (wanted: {plugin.wanted}; offered: {plugin.offered})"
                for plugin in self.quarantined}  # fmt: skip

    # ---- registering ----

    def _register(self, plugin: object, name: str) -> None:
        for attribute in dir(plugin):
            if not attribute.startswith(_PREFIX) or attribute == _VERSION_NAME:
                continue
            function = getattr(plugin, attribute)
            if not callable(function):
                continue
            if attribute not in self._specs:
                raise self._unknown_hook(attribute)
            if not hasattr(function, "enginehouse_impl"):
                raise _Refused(
                    f"'{attribute}' is not marked as a hook", wanted="@hookimpl above it", offered="a plain function"
                )
        try:
            if self._manager.register(plugin, name) is None:
                raise _Refused("its name is blocked", wanted="another name", offered=name)
            self._manager.check_pending()  # finds a misspelt name that was given as `specname`
        except ValueError as error:
            raise _Refused(str(error), wanted="one plugin of that name", offered=name) from error
        except pluggy.PluginValidationError as error:
            raise self._unfit(plugin, error) from error
        for caller in self._manager.get_hookcallers(plugin) or ():
            for impl in caller.get_hookimpls():
                if impl.plugin is plugin and (impl.hookwrapper or impl.wrapper):
                    raise _Refused(
                        f"'{caller.name}' is a wrapper", wanted="a plain hook", offered="a hook around the others"
                    )

    def _unknown_hook(self, name: str) -> _Refused:
        return _Refused(f"'{name}' is not a hook", wanted=", ".join(self._specs), offered=name)

    def _unfit(self, plugin: object, error: pluggy.PluginValidationError) -> _Refused:
        """Say what is wrong in our own words where it is an argument or a name, else in pluggy's."""
        for attribute in dir(plugin):
            mark = getattr(getattr(plugin, attribute), "enginehouse_impl", None)
            if mark is None:
                continue
            hook = mark["specname"] or attribute
            if hook not in self._specs:
                return self._unknown_hook(hook)
            wanted = _arguments(getattr(hooks, hook))
            offered = _arguments(getattr(plugin, attribute))
            if unknown := [name for name in offered if name not in wanted]:
                return _Refused(
                    f"'{hook}' has no argument '{unknown[0]}'",
                    wanted=f"{hook}({', '.join(wanted)}) or fewer of these",
                    offered=f"{hook}({', '.join(offered)})",
                )
        return _Refused(str(error).replace("\n", " "), wanted="hooks as specified", offered=type(plugin).__name__)

    def _offered(self, plugin: object, hook: str, kind: type[T], noun: str, taken: Mapping[str, T]) -> dict[str, T]:
        """Return what *plugin* offers by *hook*, by name; *taken* is what there is already."""
        found: dict[str, T] = {}
        for impl in self._implementations(hook):
            if impl.plugin is not plugin:
                continue
            try:
                offered = list(self._result(impl))
            except Exception as error:
                raise _Refused(
                    f"'{hook}' failed: {type(error).__name__}: {error}",
                    wanted=f"a list of {kind.__name__}",
                    offered="an exception",
                ) from error
            for item in offered:
                if not isinstance(item, kind):
                    raise _Refused(f"it offers what is no {noun}", wanted=kind.__name__, offered=type(item).__name__)
                if item.name in taken or item.name in found:
                    raise _Refused(f"the {noun} '{item.name}' is offered already",
                                   wanted="a name of its own", offered=item.name)  # fmt: skip
                found[item.name] = item
        return found

    def _quarantine(self, name: str, distribution: str, refused: _Refused) -> None:
        plugin = QuarantinedPlugin(
            name=name,
            distribution=distribution,
            reason=refused.reason,
            wanted=refused.wanted,
            offered=refused.offered,
        )
        self.quarantined.append(plugin)
        log.warning("plugin quarantined", plugin=name, distribution=distribution, reason=refused.reason,
                    wanted=refused.wanted, offered=refused.offered)  # fmt: skip

    # ---- calling ----

    def _implementations(self, hook: str) -> Sequence[pluggy.HookImpl]:
        """In the order in which they are called: the last registered first, as pluggy has it."""
        return tuple(reversed(getattr(self._manager.hook, hook).get_hookimpls()))

    def _find_observers(self) -> None:
        # Looked up once: these hooks are on the way of every request.
        self._selectors = self._implementations("enginehouse_select")
        self._change_observers = self._implementations("enginehouse_instance_changed")
        self._request_observers = self._implementations("enginehouse_request_finished")

    def _collect(self, hook: str, kind: type[Any]) -> Iterable[Any]:  # kind: the type in the hook's result
        for impl in self._implementations(hook):
            for item in self._call(impl) or ():
                if isinstance(item, kind):
                    yield item
                else:
                    self._fault(impl, f"it returned {type(item).__name__} instead of {kind.__name__}")

    @staticmethod
    def _result(impl: pluggy.HookImpl, **arguments: object) -> Any:  # each hook has its own result
        return impl.function(*(arguments[name] for name in impl.argnames))

    def _call(self, impl: pluggy.HookImpl, **arguments: object) -> Any:  # each hook has its own result
        try:
            return self._result(impl, **arguments)
        except Exception as error:  # noqa: BLE001  # an observer's fault is its own
            self._fault(impl, f"{type(error).__name__}: {error}")
            return None

    def _fault(self, impl: pluggy.HookImpl, problem: str) -> None:
        """Log a plugin's fault, once for each hook: a faulty observer is called for every request."""
        hook = impl.function.__name__
        if (impl.plugin_name, hook) not in self._faults:
            self._faults.add((impl.plugin_name, hook))
            log.error("plugin failed", plugin=impl.plugin_name, hook=hook, problem=problem)


def _checked_version(plugin: object) -> str:
    offered = getattr(plugin, _VERSION_NAME, None)
    wanted = f'{_VERSION_NAME} = "{API_VERSION}"'
    if offered is None:
        raise _Refused("it does not say for which API it was built", wanted=wanted, offered="nothing")
    try:
        major, minor = (int(part) for part in str(offered).split("."))
    except ValueError:
        raise _Refused("its API version cannot be read", wanted=wanted, offered=repr(offered)) from None
    own_major, own_minor = (int(part) for part in API_VERSION.split("."))
    if major != own_major or minor > own_minor:
        changes = f": {_SINCE_1}" if major == 1 else ""
        raise _Refused("it was built for another version of the API",
                       wanted=f"{own_major}.0 to {API_VERSION}{changes}", offered=str(offered))  # fmt: skip
    return str(offered)


def _arguments(function: Callable[..., object]) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)


async def probed(backend: Backend, python: str | None) -> ProbeReport:
    """What *backend* says of the interpreter *python*, or of its own choice.

    A plugin may be older than the parameter: without an interpreter it is called as ever.
    """
    return await (backend.probe() if python is None else backend.probe(python))

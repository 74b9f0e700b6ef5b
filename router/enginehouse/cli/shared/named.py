"""Models that are named on the command line instead of in a file: a configuration is made of them."""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
from click.core import ParameterSource

from enginehouse.cli.shared.engines import probe_all
from enginehouse.config import Config, PlacementConfig, absent_backends, read_house
from enginehouse.plugins import Plugins
from enginehouse.weights import Wanted, wanted
from enginehouse_plugin import DEVICE_KINDS, BackendType, Device, ProbeReport

F = TypeVar("F", bound=Callable[..., Any])  # click's decorators take any function

FORMS = "a GGUF file, a folder with safetensors, hub:ORG/REPO[@REVISION][:QUANT] or demo:NAME"


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """Models of the command line, and what its options say of each: as they were written."""

    models: tuple[str, ...]
    names: tuple[str, ...] = ()
    context: int | None = None
    backend: str | None = None
    device: str | None = None
    settings: tuple[str, ...] = ()

    @property
    def arguments(self) -> list[str]:
        """It again, as it is written behind `enginehouse serve`."""
        single = {"--context": self.context, "--backend": self.backend, "--device": self.device}
        pairs = [
            *single.items(),
            *(("--name", name) for name in self.names),
            *(("--set", one) for one in self.settings),
        ]
        return [*(f"{option}={value}" for option, value in pairs if value is not None), "--", *self.models]


def named_options(function: F) -> F:
    """Add the options that say how models named on the command line are served."""
    options = (
        click.option("--name", "names", multiple=True, help="Model ID; several for several models, in their order."),
        click.option("--context", type=click.IntRange(1), help="Tokens of prompt and answer together."),
        click.option("--backend", help="Backend; without it one that loads such weights and can run here."),
        click.option("--device", metavar="KIND", help="Kind of device: cuda, rocm, apple, vulkan, cpu."),
        click.option(
            "--set", "settings", multiple=True, metavar="OPTION=VALUE", help="Option of the backend; may be repeated."
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def check_named(ctx: click.Context, named: Named) -> None:
    """Refuse options for models that are named where none is, and models beside a configuration.

    Raises:
        click.UsageError: they do not go together.
    """
    options = {"--name": named.names, "--context": named.context, "--backend": named.backend}
    options |= {"--device": named.device, "--set": named.settings}
    if named.models:
        if ctx.get_parameter_source("config_file") is ParameterSource.COMMANDLINE:
            raise click.UsageError("Give models or --config, not both: write the models into the file.")
    elif alone := [option for option, value in options.items() if value]:
        raise click.UsageError(f"{alone[0]} is for a model that is named here: {FORMS}. A file says it by a key.")


def config_of(named: Named, plugins: Plugins, devices: Sequence[Device]) -> Config:
    """Make the configuration that *named* stands for.

    Raises:
        click.UsageError: the options contradict each other, or no backend serves such weights.
        LoadError, ConfigError: there are no such weights; an option cannot be used.
    """
    found = [wanted(model) for model in named.models]
    names = named.names or tuple(weights.name for weights in found)
    if len(names) != len(found):
        raise click.UsageError(f"There are {len(found)} models and {len(names)} names: give --name for each, or none.")
    if twice := {name for name in names if names.count(name) > 1}:
        raise click.UsageError(f"Two models would be called '{twice.pop()}': give --name for each.")
    options = dict(map(_setting, named.settings))
    models: dict[str, Any] = {}
    for name, weights in zip(names, found, strict=True):
        backend = named.backend or _backend_for(weights, plugins, devices, named.device)
        _check_format(plugins.backends.get(backend), weights)
        placement: dict[str, Any] = {"backend": backend, "source": weights.source}
        if named.device is not None:
            placement["requires"] = [named.device]
        if options:
            placement["options"] = options
        models[name] = {"placements": [placement]}
        if named.context is not None:
            models[name]["context_tokens"] = named.context
    return read_house({"models": models}, file=None, folder=Path.cwd())


def _check_format(backend: BackendType | None, weights: Wanted) -> None:
    if backend is not None and backend.formats and weights.format not in backend.formats:
        loads = " and ".join(backend.formats)
        raise click.UsageError(
            f"'{weights.source}' is {weights.format}, and the backend '{backend.name}' loads {loads}."
        )


def _setting(text: str) -> tuple[str, Any]:
    """Read `option=value`: a value of TOML, or else the text as it stands."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise click.UsageError(f"--set {text}: write OPTION=VALUE.")
    try:
        return name.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name.strip(), value


def _backend_for(weights: Wanted, plugins: Plugins, devices: Sequence[Device], device: str | None) -> str:
    """The backend that loads *weights* on the best device of this host, of those whose engine is here."""
    kinds = [device] if device else sorted({one.kind for one in devices}, key=_rank)
    able = [
        backend
        for backend in plugins.backends.values()
        if weights.format in backend.formats and (set(backend.kinds) & set(kinds) or not backend.kinds)
    ]
    able.sort(key=lambda backend: min((kinds.index(kind) for kind in backend.kinds if kind in kinds), default=-1))
    if len(able) == 1:
        return able[0].name
    reports = asyncio.run(probe_all([(backend, None) for backend in able]))
    for backend, report in zip(able, reports, strict=True):
        if report.available:
            return backend.name
    ways = [f"{backend.name}: {_lack(report)}" for backend, report in zip(able, reports, strict=True)]
    ways += [
        f"{absent.engine}: pip install '{absent.requirement}'"
        for absent in absent_backends(plugins.backends).values()
        if weights.format in absent.formats and set(absent.kinds) & set(kinds)
    ]
    ways += [f"the plugin '{name}' was refused: {reason}" for name, reason in plugins.refusals().items()]
    on = f" on {device}" if device else " here"
    raise click.UsageError("\n  ".join([f"No engine that loads {weights.format} weights can run{on}.", *ways]))


def _lack(report: ProbeReport) -> str:
    """What *report* misses, and how to get it, which some say in the same words."""
    said = report.detail.rstrip(".")
    return said if report.fix is None or report.fix.rstrip(".") in said else f"{said}. {report.fix}"


def _rank(kind: str) -> int:
    return DEVICE_KINDS.index(kind) if kind in DEVICE_KINDS else len(DEVICE_KINDS)


# ---- the file that a configuration could stand in ----


def as_toml(
    config: Config, backends: Mapping[str, BackendType], server: Mapping[str, Any], log: Mapping[str, Any]
) -> str:
    """Write *config*, bound to *backends*, as a file that serves the same from any folder, with *server* and *log*."""
    lines: list[str] = []
    for section, values in (("server", server), ("log", log)):
        if values:
            lines += [f"[{section}]", *_pairs(values), ""]
    for name, model in config.models.items():
        lines += [
            f"[models.{_value(name)}]",
            *_pairs({"context_tokens": model.context_tokens} if model.context_tokens else {}),
        ]
        for placement in model.placements:
            lines += ["", f"[[models.{_value(name)}.placements]]", *_pairs(_placement(placement, backends)), ""]
    return "\n".join(lines).rstrip() + "\n"


def _placement(placement: PlacementConfig, backends: Mapping[str, BackendType]) -> dict[str, Any]:
    written: dict[str, Any] = {"backend": placement.backend, "source": placement.source}
    if placement.requires:
        written["requires"] = placement.requires
    backend = backends[placement.backend]
    usual = msgspec.structs.asdict(backend.options())
    said = msgspec.structs.asdict(placement.options)
    if options := {name: value for name, value in said.items() if value != usual[name]}:
        written["options"] = options
    return written


def _pairs(values: Mapping[str, Any]) -> list[str]:
    return [f"{name} = {_value(value)}" for name, value in values.items()]


def _value(value: object) -> str:
    """Write *value* as TOML does; text as JSON writes it, which is text in TOML too."""
    if isinstance(value, Mapping):
        return f"{{ {', '.join(_pairs(value))} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return msgspec.json.encode(value).decode()

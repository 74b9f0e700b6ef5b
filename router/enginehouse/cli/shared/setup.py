"""What most commands begin with: the configuration, the plugins, the devices of this host."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import click
import msgspec

from enginehouse.config import Config, bind, default_config, load_config
from enginehouse.dialects.profiles import built_in, chosen
from enginehouse.fleet.fitting import place_fitting
from enginehouse.fleet.placement import Decision, place
from enginehouse.hardware import devices as hardware_devices
from enginehouse.hardware import merged
from enginehouse.plugins import Plugins
from enginehouse.telemetry import configure_logging
from enginehouse.weights import LocalSource, locate, parse, resolve
from enginehouse_plugin import Device

F = TypeVar("F", bound=Callable[..., Any])  # click's decorators take any function

config_option = click.option(
    "--config",
    "-c",
    "config_file",
    metavar="FILE",
    envvar="ENGINEHOUSE_CONFIG",
    show_envvar=True,
    help="Configuration in TOML; without one, the embedded model.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


class Setup(msgspec.Struct, frozen=True):
    """A configuration bound to the plugins of this host, and where each model is placed."""

    config: Config
    plugins: Plugins
    devices: tuple[Device, ...]
    decisions: dict[str, Decision]

    def decision(self, model: str) -> Decision:
        """Where *model* is placed.

        Raises:
            click.UsageError: the configuration has no such model.
        """
        if model not in self.decisions:
            known = ", ".join(self.decisions)
            raise click.UsageError(f"No model '{model}' is configured. There are: {known}.")
        return self.decisions[model]


def load_plugins() -> Plugins:
    """All plugins of this environment; what they log on the way goes to standard error."""
    configure_logging("console", "error")  # quarantine is told by the commands that show plugins
    return Plugins.load(profiles=built_in())


def read_config(config_file: str | None) -> Config:
    """The configuration at *config_file*, or the built-in one."""
    return load_config(config_file) if config_file else default_config()


def set_up(config_file: str | None, *, devices: tuple[Device, ...] | None = None, is_weighed: bool = True) -> Setup:
    """Read, bind and place on *devices* (none given: those of this host).

    *is_weighed*: ask backends whether placements fit whose weights are here, which takes a moment for each.

    Raises:
        ConfigError: the configuration cannot be used.
    """
    config = read_config(config_file)
    plugins = load_plugins()
    config = bind(config, plugins.backends, plugins.refusals())
    chosen(config, plugins.profiles)
    devices = host_devices(plugins) if devices is None else devices
    if is_weighed:
        decisions = asyncio.run(_place_fitting(config, plugins, devices))
    else:
        decisions = {name: place(model.placements, devices, plugins.backends) for name, model in config.models.items()}
    return Setup(config, plugins, devices, decisions)


async def _place_fitting(config: Config, plugins: Plugins, devices: tuple[Device, ...]) -> dict[str, Decision]:
    async def find_weights(source: str) -> str | None:
        path = locate(source)
        if path is None and isinstance(parse(source), LocalSource):
            path = resolve(source)  # which says what is wrong: nothing will fetch it
        return None if path is None else str(path)

    return {
        name: (await place_fitting(name, model, devices, plugins.backends, find_weights)).explained
        for name, model in config.models.items()
    }


def host_devices(plugins: Plugins) -> tuple[Device, ...]:
    """Devices of this host that the router or a plugin sees."""
    return merged(hardware_devices(), plugins.devices())

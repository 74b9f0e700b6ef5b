"""What most commands begin with: the configuration, the plugins, the devices of this host."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import click
import msgspec

from enginehouse.cli.shared.named import Named, config_of
from enginehouse.config import Config, bind, default_config, load_config
from enginehouse.dialects.mounts import mounts
from enginehouse.dialects.profiles import built_in
from enginehouse.fleet import DeviceBudget, InstancePlan, ModelPlan, Planner, budgets, find_weights, others_on
from enginehouse.hardware import devices as hardware_devices
from enginehouse.hardware import merged
from enginehouse.plugins import Plugins
from enginehouse.telemetry import configure_logging
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
    """A configuration bound to the plugins of this host, and the plan of each model."""

    config: Config
    plugins: Plugins
    devices: tuple[Device, ...]
    plans: dict[str, ModelPlan]

    def plan(self, model: str) -> ModelPlan:
        """The plan of *model*.

        Raises:
            click.UsageError: the configuration has no such model.
        """
        if model not in self.plans:
            known = ", ".join(self.plans)
            raise click.UsageError(f"No model '{model}' is configured. There are: {known}.")
        return self.plans[model]

    @property
    def budgets(self) -> tuple[DeviceBudget, ...]:
        """The memory of each device, of which nothing is held by instances, with what is used of it by anybody."""
        used = {one.id: one.memory_bytes - one.free_bytes for one in self.devices if one.free_bytes is not None}
        return budgets(self.devices, self.config.budget, others_on(self.devices, used, ()), ())

    def instance(self, model: str) -> InstancePlan | None:
        """The decision for the instance that this host would load of *model*; None: it has no place here.

        Raises:
            click.UsageError: the configuration has no such model.
        """
        return next(iter(self.plan(model).instances), None)


def load_plugins() -> Plugins:
    """All plugins of this environment; what they log on the way goes to standard error."""
    configure_logging("console", "error")  # quarantine is told by the commands that show plugins
    return Plugins.load(profiles=built_in())


def read_config(config_file: str | None) -> Config:
    """The configuration at *config_file*, or the built-in one."""
    return load_config(config_file) if config_file else default_config()


def read_checked(config_file: str | None, plugins: Plugins) -> Config:
    """The configuration at *config_file*, or the built-in one, bound to *plugins*.

    Raises:
        ConfigError: it cannot be used.
    """
    config = bind(read_config(config_file), plugins.backends, plugins.refusals())
    mounts(config, plugins.profiles)
    return config


def set_up(
    config_file: str | None,
    *,
    named: Named | None = None,
    devices: tuple[Device, ...] | None = None,
    is_weighed: bool = True,
) -> Setup:
    """Read, bind and plan for *devices* (none given: those of this host).

    *named* are models that stand in no file. *is_weighed*: ask backends whether placements fit whose weights are here,
    which takes a moment for each.

    Raises:
        ConfigError: the configuration cannot be used.
    """
    plugins = load_plugins()
    devices = host_devices(plugins) if devices is None else devices
    config = config_of(named, plugins, devices) if named else read_config(config_file)
    config = bind(config, plugins.backends, plugins.refusals())
    mounts(config, plugins.profiles)
    planner = Planner(config.models, devices, plugins.backends, config.budget)
    if is_weighed:
        asyncio.run(_weigh(planner))
    return Setup(config, plugins, devices, planner.plans)


async def _weigh(planner: Planner) -> None:
    async def find(planned: InstancePlan) -> str | None:
        return find_weights(planned.backend, planned.placement.source)

    for model in planner.plans:
        await planner.settle(model, find)


def host_devices(plugins: Plugins) -> tuple[Device, ...]:
    """Devices of this host that the router or a plugin sees."""
    return merged(hardware_devices(), plugins.devices())

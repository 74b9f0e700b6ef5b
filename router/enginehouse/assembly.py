"""Builds the house: the one place that knows every room."""

from __future__ import annotations

from collections.abc import Sequence

from enginehouse import hardware
from enginehouse.accounts import Ledger, SQLiteStore
from enginehouse.certificates import Certificates
from enginehouse.config import Config
from enginehouse.fleet import Deadlines, Fleet
from enginehouse.http.app import App, create_app
from enginehouse.http.layers import Layer
from enginehouse.http.server import listen
from enginehouse.http.server import serve as serve_on
from enginehouse.live import Live
from enginehouse.plugins import Plugins
from enginehouse.service import Service
from enginehouse_plugin import Device


class House:
    """A router, whole: its rooms, and an end to what outlives the server."""

    def __init__(self, live: Live, fleet: Fleet, service: Service, app: App, ledger: Ledger | None) -> None:
        self.live = live
        self.fleet = fleet
        self.service = service
        self.app = app
        self._ledger = ledger

    def close(self) -> None:
        """Write the usage that waits. Call it once, when nothing is served any more; it blocks."""
        if self._ledger is not None:
            self._ledger.close()


def build(
    config: Config, plugins: Plugins, *, devices: Sequence[Device] | None = None, layers: Sequence[Layer] = ()
) -> House:
    """Build the house that *config*, bound to *plugins*, describes, on *devices* (None: those of this host).

    Nothing is loaded before the application's lifespan begins.

    Raises:
        ConfigError: usage cannot be kept where the configuration says.
    """
    live = Live(config)
    fleet = Fleet(
        config,
        plugins.backends,
        hardware.merged(hardware.devices(), plugins.devices()) if devices is None else devices,
        on_change=plugins.instance_changed,
        select=plugins.select if plugins.has_selectors else None,
        certificates=Certificates.of(config),
    )
    ledger = Ledger(SQLiteStore(config.usage.path)) if config.usage.path else None
    service = Service(plugins, fleet, ledger=ledger)
    app = create_app(live, service, layers=layers)

    def set_deadlines(config: Config) -> None:
        deadlines = Deadlines.of(config.server)
        for model in fleet.models.values():
            model.deadlines = deadlines

    def describe(config: Config) -> None:
        for name, model in fleet.models.items():
            model.config = config.models[name]

    live.observe(("models.*.defaults", "models.*.description", "models.*.owned_by"), describe)
    live.observe(("server.first_token_timeout_s", "server.total_timeout_s"), set_deadlines)
    return House(live, fleet, service, app, ledger)


def serve(config: Config, plugins: Plugins) -> None:
    """Build the house and serve it until a signal ends it; returns when everything has ended.

    Raises:
        ConfigError: the address cannot be listened on, or something of the configuration cannot be used.
    """
    with listen(config.server.host, config.server.port) as listener:
        house = build(config, plugins)
        try:
            serve_on(listener, house.app, house.fleet, config)
        finally:
            house.close()

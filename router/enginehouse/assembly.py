"""Builds the house: the one place that knows every room."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from enginehouse import hardware
from enginehouse.accounts import Credits, KeyRing, Ledger, Limiter, StoreError, open_store
from enginehouse.accounts.meters import DAY_S
from enginehouse.certificates import Certificates, check_fingerprints
from enginehouse.cluster.cluster import Cluster
from enginehouse.config import Config, ConfigError, Trust, as_config_error, export_settings
from enginehouse.dialects.mounts import mounts
from enginehouse.dialects.profiles import defaults_of
from enginehouse.fleet import Fleet, Listener, disk_of, fetch_in_thread
from enginehouse.http.app import App, create_app
from enginehouse.http.layers import Layer
from enginehouse.http.server import listen
from enginehouse.http.server import serve as serve_on
from enginehouse.live import Live
from enginehouse.plugins import Plugins
from enginehouse.service import PROBES, Service
from enginehouse.telemetry import Export, TelemetryError, get_logger, open_export
from enginehouse_plugin import BackendType, Device, OnProgress

log = get_logger()


class House:
    """A router, whole: its rooms, and an end to what outlives the server."""

    def __init__(
        self, live: Live, fleet: Fleet, service: Service, app: App, ledger: Ledger | None, export: Export | None
    ) -> None:
        self.live = live
        self.fleet = fleet
        self.service = service
        self.app = app
        self._ledger = ledger
        self._export = export

    def close(self) -> None:
        """Write what waits to be accounted for, send what is to be told. Call it once, at the end; it blocks."""
        self.service.settle()
        if self._ledger is not None:
            self._ledger.close()
        if self._export is not None:
            self._export.close()


def build(
    config: Config,
    plugins: Plugins,
    *,
    devices: Sequence[Device] | None = None,
    layers: Sequence[Layer] = (),
    read: Callable[[], Config] | None = None,
) -> House:
    """Build the house that *config*, bound to *plugins*, describes, on *devices* (None: those of this host).

    Nothing is loaded before the application's lifespan begins. *read* reads the configuration anew for a reload.

    Raises:
        ConfigError: usage cannot be kept where the configuration says, fingerprints cannot be taken,
            or nothing can be exported.
    """
    check_fingerprints(config)
    live = Live(config, read)
    live.check(check_fingerprints)
    accounted: list[Service] = []

    def on_probe(model: str, instance: str, prompt_tokens: int, completion_tokens: int) -> None:
        for service in accounted:
            service.probed(model, instance, prompt_tokens, completion_tokens)

    def survey() -> tuple[Device, ...]:
        return hardware.merged(hardware.devices(), plugins.devices())

    async def fetch(backend: BackendType, source: str, on_progress: OnProgress) -> str | None:
        return await fetch_in_thread(backend, source, on_progress, disk_of(live.config))

    cluster = _cluster(live, plugins)
    if cluster is not None:
        devices, survey = (), cluster.survey
    fleet = Fleet(
        config,
        plugins.backends if cluster is None else cluster.backends,
        survey() if devices is None else devices,
        survey=survey if devices is None or cluster is not None else None,
        is_cluster=cluster is not None,
        on_change=plugins.instance_changed,
        select=plugins.select if plugins.has_selectors else None,
        certificates=Certificates.of(config),
        profiles=_defaults(config, plugins),
        fetch=fetch,
        on_probe=on_probe,
    )
    if cluster is not None:
        cluster.on_change = partial(_follow, fleet, cluster)
        fleet.beside.append(cluster)
    live.observe(("weights.disk",))
    limiter = Limiter()
    limiter.set_models(config.models)
    keys = KeyRing(config.keys, is_closed=config.accounts.keys, limiter=limiter)
    credit = Credits(are_all=config.accounts.credits == "all")
    credit.set_prices(config.models)
    ledger = _ledger(config, keys, limiter, credit)
    export = _export(config)
    service = Service(plugins, fleet, ledger=ledger, limiter=limiter, credit=credit, export=export)
    accounted.append(service)
    live.observe(("models",), lambda config: limiter.set_models(config.models))
    live.observe(("models",), lambda config: credit.set_prices(config.models))
    times = [f"server.{name}_timeout_s" for name in ("first_token", "idle", "total", "try", "hang")]
    tries = ("server.retry_budget", "server.breaker_failures", "server.breaker_open_s")
    # Before the application, which asks the fleet for the models that it has routes to.
    followed = ("models", "trust", "fingerprint", "watch", "mounts", "budget", *times, *tries)
    live.observe(followed, lambda config: fleet.follow(config, _defaults(config, plugins)))
    live.reread(fleet.compare)
    app = create_app(live, service, keys, layers=layers)
    return House(live, fleet, service, app, ledger, export)


def _cluster(live: Live, plugins: Plugins) -> Cluster | None:
    if live.config.cluster is None:
        return None

    def trust(model: str) -> Trust:
        config = live.config
        return config.trust_in(config.models[model]) if model in config.models else config.trust

    return Cluster(live.config.cluster, plugins.backends, trust)


def _follow(fleet: Fleet, cluster: Cluster) -> None:
    fleet.follow_nodes(cluster.devices, cluster.lacking)


def _defaults(config: Config, plugins: Plugins) -> dict[str, dict[str, Any]]:
    """The defaults of the profiles that *config* mounts, by their labels."""
    return {mount.label: defaults_of(mount.profile) for mount in mounts(config, plugins.profiles)}


def _export(config: Config) -> Export | None:
    """What sends traces and metrics where *config* and the environment say."""
    try:
        return open_export(export_settings(config))
    except TelemetryError as error:
        raise as_config_error(error, config) from error


def _ledger(config: Config, keys: KeyRing, limiter: Limiter, credit: Credits) -> Ledger | None:
    """What keeps usage where *config* says; *keys*, *limiter* and *credit* are told what is there for them."""
    store = open_store(config)
    if store is None:
        return None
    now = time.time()
    try:
        if config.accounts.keys:
            keys.follow(store.changed_keys(0))
        credit.learn(store.known_credits(0))
        if not store.is_shared:  # where it is, what others had is counted there
            had = ((key, model, now - at, tokens) for key, model, at, tokens in store.had(now - DAY_S))
            limiter.remember(one for one in had if one[0] != PROBES)
    except StoreError as error:
        store.close()
        raise ConfigError(f"accounts cannot be read: {error}.", file=config.file, where="accounts.url") from error
    return Ledger(
        store,
        keys=keys if config.accounts.keys else None,
        limiter=limiter,
        credit=credit,
        refuses=config.accounts.on_store_failure == "refuse",
    )


def serve(config: Config, plugins: Plugins, read: Callable[[], Config] | None = None) -> None:
    """Build the house and serve it until a signal ends it; returns when everything has ended. *read*: see `build`.

    Raises:
        ConfigError: the address cannot be listened on, or something of the configuration cannot be used.
    """
    with listen(config.server.host, config.server.port) as listener:
        house = build(config, plugins, read=read)
        host, port = listener.getsockname()[:2]
        house.fleet.hosts.mdns.listener = Listener(host, port, "https" if config.server.tls_cert else "http")
        try:
            serve_on(listener, house.app, house.fleet, house.live)
        finally:
            house.close()
        log.info("stopped")

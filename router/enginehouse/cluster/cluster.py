"""A cluster as the fleet sees it: devices of all its nodes, and backends that load on them.

The engine of an instance runs behind a small Enginehouse on its node, which serves that instance alone; requests go
there from this router by HTTP, with the `upstream` backend, as to other hosts.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from enginehouse.config import ClusterConfig, Trust
from enginehouse.telemetry import get_logger
from enginehouse_plugin import (
    Backend,
    BackendType,
    Device,
    ExitReport,
    Fit,
    Instance,
    LoadProgress,
    OnProgress,
    Placement,
    ProbeReport,
)
from enginehouse_plugin.errors import LoadFailed

from .link import Link, device_on, is_usable
from .messages import Spec, engine_key
from .tables import table_of

UPSTREAM: Final = "upstream"

log = get_logger()


class Cluster:
    """The cluster of *config*, for a router with *backends*; *trust* says what counts as a feature of a model.

    `backends` are to be used in their place. `on_change` is called when devices have come or gone, or a node has got an
    engine.
    """

    def __init__(
        self, config: ClusterConfig, backends: Mapping[str, BackendType], trust: Callable[[str], Trust]
    ) -> None:
        self.link = Link(config, self._changed)
        self.trust = trust
        self.upstream = backends.get(UPSTREAM)
        self.on_change: Callable[[], None] = _nothing
        self.devices: tuple[Device, ...] = ()
        self.lacking: dict[str, dict[str, str]] = {}
        self.backends = {name: self._wrapped(kind) if kind.kinds else kind for name, kind in backends.items()}
        self._key_folder: tempfile.TemporaryDirectory[str] | None = None
        if self.upstream is None:
            log.error("the cluster cannot be used", reason="install enginehouse-upstream, by which requests go there")

    def start(self) -> None:
        """Begin to ask for nodes."""
        self.link.start()

    async def close(self) -> None:
        """Ask no more. Engines that this router wanted end, unless another one wants them."""
        await self.link.close()
        if self._key_folder is not None:
            self._key_folder.cleanup()

    def survey(self) -> tuple[Device, ...]:
        """The devices of all nodes, with what is free of them as these told last."""
        return tuple(
            device_on(node.name, device)
            for node in sorted(self.link.nodes.values(), key=lambda node: node.name)
            if node.told is not None and is_usable(node) is None
            for device in node.told.devices
        )

    def key_file(self) -> str:
        """A file with the key for engines.

        Raises:
            LoadFailed: the cluster's token cannot be read.
        """
        if self._key_folder is None:
            try:
                token = self.link.token.read_text("utf-8")
            except OSError as error:
                raise LoadFailed(f"The cluster's token cannot be read: {error}.") from error
            self._key_folder = tempfile.TemporaryDirectory(prefix="enginehouse-cluster-")
            file = Path(self._key_folder.name) / "key"
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600), "w") as writing:
                writing.write(engine_key(token))
        return str(Path(self._key_folder.name) / "key")

    def _changed(self) -> None:
        devices = self.survey()
        lacking: dict[str, dict[str, str]] = {}
        for node in self.link.nodes.values():
            if node.told is not None:
                there = node.told.backends
                lacking[node.name] = {
                    name: there[name].problem or "" if name in there else f"no plugin offers '{name}' there"
                    for name, kind in self.backends.items()
                    if kind.kinds and (name not in there or there[name].problem)
                }
        if lacking != self.lacking or _without_use(devices) != _without_use(self.devices):
            self.devices, self.lacking = devices, lacking
            self.on_change()

    def _wrapped(self, kind: BackendType) -> BackendType:
        # Weights are found on the node, not here.
        return msgspec.structs.replace(kind, create=lambda: OnNodes(self, kind), needs_weights=False)


class OnNodes(Backend):
    """Loads what *kind* does, on nodes of *cluster*."""

    def __init__(self, cluster: Cluster, kind: BackendType) -> None:
        self._cluster = cluster
        self._kind = kind

    async def probe(self, python: str | None = None) -> ProbeReport:  # noqa: ARG002  # the contract's
        """Say which version of the engine nodes have."""
        told = [node.told.backends.get(self._kind.name) for node in self._cluster.link.nodes.values() if node.told]
        there = [one for one in told if one is not None and one.problem is None]
        return ProbeReport(
            available=bool(there),
            engine=self._kind.name,
            engine_version=there[0].version if there else None,
            detail=f"on {len(there)} nodes of the cluster",
        )

    async def fit(self, placement: Placement, devices: tuple[Device, ...]) -> Fit:
        """See `Backend.fit`: asked of the node that has *devices*."""
        node = node_of(devices[0])
        found = await self._cluster.link.fit(node, self._spec(placement, devices))
        return Fit(footprint_bytes={f"{node}/{device}": n_bytes for device, n_bytes in found.items()})

    async def load(self, placement: Placement, devices: tuple[Device, ...], progress: OnProgress) -> Instance:
        """See `Backend.load`: the engine is started on the node that has *devices*, and asked from here."""
        cluster, link = self._cluster, self._cluster.link
        if cluster.upstream is None:
            raise LoadFailed("Install enginehouse-upstream, by which requests go to nodes.", retryable=False)
        node = node_of(devices[0])
        progress(LoadProgress(stage=f"starting on '{node}'"))
        key, engine = await link.run(node, self._spec(placement, devices))
        try:
            options = {
                "server": "enginehouse",
                "max_connections": engine.capacity or 1,
                "connect_timeout_s": 2.0,
                "probe_timeout_s": 5.0,
                "health_interval_s": 5.0,
                "identity_request": False,
                "from_host": "cluster",
                "key_file": cluster.key_file(),
            }
            asked = msgspec.structs.replace(
                placement,
                backend=UPSTREAM,
                source=engine.url,
                python=None,
                options=msgspec.convert(options, cluster.upstream.options),
            )
            instance = await cluster.upstream.create().load(asked, (), progress)
        except BaseException:
            link.forget(node, key)
            raise
        return _ending_with(instance, link, node, key)

    def _spec(self, placement: Placement, devices: tuple[Device, ...]) -> Spec:
        node = node_of(devices[0])
        return Spec(
            model=placement.model,
            table=table_of(placement, devices[0].kind, len(devices)),
            devices=tuple(device.id.removeprefix(f"{node}/") for device in devices),
            trust=self._cluster.trust(placement.model),
        )


def _ending_with(instance: Instance, link: Link, node: str, key: str) -> Instance:
    """*instance*, which ends with the engine *key* of *node*, and which that ends with."""
    end_client = instance.unload

    async def unload() -> None:
        await end_client()
        await link.stop(node, key)

    async def wait_closed() -> ExitReport:
        ended = await link.wait_ended(node, key)
        return ExitReport(is_expected=False, reason=ended.reason, last_words=ended.last_words)

    # Not wrapped: what an instance can do is seen by its methods.
    instance.unload = unload  # type: ignore[method-assign]
    instance.wait_closed = wait_closed  # type: ignore[method-assign]
    return instance


def node_of(device: Device) -> str:
    """The node that has *device*."""
    return device.id.partition("/")[0]


def _without_use(devices: tuple[Device, ...]) -> tuple[Device, ...]:
    return tuple(msgspec.structs.replace(device, free_bytes=None) for device in devices)


def _nothing() -> None:
    """Nobody listens yet."""

"""Comparing an instance with the certificates that are stored."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from enginehouse.config import Config
from enginehouse.telemetry import get_logger
from enginehouse_plugin import BackendType, Device, Placement
from enginehouse_plugin.errors import EnginehouseError

from .digests import Digests
from .files import data_folder
from .folder import CertificateFolder, default_folder
from .key import Key, engine_of, key_of
from .standing import NO_STANDING, Standing, standing_of

log = get_logger()


class NotIdentified(EnginehouseError):
    """What stands behind a placement cannot be told now."""


class _Cancelled(Exception):
    """Nobody waits for the key any more."""


class Certificates:
    """The certificates in *folder*, and the keys of what is loaded here."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = CertificateFolder(folder or default_folder())

    @classmethod
    def of(cls, config: Config) -> Certificates:
        """Those of *config*."""
        return cls(Path(config.certificates.path) if config.certificates.path else None)

    async def key(self, kind: BackendType, placement: Placement, devices: tuple[Device, ...]) -> Key:
        """The key of what *kind* loads for *placement* on *devices*; may read all of the weights, or ask a server.

        Raises:
            OSError: the weights cannot be read.
            NotIdentified: a server that somebody else runs does not say what it is.
        """
        engine = await engine_of(kind, placement.python)
        try:
            identity = await kind.create().identity(placement)
        except EnginehouseError as error:
            raise NotIdentified(error.message) from error
        is_cancelled = threading.Event()

        def on_bytes(_: int) -> None:
            if is_cancelled.is_set():
                raise _Cancelled

        def work() -> Key:
            digests = Digests(data_folder() / "digests.json")
            key = key_of(kind, placement, devices, engine, digests, on_bytes, identity)
            digests.remember()
            return key

        try:
            return await asyncio.to_thread(work)
        except asyncio.CancelledError:
            is_cancelled.set()
            raise

    async def assess(
        self,
        kind: BackendType,
        placement: Placement,
        devices: tuple[Device, ...],
        before: Standing | None = None,
    ) -> Standing:
        """How the instance stands. Never raises: what cannot be told is not proven, but where a server is away now,
        things stand as *before*.
        """
        try:
            certificates, unreadable = await asyncio.to_thread(self.folder.read)
            if not certificates and not unreadable:
                return NO_STANDING
            key = await self.key(kind, placement, devices)
        except Exception as error:  # noqa: BLE001  # a plugin's probe may raise anything, and must not stop the load
            if isinstance(error, NotIdentified) and before is not None:
                return before
            log.warning("certificate cannot be compared", model=placement.model, problem=str(error))
            return Standing(state="none", reason=f"it cannot be compared with its certificate: {error}")
        return standing_of(key, placement.model, certificates, unreadable)

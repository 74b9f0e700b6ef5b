"""How an instance stands to its certificate."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from enginehouse.certificates import NO_STANDING, Certificates, Standing
from enginehouse.config import ModelConfig, Trust
from enginehouse.telemetry import get_logger
from enginehouse_plugin import Placement

from .identity import Identity
from .plan import InstancePlan

AGAIN_S = 300.0
"""Between two looks at a server that somebody else runs."""

log = get_logger()


async def standing_of(
    planned: InstancePlan,
    placement: Placement,
    certificates: Certificates | None,
    trust: Trust,
    before: Standing | None,
    identity: Identity,
) -> Standing:
    """Compare what was loaded as *planned* for *placement*, and its *identity*, with its certificate, and log what is
    new since *before*.
    """
    standing = NO_STANDING
    if certificates is not None:
        standing = await certificates.assess(planned.backend, placement, planned.devices, before)
    standing = await identity.certified(standing, certificates)
    if before is not None and (standing.state, standing.reason) == (before.state, before.reason):
        return standing
    if standing.state == "current":
        log.info("instance certified", instance=planned.id, model=planned.model, proven=len(standing.proven))
    elif standing.state != "none" or trust == "proven":
        log.warning("instance not certified", instance=planned.id, model=planned.model, reason=standing.reason)
    return standing


class Judge:
    """What *certificates* prove of placements before they load; *trust_in* tells what is trusted of a model."""

    def __init__(self, certificates: Certificates, trust_in: Callable[[str], Trust]) -> None:
        self._certificates = certificates
        self._trust_in = trust_in

    async def certified(self, model: str, config: ModelConfig) -> frozenset[int]:
        """The placements of *model* of which there is a certificate, current or not; none where all are trusted."""
        if len(config.placements) < 2 or self._trust_in(model) != "proven":
            return frozenset()
        found, _ = await asyncio.to_thread(self._certificates.folder.read)
        known = {(one.key.backend, one.source) for one in found}
        return frozenset(at for at, one in enumerate(config.placements) if (one.backend, one.source) in known)

    async def lacks(self, planned: InstancePlan, path: str | None) -> str | None:
        """Why nothing is proven of what is *planned* with its weights at *path*; None: its certificate is current."""
        standing = await self._certificates.assess(planned.backend, planned.for_backend(path), planned.devices)
        return None if standing.state == "current" else standing.reason


async def assess_again(planned: InstancePlan, assess: Callable[[], Awaitable[None]]) -> None:
    """Call *assess* now and then, for as long as nobody cancels it, where what answers may change behind a URL."""
    while not planned.devices:
        await asyncio.sleep(AGAIN_S)
        await assess()

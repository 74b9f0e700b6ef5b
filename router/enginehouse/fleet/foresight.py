"""What an order to load would come to, before it is given."""

from __future__ import annotations

import asyncio

from enginehouse_plugin.errors import EnginehouseError

from .claims import Foreseen
from .instance import HostedInstance
from .sources import NotFetched, find_weights


async def foresee_load(hosted: HostedInstance) -> Foreseen:
    """Who would give way if *hosted* were told to load now; nothing is loaded, fetched or changed."""
    planned = hosted.planned
    if planned.host is not None:
        return Foreseen(fits=True, reason=f"the host '{planned.host}' makes room there")
    needed = planned.footprint_bytes
    if not needed and planned.devices:  # it is known from its first load on
        try:
            path = await asyncio.to_thread(find_weights, planned.backend, planned.placement.source)
            fit = await planned.backend.create().fit(planned.for_backend(path), planned.devices)
        except NotFetched:
            return Foreseen(fits=True, reason="its weights are fetched first, and what it takes is known then")
        except EnginehouseError as error:
            return Foreseen(fits=False, reason=error.message)
        except Exception as error:  # noqa: BLE001  # a plugin's fault must not end what asks
            return Foreseen(fits=False, reason=f"the backend broke: {type(error).__name__}: {error}")
        needed = fit.footprint_bytes
    return hosted.keeper.foresee(hosted, needed, planned.device_ids)

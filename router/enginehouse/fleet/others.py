"""What others have given to an engine that is not this router's alone, by what its server tells of its load."""

from __future__ import annotations

import asyncio
import time

from enginehouse.telemetry import get_logger
from enginehouse_plugin import Measured
from enginehouse_plugin.errors import EnginehouseError

from .gate import Gate

_ASKED_EVERY_S = 0.1

log = get_logger()


class Others:
    """How many sequences others have at the engine behind *gate*: `count`, by what was told last.

    Asked is `measured`; None: nobody else has any there, or it cannot tell.
    """

    __slots__ = ("_asked_at", "_asking", "_gate", "_told_at", "count", "measured")

    def __init__(self, gate: Gate) -> None:
        self.count = 0
        self.measured: Measured | None = None
        self._gate = gate
        self._told_at = 0.0
        self._asked_at = 0.0
        self._asking: asyncio.Task[None] | None = None

    def hear(self, sequences: int, at: float) -> None:
        """Hear that the engine had so many *sequences*, *at* that time of the monotonic clock; older news change
        nothing.
        """
        if at >= self._told_at:
            self._told_at = at
            self.count = max(0, sequences - self._gate.running)

    def ask_soon(self) -> None:
        """Ask it, which has just answered, unless it was asked a moment ago."""
        now = time.monotonic()
        if self.measured is not None and now >= self._asked_at + _ASKED_EVERY_S:
            self._asked_at = now
            self._asking = asyncio.create_task(self._ask(self.measured))

    async def _ask(self, instance: Measured) -> None:
        try:
            told = await instance.measure()
        except EnginehouseError:  # it says nothing of its load now; what is wrong with it others find
            return
        except Exception:  # a plugin's fault costs no request
            log.exception("backend broke while it was asked for its load")
            return
        if told.told_at is not None:
            self.hear(told.running + told.waiting, told.told_at)

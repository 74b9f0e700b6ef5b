"""How full the KV cache of an engine is: asked while somebody looks, as each question costs the engine a moment."""

from __future__ import annotations

import asyncio
from typing import Final

from enginehouse.telemetry import get_logger
from enginehouse_plugin import Measured
from enginehouse_plugin.errors import EnginehouseError

from .gate import Gate

ANSWER_S: Final = 2.0
"""An engine that takes longer to say is not waited for."""

log = get_logger()


class Fullness:
    """Of *instance*, behind *gate*: the `share` (0..1) of its cache that is in use, as it told last.

    None: it has not been asked, or does not tell.
    """

    __slots__ = ("_asking", "_gate", "_instance", "_is_due", "share")

    def __init__(self, instance: Measured, gate: Gate) -> None:
        self.share: float | None = None
        self._instance = instance
        self._gate = gate
        self._is_due = True
        self._asking: asyncio.Task[None] | None = None

    def ask(self) -> None:
        """Ask it, unless it is being asked, or nothing has run there since it was."""
        if self._asking is not None and not self._asking.done():
            return
        is_working = self._gate.running > 0
        if is_working or self._is_due:
            self._is_due = is_working  # what runs now is gone when it is asked again
            self._asking = asyncio.create_task(self._ask())

    def forget(self) -> None:
        """Nobody looks any more: what it has told is soon not so."""
        self.share = None
        self._is_due = True
        if self._asking is not None:
            self._asking.cancel()

    async def _ask(self) -> None:
        try:
            async with asyncio.timeout(ANSWER_S):
                told = (await self._instance.measure()).cache_used
        except (EnginehouseError, TimeoutError):  # what is wrong with it others find
            self.share = None
        except Exception:  # a plugin's fault costs nobody anything
            log.exception("backend broke while it was asked for its load")
            self.share = None
        else:
            self.share = told if told is not None and 0.0 <= told <= 1.0 else None

"""Whether an engine makes progress. One that answers nothing for longer than any honest step is hung, and is ended.

What counts as progress: an event of any request, or the answer to `Instance.check_ready`, which an engine gives where
it works, between two of its steps. It is asked whenever nothing has been heard for a while, busy or idle. How long a
step takes is measured by that: the time limit grows with the slowest answer so far.

Time is counted in turns of this watch, each of which counts for its own length at most: a machine that was suspended,
or a router that was late itself, is no silence of the engine.
"""

from __future__ import annotations

import asyncio

from enginehouse.telemetry import get_logger
from enginehouse_plugin import ExitReport, Instance
from enginehouse_plugin.errors import EnginehouseError, EngineOverloaded

from .loader import why_ended

DEFAULT_HANG_TIMEOUT_S = 60.0
_TURN_S = 5.0
_TURNS = 6  # in the time limit, at least
_SAFETY = 4.0  # times the slowest step seen
_MOST = 10.0  # times the configured limit: an answer that came after a night asleep sets no measure
_MAX_TIMEOUTS = 3

log = get_logger()


def limit_of(hang_timeout_s: float, slowest_s: float) -> float:
    """How long an engine may be silent whose slowest answer so far took *slowest_s* seconds."""
    return min(max(hang_timeout_s, _SAFETY * slowest_s), _MOST * hang_timeout_s)


class Liveness:
    """Watches one instance, through all its loads.

    `moved_at` is set by whoever hears an event of the engine: a store for each batch. `timeouts` counts requests in a
    row that an engine which answers has not begun, or has let lie in the middle, telling nothing of others either.
    """

    def __init__(self, hang_timeout_s: float) -> None:
        self.moved_at = 0.0
        self.timeouts = 0
        self.hangs = 0
        self._stuck = asyncio.Event()
        self.follow(hang_timeout_s)

    def follow(self, hang_timeout_s: float) -> None:
        """Take an engine for hung that is silent for *hang_timeout_s* from now on."""
        self.limit_s = hang_timeout_s
        self._hang_timeout_s = hang_timeout_s
        self._turn_s = min(_TURN_S, hang_timeout_s / _TURNS)

    def count_timeout(self, since: float) -> None:
        """Count a request that the engine left lying *since* then; too many in a row, and it is taken for hung.

        One that worked on others meanwhile is not: it may have more to do than it can.
        """
        if self.moved_at > since:
            return
        self.timeouts += 1
        if self.timeouts >= _MAX_TIMEOUTS:
            self._stuck.set()

    async def watch(self, instance: Instance) -> str:
        """Watch *instance* until it is hung; returns how that shows."""
        moved_at = self.moved_at
        self.timeouts = 0
        self._stuck.clear()
        silent_s = 0.0
        problem = ""
        question: asyncio.Task[float] | None = None
        try:
            while silent_s < self.limit_s:
                if moved_at == self.moved_at and question is None:
                    question = asyncio.create_task(_answer_s(instance))
                moved_at = self.moved_at
                if await self._is_stuck_after_turn():
                    self.hangs += 1
                    return f"it let {self.timeouts} requests in a row lie until they timed out"
                silent_s += self._turn_s
                if question is not None and question.done():
                    try:
                        self._measure(question.result())
                        silent_s = 0.0
                    except EngineOverloaded:  # it lives, or it is us who cannot ask: nothing is known against it
                        silent_s = 0.0
                    except EnginehouseError as error:
                        problem = f" ({error.message})"
                    question = None
                if self.moved_at != moved_at:
                    silent_s = 0.0
        finally:
            if question is not None:
                question.cancel()
        self.hangs += 1
        return f"it made no progress for {self.limit_s:g} s{problem}"

    async def check(self, instance: Instance, closed: asyncio.Future[ExitReport]) -> str | None:
        """Ask an instance that is in doubt; returns what is wrong with it."""
        try:
            # Not `wait_for`: before Python 3.12 it loses a cancellation that meets the result.
            async with asyncio.timeout(self.limit_s):
                await instance.check_ready()
        except EngineOverloaded:  # it lives, or it is us who cannot ask: nothing is known against it
            return None
        except EnginehouseError as error:
            return why_ended(closed) if closed.done() else error.message
        except TimeoutError:
            return f"it did not answer within {self.limit_s:g} s"
        except Exception as error:  # a plugin's fault must not end the task that watches over it
            log.exception("backend broke while it was checked")
            return f"its check broke: {type(error).__name__}: {error}"
        return None

    async def _is_stuck_after_turn(self) -> bool:
        try:
            async with asyncio.timeout(self._turn_s):
                await self._stuck.wait()
        except TimeoutError:
            return False
        return True

    def _measure(self, answer_s: float) -> None:
        self.limit_s = max(self.limit_s, limit_of(self._hang_timeout_s, answer_s))


async def _answer_s(instance: Instance) -> float:
    """Ask *instance*; returns how long it took to answer."""
    loop = asyncio.get_running_loop()
    asked_at = loop.time()
    try:
        await instance.check_ready()
    except EnginehouseError:
        raise
    except Exception as error:  # a plugin's fault must not end the task that watches over it
        log.exception("backend broke while it was checked")
        raise EnginehouseError(f"its check broke: {type(error).__name__}: {error}") from error
    return loop.time() - asked_at

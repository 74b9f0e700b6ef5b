"""A run of the suite in a thread of its own, for callers that take its results one by one, as tests do."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future

from .results import Report, Result
from .runner import Options, run_suite, selected_rules
from .targets import Target


class BackgroundRun:
    """One run: `start`, then `result` for each rule, `stop` in the end."""

    def __init__(self, target: Target, options: Options) -> None:
        self._target = target
        self._options = options
        self._results: dict[str, Future[Result]] = {rule.id: Future() for rule in selected_rules(options)}
        self._report: Report | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Report] | None = None
        self._thread = threading.Thread(target=self._work, name="conformance")

    def start(self) -> None:
        """Begin; the target is opened in the thread's event loop."""
        self._thread.start()

    def result(self, rule: str) -> Result:
        """The result of *rule*, as soon as there is one; raises what ended the run, if something did."""
        return self._results[rule].result()

    def stop(self) -> Report | None:
        """End the run and the thread; the report where all results have been made, else None."""
        if self._loop is not None and self._task is not None and not self._is_complete():
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join()
        return self._report

    def _is_complete(self) -> bool:
        return all(future.done() for future in self._results.values())

    def _work(self) -> None:
        try:
            self._report = asyncio.run(self._run())
        except asyncio.CancelledError:
            for future in self._results.values():
                future.cancel()
        except BaseException as exc:  # noqa: BLE001  # raised again in the thread that asks for results
            for future in self._results.values():
                if not future.done():
                    future.set_exception(exc)

    async def _run(self) -> Report:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(run_suite(self._target, self._options, on_result=self._take))
        return await self._task

    def _take(self, result: Result) -> None:
        self._results[result.rule].set_result(result)

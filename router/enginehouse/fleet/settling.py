"""Where one instance settles: the placement chosen for it, until its size or its engine shows that it will not do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from enginehouse.telemetry import get_logger
from enginehouse_plugin import DeviceKind
from enginehouse_plugin.errors import ENGINE_WITHOUT_GPU, EnginehouseError, LoadFailed

from .fitting import FindWeights, Weighed
from .placement import Chosen, Decision, Unusable

PlaceAgain = Callable[[FindWeights, Unusable], Awaitable[Weighed]]
"""Chooses once more, with what the candidates' backends say of their size, and what earlier loads have told."""

log = get_logger()


class Seat:
    """The placement of an instance of *model*; `chosen` may move to another each time it is settled."""

    def __init__(self, model: str, chosen: Chosen, place_again: PlaceAgain | None) -> None:
        self.chosen = chosen
        self._model = model
        self._place_again = place_again
        self._unusable: dict[tuple[int, DeviceKind], str] = {}

    async def settle(self, find_weights: FindWeights) -> str | None:
        """Choose the placement that fits, and return the path of its weights (None: it needs none).

        Raises:
            LoadError: none fits, or there are no such weights.
        """
        paths: dict[str, str | None] = {}

        async def find_once(source: str) -> str | None:
            if source not in paths:
                paths[source] = await find_weights(source)
            return paths[source]

        if self._place_again is not None:
            weighed = await self._place_again(find_once, self._unusable)
            if weighed.fault is not None:
                raise weighed.fault
            self._move_to(weighed.decision)
        return await find_once(self.chosen.placement.source) if self.chosen.backend.needs_weights else None

    def gives_way(self, error: EnginehouseError) -> bool:
        """Whether a load that ended with *error* is worth another try elsewhere: the engine cannot use its devices."""
        if error.code != ENGINE_WITHOUT_GPU or self._place_again is None or not self.chosen.devices:
            return False
        kind = self.chosen.devices[0].kind
        log.warning("engine cannot use its device", model=self._model, placement=self.chosen.index, device=kind,
                    reason=error.message)  # fmt: skip
        self._unusable[self.chosen.index, kind] = error.message
        return True

    def _move_to(self, decision: Decision) -> None:
        reasons = {rejected.index: rejected.reason for rejected in decision.rejected}
        if decision.chosen is None:
            told = "; ".join(f"{index}: {reason}" for index, reason in reasons.items())
            raise LoadFailed(f"no placement of it fits on this host ({told})", retryable=False, code="does_not_fit")
        if decision.chosen.index != self.chosen.index:
            log.warning("placement passed over", model=self._model, placement=self.chosen.index,
                        reason=reasons[self.chosen.index], instead=decision.chosen.index)  # fmt: skip
        self.chosen = decision.chosen

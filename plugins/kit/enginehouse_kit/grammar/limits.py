"""What compiling a request's schemas may cost, counted in steps: the same for the same request on every machine."""

from __future__ import annotations

from typing import NoReturn

from enginehouse_plugin.errors import InvalidRequest

MAX_STEPS = 100_000
"""Steps of one request, all its schemas together: about half a second of one processor."""


class Unsupported(Exception):
    """A keyword that no grammar says; *path* is its place in the schema."""

    def __init__(self, path: str, keyword: str, reason: str) -> None:
        super().__init__(f"'{keyword}' at '{path}' {reason}")
        self.place = f"{path.removeprefix('#')}/{keyword}"


class OverBudget(Exception):
    """The schema costs more than what is left for it."""


class Budget:
    """Steps that are left to a request; they count for the field that is being compiled."""

    def __init__(self, steps: int = MAX_STEPS) -> None:
        self.left = steps
        self.spent: dict[str, int] = {}
        self._param = ""
        self._floor = 0

    def begin(self, param: str, share: float = 1.0) -> None:
        """Count for *param* from now on, which may use *share* of what is left."""
        self._param = param
        self._floor = int(self.left * (1.0 - share))

    def spend(self, steps: int = 1) -> None:
        """Take *steps*.

        Raises:
            OverBudget: they are not there.
        """
        self.left -= steps
        self.spent[self._param] = self.spent.get(self._param, 0) + steps
        if self.left < self._floor:
            self.left = max(self.left, 0)
            raise OverBudget

    def refuse(self) -> NoReturn:
        """Refuse the request for the field that took the most.

        Raises:
            InvalidRequest: always.
        """
        most = max(self.spent, key=lambda param: self.spent[param])
        raise InvalidRequest(
            f"The JSON schemas of this request take more than {MAX_STEPS} steps to compile; '{most}' takes the most. "
            "Make it simpler: fewer alternatives, shorter patterns, smaller counts.",
            param=most,
            code="unsupported_schema",
        )

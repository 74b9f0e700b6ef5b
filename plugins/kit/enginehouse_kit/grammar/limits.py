"""What compiling a request's schemas may cost, counted in steps: the same for the same request on every machine."""

from __future__ import annotations

from typing import NoReturn

from enginehouse_plugin.errors import InvalidRequest

MAX_STEPS = 100_000
"""Steps of one request, all its schemas together: about half a second of one processor."""


_NEVER = 10**12
_MOST_SHOWN = 300


def shown(path: str) -> str:
    """*path* as messages show it: of a long one the end."""
    return path if len(path) <= _MOST_SHOWN else f"…{path[-_MOST_SHOWN:]}"


class Unsupported(Exception):
    """A keyword that no grammar says; *path* is its place in the schema."""

    def __init__(self, path: str, keyword: str, reason: str) -> None:
        super().__init__(f"'{keyword}' at '{shown(path)}' {reason}")
        self.place = f"{path.removeprefix('#')}/{keyword}"


class OverBudget(Exception):
    """The schema costs more than what is left for it."""


class Abandoned(Exception):
    """The compiling has been stopped, or takes more steps than a trial may."""


class Budget:
    """Steps that are left to a request; they count for the field that is being compiled.

    A trial gets no further than *trial* steps.
    """

    def __init__(self, steps: int = MAX_STEPS, trial: int | None = None) -> None:
        self._steps = steps
        self.left = steps
        self.spent: dict[tuple[str, str], int] = {}
        """By field, and place in its schema."""
        self._at = "", ""
        self._least = -_NEVER if trial is None else steps - trial
        self._floor = max(self._least, 0)

    def stop(self) -> None:
        """Have the compiling end; any thread may say so."""
        self._least = self._floor = _NEVER + 1

    def restart(self) -> None:
        """Have all steps again, and none spent; what has been stopped stays so."""
        self.left = self._steps
        self.spent = {}
        self._floor = max(self._least, 0)

    def begin(self, param: str, share: float = 1.0) -> None:
        """Count for *param* from now on, which may use *share* of what is left."""
        self._at = param, "#"
        self._floor = max(int(self.left * (1.0 - share)), self._least)

    @property
    def place(self) -> str:
        """The place in the schema that is being compiled."""
        return self._at[1]

    @place.setter
    def place(self, place: str) -> None:
        self._at = self._at[0], place

    def spend(self, steps: int = 1) -> None:
        """Take *steps*.

        Raises:
            OverBudget: they are not there.
            Abandoned: this was a trial, or has been stopped.
        """
        self.left -= steps
        self.spent[self._at] = self.spent.get(self._at, 0) + steps
        if self.left < self._floor:
            if self.left < self._least:
                raise Abandoned
            self.left = max(self.left, 0)
            raise OverBudget

    @property
    def most(self) -> str:
        """The field that took the most steps."""
        params: dict[str, int] = {}
        for (param, _), steps in self.spent.items():
            params[param] = params.get(param, 0) + steps
        return max(params, key=lambda param: params[param])

    def refuse(self, because: str) -> NoReturn:
        """Refuse the request for the field that took the most, and name the place in it.

        Raises:
            InvalidRequest: always.
        """
        most = self.most
        place = max((at for at in self.spent if at[0] == most), key=lambda at: self.spent[at])[1]
        raise InvalidRequest(
            f"The JSON schemas of this request {because}; '{most}' takes the most, "
            f"and of it '{shown(place)}'. Make it simpler: fewer alternatives, shorter patterns, smaller counts.",
            param=most,
            code="unsupported_schema",
        )

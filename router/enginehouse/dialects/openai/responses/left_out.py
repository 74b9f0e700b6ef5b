"""What a request asks for and does not get: refused by name, or named in the answer."""

from __future__ import annotations

from enginehouse_plugin.errors import InvalidRequest


class LeftOut:
    """Gathers the places of what is left out; unless *is_lenient*, the first is refused instead."""

    def __init__(self, places: tuple[str, ...], *, is_lenient: bool) -> None:
        self._places = dict.fromkeys(places)
        self._is_lenient = is_lenient

    @property
    def places(self) -> tuple[str, ...]:
        """The places, each once."""
        return tuple(self._places)

    def add(self, place: str, problem: str, *, shown: str | None = None, code: str = "unsupported_value") -> None:
        """Leave out what stands at *place*, which answers name as *shown*.

        Raises:
            InvalidRequest: nothing may be left out; *problem* says why that cannot be honoured.
        """
        if not self._is_lenient:
            raise InvalidRequest(f"Unsupported value: '{place}' {problem}.", param=place, code=code)
        self._places[shown or place] = None

"""What a request asks for that only a vendor's cloud has: left out and named, or refused."""

from __future__ import annotations

from enginehouse_plugin.errors import InvalidRequest


class LeftOut:
    """Gathers what is left out of one request: `places`, as the API writes them."""

    def __init__(self, *, is_lenient: bool) -> None:
        self._is_lenient = is_lenient
        self.places: list[str] = []

    def add(self, param: str, why: str) -> None:
        """Leave out what stands at *param*, because *why*.

        Raises:
            InvalidRequest: what cannot be honoured is refused here.
        """
        if not self._is_lenient:
            raise InvalidRequest(f"Unsupported: '{param}': {why}.", param=param, code="unsupported_value")
        if param not in self.places:
            self.places.append(param)


def invalid(param: str, problem: str) -> InvalidRequest:
    """The refusal of what stands at *param*."""
    return InvalidRequest(f"Invalid '{param}': {problem}.", param=param)

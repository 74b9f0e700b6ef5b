"""Fields that a profile's document has, for a profile that is strict: whatever else a body holds is refused by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from enginehouse.violation import Step
from enginehouse.wire.places import param_of
from enginehouse_plugin.errors import InvalidRequest

_decode = msgspec.json.Decoder().decode
_Known = dict[str, Any]  # of dictionaries like this one


class Documented:
    """The *fields* of a document by their places (`tools[].function.name`): below one that has none, all is known."""

    def __init__(self, profile: str, fields: Iterable[str]) -> None:
        self._profile = profile
        self._known: _Known = {}
        for place in fields:
            known = self._known
            for step in place.replace("[]", "").split("."):
                known = known.setdefault(step, {})

    def check(self, body: bytes) -> None:
        """Refuse *body*, which is a request, for a field that the document has not.

        Raises:
            InvalidRequest: naming the first.
        """
        path = _stranger(_decode(body), self._known, ())
        if path is not None:
            param = param_of(path)
            raise InvalidRequest(
                f"Unknown parameter: '{param}'. The document of '{self._profile}' does not have it, and the profile is "
                "strict here.",
                param=param,
                code="unknown_parameter",
            )


def _stranger(value: Any, known: _Known, path: tuple[Step, ...]) -> tuple[Step, ...] | None:
    if isinstance(value, list):
        found = (_stranger(each, known, (*path, at)) for at, each in enumerate(value))
        return next((each for each in found if each is not None), None)
    if not isinstance(value, dict) or not known:
        return None
    for name, below in value.items():
        if name not in known:
            return (*path, name)
        stranger = _stranger(below, known[name], (*path, name))
        if stranger is not None:
            return stranger
    return None

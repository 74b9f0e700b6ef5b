"""What a profile wants to stand in the query of a request."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl

from enginehouse_plugin.errors import InvalidRequest

_MOST_PARTS = 64


def check_query(query: bytes, wanted: Mapping[str, str]) -> None:
    """Refuse *query* unless each of *wanted* is in it, with its value; clients write `true` in different cases.

    Raises:
        InvalidRequest: naming the first that is missing, or has another value.
    """
    try:
        given = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=_MOST_PARTS)
    except ValueError:
        raise InvalidRequest(f"The query has more than {_MOST_PARTS} parts.", param=None) from None
    for name, value in wanted.items():
        values = [each for key, each in given if key == name]
        if not values:
            raise InvalidRequest(
                f"Missing required query parameter: '{name}'. Add '?{name}={value}' to the URL.",
                param=name,
                code="missing_required_parameter",
            )
        for each in values:
            if each.lower() != value.lower():
                raise InvalidRequest(
                    f"Invalid query parameter '{name}': '{each[:64]}'. It must be '{value}' here.", param=name
                )

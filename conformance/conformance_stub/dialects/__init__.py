"""The endpoints of the stub beside chat: thin translations over its engine, written without the router's."""

from __future__ import annotations

from .base import Dialect, Made, Said
from .responses import Responses

__all__ = ["DIALECTS", "Dialect", "Made", "Said"]

DIALECTS: dict[str, Dialect] = {dialect.name: dialect for dialect in (Responses(),)}

"""The JSON Schemas that pydantic makes of one type each: `python -m tests.schemas.pydantic_types`.

Prints which are refused, and by which keyword; exits 1 if one is that is not in `REFUSED`.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import ipaddress
import sys
import uuid
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import pydantic
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from typing_extensions import TypedDict  # pydantic's own, below Python 3.12

from enginehouse_kit.grammar import schema_form
from enginehouse_plugin.errors import InvalidRequest

REFUSED = {"set of strings", "frozenset of integers"}
"""Items of a set are unlike each other, which no grammar says of strings."""


class Colour(enum.Enum):
    """Words."""

    RED = "red"
    GREEN = "green"


class Level(enum.IntEnum):
    """Numbers."""

    LOW = 1
    HIGH = 2


class Point(BaseModel):
    """Two coordinates."""

    x: float
    y: float = 0.0


class Closed(BaseModel):
    """No further fields."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(min_length=1, max_length=64, pattern=r"^[a-z][a-z0-9_-]*$")
    tags: list[str] = []


class Open(BaseModel):
    """Any further fields."""

    model_config = ConfigDict(extra="allow")
    name: str


class Tree(BaseModel):
    """Itself, below."""

    value: int
    children: list[Tree] = []


class Cat(BaseModel):
    """One of two."""

    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    """The other."""

    kind: Literal["dog"]
    tricks: list[str]


class Pair(NamedTuple):
    """A tuple with names."""

    left: int
    right: str


class Movie(TypedDict):
    """A dictionary with keys."""

    name: str
    year: int


class Everything(BaseModel):
    """Much at once."""

    at: datetime.datetime
    price: decimal.Decimal = Field(ge=0, max_digits=8, decimal_places=2)
    site: pydantic.HttpUrl
    owner: Point | None = None
    pets: list[Annotated[Cat | Dog, Field(discriminator="kind")]]
    extra: dict[str, int | str]


TYPES: dict[str, Any] = {
    "bool": bool,
    "int": int,
    "float": float,
    "str": str,
    "bytes": bytes,
    "none": None,
    "any": Any,
    "decimal": decimal.Decimal,
    "date": datetime.date,
    "datetime": datetime.datetime,
    "time": datetime.time,
    "timedelta": datetime.timedelta,
    "uuid": uuid.UUID,
    "path": Path,
    "ipv4": ipaddress.IPv4Address,
    "ipv6": ipaddress.IPv6Address,
    "network": ipaddress.IPv4Network,
    "enum of words": Colour,
    "enum of numbers": Level,
    "literal": Literal["a", 1, True, None],
    "optional": int | None,
    "union": int | str | float,
    "list": list[int],
    "list of any": list[Any],
    "bounded list": Annotated[list[int], Field(min_length=1, max_length=5)],
    "tuple": tuple[int, str],
    "open tuple": tuple[int, ...],
    "empty tuple": tuple[()],
    "dict": dict[str, int],
    "dict by enum": dict[Colour, int],
    "dict by pattern": dict[Annotated[str, Field(pattern="^k")], int],
    "dict by number": dict[int, str],
    "bounded dict": Annotated[dict[str, int], Field(min_length=1, max_length=3)],
    "set of enums": set[Colour],
    "set of booleans": set[bool],
    "set of strings": set[str],
    "frozenset of integers": frozenset[int],
    "positive": pydantic.PositiveInt,
    "negative": pydantic.NegativeFloat,
    "between": Annotated[float, Field(gt=0, lt=1)],
    "multiple": Annotated[int, Field(multiple_of=5)],
    "decimal step": Annotated[float, Field(multiple_of=0.25)],
    "short string": Annotated[str, Field(max_length=10)],
    "pattern": Annotated[str, Field(pattern=r"^\d{3}-\d{4}$")],
    "pattern and length": Annotated[str, Field(pattern="^[a-z]+$", min_length=2, max_length=8)],
    "json": pydantic.Json[list[int]],
    "base64": pydantic.Base64Str,
    "secret": pydantic.SecretStr,
    "byte size": pydantic.ByteSize,
    "any url": pydantic.AnyUrl,
    "http url": pydantic.HttpUrl,
    "past": pydantic.PastDate,
    "aware": pydantic.AwareDatetime,
    "uuid4": pydantic.UUID4,
    "strict": pydantic.StrictInt,
    "model": Point,
    "closed model": Closed,
    "open model": Open,
    "tree": Tree,
    "discriminated": Annotated[Cat | Dog, Field(discriminator="kind")],
    "union of models": Cat | Point,
    "named tuple": Pair,
    "typed dict": Movie,
    "models by name": dict[str, Point],
    "everything": Everything,
}


def main() -> int:
    """Compile the schema of each type; the exit status."""
    found = {}
    for name, kind in TYPES.items():
        try:
            schema_form(TypeAdapter(kind).json_schema(), "schema")
        except InvalidRequest as refused:
            found[name] = refused.message
            print(f"{name}: {refused.message}")
    print(f"pydantic: {len(TYPES) - len(found)} of {len(TYPES)} enforced")
    return int(found.keys() - REFUSED != set())


if __name__ == "__main__":
    sys.exit(main())

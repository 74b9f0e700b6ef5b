"""What every endpoint of a mount is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypedDict, Unpack

from enginehouse.dialects.endpoint import Header, Named
from enginehouse.fleet import ModelNotFound
from enginehouse.wire.decode import UnknownFields
from enginehouse_plugin import Profile
from enginehouse_plugin.errors import InvalidRequest

Policy = Literal["refuse", "report"]


class Mounting(TypedDict, total=False):
    """How a mount has its endpoints.

    Paths begin with `prefix` (None: as the profile has it), `label` is that of the mount. `names` is what its clients
    may call a model (None: models by their own names). With `unknown_fields` "report" a field that nobody knows is left
    out and named in `Call.ignored`, each place once for all items of an array: `messages[].id`; None leaves that to the
    profile. `unsupported` is the same for what a model lacks, `unsupported_by` that of single models.
    """

    label: str
    prefix: str | None
    names: Mapping[str, Named] | None
    unknown_fields: UnknownFields | None
    unsupported: Policy | None
    unsupported_by: Mapping[str, Policy] | None


class AtMount:
    """An endpoint's routes, names and policies, as *profile* and its mount have them; `below` ends its path."""

    below: str
    id_header: bytes | None = None
    is_for_agents = False
    """They send what only a vendor's cloud has: where nobody says otherwise, it is left out and named."""

    def __init__(self, profile: Profile, /, **mounting: Unpack[Mounting]) -> None:
        prefix = mounting.get("prefix")
        self.profile = profile.name
        self.path = (profile.base_path if prefix is None else prefix) + self.below
        self.query: Mapping[str, str] = profile.query
        headers = profile.headers.items()
        self.headers: tuple[Header, ...] = tuple((name.encode(), value.encode()) for name, value in headers)
        self.label = mounting.get("label", "")
        self._names = mounting.get("names")
        unknown_fields, unsupported = profile.unknown_fields, profile.unsupported
        if self.is_for_agents:
            unknown_fields, unsupported = "refuse" if profile.strict_profile else "report", "report"
        self._unknown_fields: UnknownFields = mounting.get("unknown_fields") or unknown_fields
        self._is_lenient = (mounting.get("unsupported") or unsupported) == "report"
        by_model = mounting.get("unsupported_by") or {}
        self._is_lenient_by = {name: own == "report" for name, own in by_model.items()}

    def meant_by(self, name: str) -> Named:
        """What a client's *name* for a model stands for.

        Raises:
            ModelNotFound: nothing.
        """
        found = Named(name) if self._names is None else self._names.get(name)
        if found is None:
            raise ModelNotFound(name, known=self._names or ())
        return found

    def model_meant_by(self, name: str, agents: str) -> str:
        """The model that a client's *name* stands for, where *agents* says why none may be asked.

        Raises:
            ModelNotFound: nothing.
            InvalidRequest: it is an agent.
        """
        meant = self.meant_by(name)
        if meant.agent is not None:
            raise InvalidRequest(f"Invalid 'model': '{name}' is an agent, {agents}", param="model")
        return meant.model

    def is_lenient_for(self, model: str) -> bool:
        """Whether what *model* lacks is left out and named."""
        return self._is_lenient_by.get(model, self._is_lenient)

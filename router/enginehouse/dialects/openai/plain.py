"""What endpoints have in common that read one body and nothing else: no header matters, and nothing is kept."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, Generic, TypedDict, TypeVar, Unpack

from msgspec import Meta

from enginehouse.dialects.at_mount import AtMount, Mounting
from enginehouse.dialects.endpoint import Call, Errors
from enginehouse.dialects.openai.chat.messages import Strict
from enginehouse.dialects.openai.errors import ProfileErrors
from enginehouse.wire.decode import Decoder
from enginehouse_plugin import Profile

_NO_HEADERS: Mapping[bytes, bytes] = {}


class PlainBody(Strict, frozen=True, kw_only=True):
    """What every such body says."""

    model: Annotated[str, Meta(description="ID of a model in /v1/models.", min_length=1)]
    user: Annotated[str, Meta(description="Recorded.")] | None = None


AskedT = TypeVar("AskedT", bound=PlainBody)


class Common(TypedDict):
    """What `PlainEndpoint` knows of a call: fields of `Call`."""

    model: str
    recorded: dict[str, Any] | None
    ignored: tuple[str, ...]
    profile: str


class PlainEndpoint(AtMount, Generic[AskedT]):
    """An endpoint whose body `decoder` reads; `no_agents` says why an agent cannot be asked."""

    decoder: Decoder[AskedT]
    no_agents: str

    def __init__(self, profile: Profile, /, **mounting: Unpack[Mounting]) -> None:
        super().__init__(profile, **mounting)
        self.errors: Errors = ProfileErrors(profile)

    @abstractmethod
    def call(self, asked: AskedT, request_id: str, **common: Unpack[Common]) -> Call:
        """The call that *asked* is.

        Raises:
            InvalidRequest: fields do not go together, or cannot be honoured.
        """

    def decode(
        self,
        body: bytes,
        request_id: str,
        named: Mapping[bytes, bytes] = _NO_HEADERS,  # noqa: ARG002  # no header matters
        key: str = "",  # noqa: ARG002  # nothing is kept
    ) -> Call:
        """See `Endpoint.decode`.

        Raises:
            ModelNotFound: the body names no model that is known by this name.
        """
        asked, ignored = self.decoder.decode(body, unknown_fields=self._unknown_fields)
        return self.call(
            asked,
            request_id,
            model=self.model_meant_by(asked.model, self.no_agents),
            recorded={"user": asked.user} if asked.user is not None else None,
            ignored=ignored,
            profile=self.label,
        )

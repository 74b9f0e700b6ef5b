"""`POST …/messages` and `…/messages/count_tokens`: from a body to a call, with the encoder of its answer."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Unpack

from enginehouse.dialects.anthropic.errors import AnthropicErrors
from enginehouse.dialects.anthropic.messages.changing import Policy
from enginehouse.dialects.anthropic.messages.encode import CountBody, MessageBody, MessageHead, MessageStream
from enginehouse.dialects.anthropic.messages.generation import PLACES, check_tools, generation_request, recorded
from enginehouse.dialects.anthropic.messages.left_out import LeftOut
from enginehouse.dialects.anthropic.messages.operation import count_operation, messages_operation
from enginehouse.dialects.anthropic.messages.request import (
    CountRequest,
    MessagesRequest,
    ThinkingAdaptive,
    ThinkingEnabled,
)
from enginehouse.dialects.at_mount import AtMount, Mounting
from enginehouse.dialects.endpoint import Call, Encoder, Errors
from enginehouse.dialects.ids import unique_hex
from enginehouse.dialects.openai.chat.agents import instructed
from enginehouse.dialects.operation import Operation
from enginehouse.fleet import count
from enginehouse.wire.decode import Decoder
from enginehouse_plugin import GenerationRequest, Profile

VERSIONS = (b"2026-10-21", b"2023-06-01")
"""What `anthropic-version` may say, the newest first; both mean the same here, where none takes a field away."""
_BETA = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_MOST_BETAS = 32
_TOLD = {"move": "its first line is moved behind the messages", "drop": "its first line is dropped"}
_NO_HEADERS: Mapping[bytes, bytes] = {}


class _OfMessages(AtMount, ABC):
    """What both endpoints have in common."""

    id_header: bytes | None = b"request-id"
    is_for_agents = True
    _is_count = False
    _decoder: Decoder[Any]  # of a `CountRequest`
    _document: Callable[[], Operation]

    def __init__(self, profile: Profile, /, **mounting: Unpack[Mounting]) -> None:
        super().__init__(profile, **mounting)
        self.errors: Errors = AnthropicErrors(profile, PLACES)
        self.operation = self._document()
        self._changing: Policy = profile.changing_lines

    def decode(
        self,
        body: bytes,
        request_id: str,
        named: Mapping[bytes, bytes] = _NO_HEADERS,
        key: str = "",  # noqa: ARG002  # nothing is kept
    ) -> Call:
        """See `Endpoint.decode`.

        Raises:
            ModelNotFound: the body names no model that is known by this name.
        """
        asked, unknown = self._decoder.decode(body, unknown_fields=self._unknown_fields)
        meant = self.meant_by(asked.model)
        is_lenient = self.is_lenient_for(meant.model)
        left_out = LeftOut(is_lenient=is_lenient)
        version = named.get(b"anthropic-version")
        if version is not None and version not in VERSIONS:
            known = ", ".join(each.decode() for each in VERSIONS)
            left_out.add("anthropic-version", f"'{version[:32].decode('latin-1')}' is not known; known are {known}")
        request, said, line = generation_request(
            asked, request_id=request_id, left_out=left_out, changing=self._changing
        )
        noted = recorded(asked, _betas(named.get(b"anthropic-beta")))
        if meant.agent is not None:
            check_tools(asked, meant.agent)
            request, said = instructed(request, said, meant.agent)
            noted["agent"] = asked.model
        if line is not None:
            noted["changing_line"] = self._changing
            left_out.places.append(f"system[0].text ({_TOLD[self._changing]})")
        return Call(
            model=meant.model,
            agent=meant.agent_name,
            request=request,
            said=said,
            encoder=self._encoder(asked, request, request_id),
            recorded=noted or None,
            ignored=(*unknown, *left_out.places),
            is_lenient=is_lenient,
            profile=self.label,
            places=PLACES,
            counts=count if self._is_count else None,
        )

    @abstractmethod
    def _encoder(self, asked: CountRequest, request: GenerationRequest, request_id: str) -> Encoder: ...


class MessagesEndpoint(_OfMessages):
    """Messages of Anthropic's dialect."""

    name = "messages"
    below = "/messages"

    _decoder = Decoder(MessagesRequest)
    _document = staticmethod(messages_operation)

    def _encoder(self, asked: CountRequest, request: GenerationRequest, request_id: str) -> Encoder:
        thinking = asked.thinking
        head = MessageHead(
            id=f"msg_{unique_hex()}",
            request_id=request_id,
            model=asked.model,
            max_tokens=request.max_tokens,
            hides_thinking=isinstance(thinking, ThinkingEnabled | ThinkingAdaptive) and thinking.display == "omitted",
        )
        return MessageStream(head, self.errors) if request.stream else MessageBody(head, self.errors)


class CountTokensEndpoint(_OfMessages):
    """Counts the tokens of a prompt to Messages, template and tools included."""

    name = "count_tokens"
    below = "/messages/count_tokens"
    _is_count = True

    _decoder = Decoder(CountRequest)
    _document = staticmethod(count_operation)

    def _encoder(self, asked: CountRequest, request: GenerationRequest, request_id: str) -> Encoder:  # noqa: ARG002
        return CountBody(request_id, self.errors)


def _betas(value: bytes | None) -> tuple[str, ...]:
    """The betas that a client says it knows; what they bring stands in fields, which are judged by themselves."""
    if value is None:
        return ()
    given = [name.strip() for name in value.decode("latin-1").split(",")]
    return tuple(name for name in given if _BETA.fullmatch(name))[:_MOST_BETAS]

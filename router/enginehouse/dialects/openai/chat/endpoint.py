"""`POST /v1/chat/completions`: from a body to a call, with the encoder of its answer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Literal

from enginehouse.config import Defaults
from enginehouse.dialects.endpoint import Call, Encoder, Errors
from enginehouse.dialects.ids import unique_hex
from enginehouse.dialects.openai import errors
from enginehouse.dialects.openai.chat.decode import decode_chat
from enginehouse.dialects.openai.chat.encode import AnswerHead, ChatBody, ChatStream
from enginehouse.dialects.openai.chat.generation import generation_request, unsaid
from enginehouse.dialects.openai.chat.operation import chat_operation
from enginehouse.dialects.openai.chat.recorded import recorded
from enginehouse.dialects.openai.chat.request import ChatRequest
from enginehouse.wire.decode import UnknownFields
from enginehouse_plugin import GenerationRequest, Profile


class ChatEndpoint:
    """Chat completions of the OpenAI dialect, as *profile* has them.

    *defaults* are those of each model, by its name. With *unknown_fields* "report" a field that nobody knows is left
    out and named in `Call.ignored`, each place once for all items of an array: `messages[].id`; None leaves that to
    the profile. *unsupported* is the same for what a model lacks, *unsupported_by* that of single models.
    """

    name = "chat"
    path = "/v1/chat/completions"
    errors: Errors = errors

    def __init__(
        self,
        profile: Profile,
        *,
        defaults: Mapping[str, Defaults] | None = None,
        unknown_fields: UnknownFields | None = None,
        unsupported: Literal["refuse", "report"] | None = None,
        unsupported_by: Mapping[str, Literal["refuse", "report"]] | None = None,
    ) -> None:
        self.operation = chat_operation(profile)
        self._profile = profile
        self._unknown_fields: UnknownFields = unknown_fields or profile.unknown_fields
        self._is_lenient = (unsupported or profile.unsupported) == "report"
        self._is_lenient_by = {name: own == "report" for name, own in (unsupported_by or {}).items()}
        self._unsaid = {name: unsaid(own, profile) for name, own in (defaults or {}).items()}
        self._unsaid_elsewhere = unsaid(Defaults(), profile)

    def decode(self, body: bytes, request_id: str) -> Call:
        """See `Endpoint.decode`."""
        chat, ignored = decode_chat(body, unknown_fields=self._unknown_fields)
        otherwise = self._unsaid.get(chat.model, self._unsaid_elsewhere)
        request = generation_request(chat, request_id=request_id, profile=self._profile, otherwise=otherwise)
        return Call(
            model=chat.model,
            request=request,
            encoder=_encoder(chat, request),
            recorded=recorded(chat) or None,
            ignored=ignored,
            is_lenient=self._is_lenient_by.get(chat.model, self._is_lenient),
        )


def _encoder(chat: ChatRequest, request: GenerationRequest) -> Encoder:
    head = AnswerHead(
        id=f"chatcmpl-{unique_hex()}",
        created=int(time.time()),
        model=chat.model,
        service_tier="default" if chat.service_tier else None,
    )
    if not request.stream:
        return ChatBody(head, n=request.n, logprobs=request.logprobs)
    options = chat.stream_options
    return ChatStream(
        head,
        n=request.n,
        logprobs=request.logprobs,
        usage=bool(options and options.include_usage),
        obfuscation=bool(options and options.include_obfuscation),
    )

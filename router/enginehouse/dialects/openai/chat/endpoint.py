"""`POST …/chat/completions`: from a body to a call, with the encoder of its answer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Unpack

from enginehouse.dialects.at_mount import AtMount, Mounting
from enginehouse.dialects.documented import Documented
from enginehouse.dialects.endpoint import Call, Encoder, Errors
from enginehouse.dialects.ids import unique_hex
from enginehouse.dialects.openai.chat.agents import check_tools, instructed
from enginehouse.dialects.openai.chat.answers import AnswerHead
from enginehouse.dialects.openai.chat.decode import decode_chat
from enginehouse.dialects.openai.chat.encode import ChatBody, ChatStream
from enginehouse.dialects.openai.chat.generation import generation_request
from enginehouse.dialects.openai.chat.narrowed import decoder
from enginehouse.dialects.openai.chat.operation import chat_operation
from enginehouse.dialects.openai.chat.recorded import recorded
from enginehouse.dialects.openai.chat.request import ChatRequest
from enginehouse.dialects.openai.errors import ProfileErrors
from enginehouse_plugin import GenerationRequest, Profile


class ChatEndpoint(AtMount):
    """Chat completions of the OpenAI dialect, as *profile* has them."""

    name = "chat"
    below = "/chat/completions"

    def __init__(self, profile: Profile, /, **mounting: Unpack[Mounting]) -> None:
        super().__init__(profile, **mounting)
        self.errors: Errors = ProfileErrors(profile)
        self.operation = chat_operation(profile, self.errors, self.label)
        self._profile = profile
        self._decoder = decoder(profile)
        self._documented = Documented(profile.name, profile.fields) if profile.strict_profile else None

    def decode(
        self,
        body: bytes,
        request_id: str,
        named: Mapping[bytes, bytes] | None = None,  # noqa: ARG002
        key: str = "",  # noqa: ARG002
    ) -> Call:
        """See `Endpoint.decode`.

        Raises:
            ModelNotFound: the body names no model that is known by this name.
        """
        chat, ignored = decode_chat(body, unknown_fields=self._unknown_fields, decoder=self._decoder)
        if self._documented is not None:
            self._documented.check(body)
        meant = self.meant_by(chat.model)
        request, said = generation_request(chat, request_id=request_id, profile=self._profile)
        noted = recorded(chat)
        if meant.agent is not None:
            check_tools(chat, meant.agent)
            request, said = instructed(request, said, meant.agent)
            noted["agent"] = chat.model
        return Call(
            model=meant.model,
            agent=meant.agent_name,
            request=request,
            said=said,
            encoder=self._encoder(chat, request),
            recorded=noted or None,
            ignored=ignored,
            is_lenient=self.is_lenient_for(meant.model),
            profile=self.label,
        )

    def _encoder(self, chat: ChatRequest, request: GenerationRequest) -> Encoder:
        head = AnswerHead(
            id=f"chatcmpl-{unique_hex()}",
            created=int(time.time()),
            model=chat.model,
            service_tier="default" if chat.service_tier else None,
        )
        if not request.stream:
            return ChatBody(head, n=request.n, logprobs=request.logprobs, errors=self.errors)
        options = chat.stream_options
        usage = bool(options and options.include_usage)
        return ChatStream(
            head,
            n=request.n,
            logprobs=request.logprobs,
            usage=usage,
            usage_on_last=self._profile.stream_usage == "last_chunk" and not usage,
            obfuscation=bool(options and options.include_obfuscation),
            running_usage=bool(options and options.continuous_usage_stats),
            errors=self.errors,
        )

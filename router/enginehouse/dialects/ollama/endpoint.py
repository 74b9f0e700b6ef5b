"""`POST /api/chat` and `POST /api/generate`: from a body to a call, with the encoder of its answer."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final, Unpack

from enginehouse.dialects.at_mount import AtMount, Mounting
from enginehouse.dialects.endpoint import Call, Errors, Named
from enginehouse.dialects.ollama.encode import Answer, Kind, Writer
from enginehouse.dialects.ollama.errors import PREFIX, ErrorBody, OllamaErrors, failures
from enginehouse.dialects.ollama.generation import Asked, chat_asked, generate_asked
from enginehouse.dialects.ollama.request import ChatRequest, GenerateRequest
from enginehouse.dialects.openai.chat.agents import check_tool_names, instructed
from enginehouse.dialects.operation import Json, Operation, ref
from enginehouse.wire.decode import Decoder
from enginehouse_plugin import Profile
from enginehouse_plugin.errors import UnsupportedFeature

LATEST: Final = ":latest"
"""The tag that a name may have, as Ollama's clients add it."""

_NOT_HERE: Final = "Unsupported '%s': no engine here has it. Leave it out."
_DESCRIPTION: Final = """\
Ollama's own form: lines of JSON unless `"stream": false`, the last with `"done": true`. What no engine here has is \
left out and named in the header `x-enginehouse-ignored`; a failure after the first line is a line `{"error": "…"}`."""
_chat: Final = Decoder(ChatRequest)
_generate: Final = Decoder(GenerateRequest)


class WithTags(AtMount):
    """An endpoint of this dialect, whose clients add tags to names."""

    def meant_by(self, name: str) -> Named:
        """See `AtMount.meant_by`: with or without the tag that clients add."""
        if self._names is not None and name not in self._names:
            name = name.removesuffix(LATEST)
        return super().meant_by(name)


class OllamaEndpoint(WithTags):
    """One of the dialect's operations, *kind*, as *profile* has it."""

    def __init__(self, kind: Kind, profile: Profile, /, **mounting: Unpack[Mounting]) -> None:
        self.below = f"/{kind}"
        super().__init__(profile, **mounting)
        self.kind: Kind = kind
        self.name = f"ollama_{kind}"
        self.errors: Errors = OllamaErrors(profile)
        self.operation = _operation(kind)

    def decode(self, body: bytes, request_id: str, named: Mapping[bytes, bytes], key: str = "") -> Call:  # noqa: ARG002
        """See `Endpoint.decode`.

        Raises:
            ModelNotFound: the body names no model that is known by this name.
        """
        name, asked, unknown = self._read(body, request_id)
        meant = self.meant_by(name)
        request, said, recorded = asked.request, asked.said, asked.recorded
        if meant.agent is not None:
            if meant.agent.tools is not None:
                places = {f"tools[{at}].function.name": tool.name for at, tool in enumerate(request.tools)}
                check_tool_names(name, places, meant.agent.tools)
            request, said = instructed(request, said, meant.agent)
            recorded["agent"] = name
        is_lenient = self.is_lenient_for(meant.model)
        if asked.ignored and not is_lenient:
            raise UnsupportedFeature(asked.ignored[0], param=asked.ignored[0], message=_NOT_HERE % asked.ignored[0])
        return Call(
            model=meant.model,
            agent=meant.agent_name,
            request=request,
            said=said,
            encoder=Writer(self.kind, name, self.errors, is_stream=request.stream, logprobs=request.logprobs),
            recorded=recorded or None,
            ignored=(*unknown, *asked.ignored),
            is_lenient=is_lenient,
            profile=self.label,
        )

    def _read(self, body: bytes, request_id: str) -> tuple[str, Asked, tuple[str, ...]]:
        if self.kind == "chat":
            chat, unknown = _chat.decode(body, unknown_fields=self._unknown_fields)
            return chat.model, chat_asked(chat, request_id), unknown
        wanted, unknown = _generate.decode(body, unknown_fields=self._unknown_fields)
        return wanted.model, generate_asked(wanted, request_id), unknown


ollama_chat = partial(OllamaEndpoint, "chat")
ollama_generate = partial(OllamaEndpoint, "generate")


def _operation(kind: Kind) -> Operation:
    wanted: type = ChatRequest if kind == "chat" else GenerateRequest
    document: Json = {
        "operationId": f"ollama{kind.capitalize()}",
        "summary": "Answer a conversation" if kind == "chat" else "Answer a prompt",
        "description": _DESCRIPTION,
        "security": [{}, {"key": []}],
        "requestBody": {"required": True, "content": {"application/json": {"schema": ref(wanted, PREFIX)}}},
        "responses": {
            "200": {
                "description": "The answer, or its lines.",
                "content": {
                    "application/json": {"schema": ref(Answer, PREFIX)},
                    "application/x-ndjson": {"schema": ref(Answer, PREFIX)},
                },
            },
            **failures(),
        },
    }
    return Operation(document=document, types=(wanted, Answer, ErrorBody), prefix=PREFIX)

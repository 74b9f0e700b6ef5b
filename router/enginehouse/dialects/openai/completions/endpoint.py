"""`POST …/completions`: from a body to a call, with the encoder of its answer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Unpack

from enginehouse.dialects.at_mount import AtMount, Mounting
from enginehouse.dialects.endpoint import Call, Errors
from enginehouse.dialects.ids import unique_hex
from enginehouse.dialects.openai.completions.encode import (
    Completion,
    CompletionBody,
    CompletionHead,
    CompletionStream,
)
from enginehouse.dialects.openai.completions.request import CompletionsRequest, generation_request
from enginehouse.dialects.openai.errors import ProfileErrors
from enginehouse.dialects.openai.openapi import FAILURES, failures
from enginehouse.dialects.operation import Operation, ref
from enginehouse.wire.decode import Decoder
from enginehouse_plugin import Profile
from enginehouse_plugin.request import Text

_NO_HEADERS: Mapping[bytes, bytes] = {}
_DESCRIPTION = """\
Goes on behind a prompt as it stands, without a template: for base models, and for clients that write the template \
themselves. A model whose engine cannot is named in a 400."""

_decode = Decoder(CompletionsRequest).decode


class CompletionsEndpoint(AtMount):
    """Completions of the OpenAI dialect."""

    name = "completions"
    below = "/completions"

    def __init__(self, profile: Profile, /, **mounting: Unpack[Mounting]) -> None:
        super().__init__(profile, **mounting)
        self.errors: Errors = ProfileErrors(profile)
        self.operation = _operation()

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
        asked, ignored = _decode(body, unknown_fields=self._unknown_fields)
        model = self.model_meant_by(asked.model, "which leads conversations. Ask it by chat.")
        request, said, prompts = generation_request(asked, request_id=request_id)
        options = asked.stream_options
        head = CompletionHead(
            id=f"cmpl-{unique_hex()}",
            created=int(time.time()),
            model=asked.model,
            n=request.n,
            shown=asked.n or 1,
            logprobs=asked.logprobs,
            echoes=tuple(each.text if asked.echo and isinstance(each, Text) else "" for each in prompts),
            usage=bool(options and options.include_usage),
            running_usage=bool(options and options.continuous_usage_stats),
        )
        return Call(
            model=model,
            request=request,
            said=said,
            prompts=prompts if len(prompts) > 1 else (),
            places={"logprobs": "best_of"} if request.logprobs and asked.logprobs is None else {},
            encoder=(CompletionStream if request.stream else CompletionBody)(head, self.errors),
            recorded={"user": asked.user} if asked.user is not None else None,
            ignored=ignored,
            is_lenient=self.is_lenient_for(model),
            profile=self.label,
        )


def _operation() -> Operation:
    example = {"model": "smollm2-135m", "prompt": "The capital of France is", "max_tokens": 8}
    chunk = {"type": "string", "contentMediaType": "application/json", "contentSchema": ref(Completion)}
    event = {"type": "object", "required": ["data"], "properties": {"data": {"anyOf": [chunk, {"const": "[DONE]"}]}}}
    document = {
        "operationId": "createCompletion",
        "summary": "Go on behind a text",
        "description": _DESCRIPTION,
        "security": [{}, {"key": []}],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": ref(CompletionsRequest), "example": example}},
        },
        "responses": {
            "200": {
                "description": "The answer, or the beginning of a stream.",
                "content": {
                    "application/json": {"schema": ref(Completion)},
                    "text/event-stream": {"schema": event},
                },
            },
            **failures(FAILURES),
        },
    }
    return Operation(document=document, types=(CompletionsRequest, Completion))

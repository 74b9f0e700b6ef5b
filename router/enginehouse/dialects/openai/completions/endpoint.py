"""`POST …/completions`: from a body to a call, with the encoder of its answer."""

from __future__ import annotations

import time
from typing import Unpack

from enginehouse.dialects.at_mount import Mounting
from enginehouse.dialects.endpoint import Call
from enginehouse.dialects.ids import unique_hex
from enginehouse.dialects.openai.completions.encode import (
    Completion,
    CompletionBody,
    CompletionHead,
    CompletionStream,
)
from enginehouse.dialects.openai.completions.request import CompletionsRequest, generation_request
from enginehouse.dialects.openai.openapi import FAILURES, failures
from enginehouse.dialects.openai.plain import Common, PlainEndpoint
from enginehouse.dialects.operation import Operation, ref
from enginehouse.wire.decode import Decoder
from enginehouse_plugin import Profile
from enginehouse_plugin.request import Text

_DESCRIPTION = """\
Goes on behind a prompt as it stands, without a template: for base models, and for clients that write the template \
themselves. A model whose engine cannot is named in a 400."""


class CompletionsEndpoint(PlainEndpoint[CompletionsRequest]):
    """Completions of the OpenAI dialect."""

    name = "completions"
    below = "/completions"
    decoder = Decoder(CompletionsRequest)
    no_agents = "which leads conversations. Ask it by chat."

    def __init__(self, profile: Profile, /, **mounting: Unpack[Mounting]) -> None:
        super().__init__(profile, **mounting)
        self.operation = _operation()

    def call(self, asked: CompletionsRequest, request_id: str, **common: Unpack[Common]) -> Call:
        """See `PlainEndpoint.call`."""
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
            **common,
            request=request,
            said=said,
            prompts=prompts if len(prompts) > 1 else (),
            places={"logprobs": "best_of"} if request.logprobs and asked.logprobs is None else {},
            encoder=(CompletionStream if request.stream else CompletionBody)(head, self.errors),
            is_lenient=self.is_lenient_for(common["model"]),
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

"""A response as bytes, in each of its states: what was asked is encoded once."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from enginehouse.dialects.openai.responses.answers import (
    EchoedCustom,
    EchoedFunction,
    EchoedReasoning,
    IncompleteDetails,
    IncompleteReason,
    ResponseFailure,
    ResponseHead,
    ResponseStatus,
)
from enginehouse.dialects.openai.responses.request import ResponsesCustom, ResponsesFunction, ResponsesRequest
from enginehouse_plugin.events import UsageReport

_encode = msgspec.json.Encoder().encode
_STATE = (
    b'{"id":"%b","object":"response","created_at":%d,"status":"%b","completed_at":%b,"error":%b,'
    b'"incomplete_details":%b,"output":%b,"usage":%b,%b'
)
_USAGE = (
    b'{"input_tokens":%d,"input_tokens_details":{"cached_tokens":%d,"cache_write_tokens":0},"output_tokens":%d,'
    b'"output_tokens_details":{"reasoning_tokens":%d},"total_tokens":%d}'
)
"""A `ResponseAnswer` but for what was asked, and its `ResponsesUsage`."""
_PLAIN_TEXT: Final = {"format": {"type": "text"}, "verbosity": "medium"}
_NO_REASONING: Final = EchoedReasoning(effort=None, summary=None)
Keep = Callable[[bytes, bytes, ResponseStatus], None]
"""Takes the bytes of a response that has ended, those of the items that the model has made, and how it ended."""


class Head:
    """What is the same in every state of the response *response_id* to *asked*; *store* says whether it is kept."""

    __slots__ = ("_asked", "created_at", "id")

    def __init__(self, response_id: str, asked: ResponsesRequest, *, store: bool) -> None:
        self.id = response_id
        self.created_at = int(time.time())
        self._asked = _encode(_echo(asked, store=store))[1:]

    def state(
        self,
        status: ResponseStatus,
        output: bytes = b"[]",
        *,
        usage: UsageReport | None = None,
        error: ResponseFailure | None = None,
        incomplete: IncompleteReason | None = None,
    ) -> bytes:
        """The response in *status*, as JSON; *output* is an array of items, encoded."""
        return _STATE % (
            self.id.encode(),
            self.created_at,
            status.encode(),
            b"%d" % time.time() if status == "completed" else b"null",
            b"null" if error is None else _encode(error),
            b"null" if incomplete is None else _encode(IncompleteDetails(incomplete)),
            output,
            b"null" if usage is None else _usage(usage),
            self._asked,
        )


def _echo(asked: ResponsesRequest, *, store: bool) -> ResponseHead:
    reasoning, text = asked.reasoning, asked.text
    shown: Any = _PLAIN_TEXT
    if text is not None and text.format is not None:
        shown = {"format": text.format, "verbosity": "medium"}
    return ResponseHead(
        model=asked.model,
        background=bool(asked.background),
        instructions=asked.instructions,
        max_output_tokens=asked.max_output_tokens,
        max_tool_calls=asked.max_tool_calls,
        metadata=asked.metadata or {},
        parallel_tool_calls=asked.parallel_tool_calls is not False,
        previous_response_id=asked.previous_response_id,
        prompt_cache_key=asked.prompt_cache_key,
        reasoning=_NO_REASONING
        if reasoning is None
        else EchoedReasoning(effort=reasoning.effort, summary=reasoning.summary or reasoning.generate_summary),
        safety_identifier=asked.safety_identifier,
        service_tier="default",
        store=store,
        temperature=asked.temperature,
        text=shown,
        tool_choice="auto" if asked.tool_choice is None else asked.tool_choice,
        tools=[made for tool in asked.tools or () if (made := _echoed(tool)) is not None],
        top_logprobs=asked.top_logprobs or 0,
        top_p=asked.top_p,
        truncation="disabled",
        user=asked.user,
    )


def _echoed(tool: object) -> EchoedFunction | EchoedCustom | None:
    if isinstance(tool, ResponsesFunction):
        return EchoedFunction(
            name=tool.name, description=tool.description, parameters=tool.parameters, strict=bool(tool.strict)
        )
    if isinstance(tool, ResponsesCustom):
        return EchoedCustom(name=tool.name, description=tool.description, format=tool.format)
    return None


def _usage(report: UsageReport) -> bytes:
    prompt, made = report.prompt_tokens, report.completion_tokens
    return _USAGE % (prompt, report.cached_tokens, made, report.reasoning_tokens, prompt + made)

"""What the OpenAPI document says of Responses: derived from the structs, completed with what they cannot say."""

from __future__ import annotations

from collections.abc import Sequence

from enginehouse.dialects.openai import errors
from enginehouse.dialects.openai.openapi import FAILURES, failures
from enginehouse.dialects.openai.responses.answers import DeletedResponse, ItemList, ResponseAnswer, ResponsesEvent
from enginehouse.dialects.openai.responses.examples import REQUESTS, STREAM
from enginehouse.dialects.openai.responses.items import HOSTED_ITEMS
from enginehouse.dialects.openai.responses.kept import ResponseNotFound
from enginehouse.dialects.openai.responses.request import HOSTED_TOOLS, ResponsesRequest
from enginehouse.dialects.operation import Json, Operation, json_body, ref, schema_prefix
from enginehouse_plugin.errors import InvalidRequest, RequestError

_RESPONSES = """\
Answers an input, whole or as a stream of events. Fields are honoured, recorded, refused with a 400 that names the \
field, or left out and named in the header `x-enginehouse-ignored`; none is ignored in silence. `null` means the same \
as leaving a field out.

With `"stream": true` the answer is `text/event-stream`: each event is a `ResponsesEvent` after `data: `, its type \
also after `event: `. The last is `response.completed`, `response.incomplete` or `response.failed`. While the model \
is silent, comments (`: keep-alive`) keep the connection open; what fails after the first of them and before \
`response.created` is an event `error`."""


def responses_operation(label: str = "") -> Operation:
    """Describe Responses at the mount with this *label*."""
    mark = schema_prefix(label).rstrip("_")
    document = {
        "operationId": f"createResponse{mark}",
        "summary": "Answer an input",
        "description": _RESPONSES,
        "security": [{}, {"key": []}],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": ref(ResponsesRequest),
                    "examples": {name: {"value": request} for name, request in REQUESTS.items()},
                }
            },
        },
        "responses": {
            "200": {
                "description": "The response, or the beginning of a stream.",
                "content": {
                    "application/json": {"schema": ref(ResponseAnswer)},
                    "text/event-stream": {"schema": _event(), "example": STREAM},
                },
            },
            **failures(FAILURES),
        },
    }
    return Operation(
        document=document,
        types=(ResponsesRequest, ResponseAnswer, ResponsesEvent, DeletedResponse, ItemList),
        narrower={"ResponsesRequest": _DEFAULTS},
        refused=frozenset(kind.__name__ for kind in (*HOSTED_ITEMS, *HOSTED_TOOLS)),
        null_tagged=frozenset({"InputMessage", "ItemReference"}),
        below={
            "/{response_id}": {
                "get": _kept(
                    f"getResponse{mark}", "Show a kept response", "The response as it is now.", ResponseAnswer
                ),
                "delete": _kept(f"deleteResponse{mark}", "Keep a response no more", "It is deleted.", DeletedResponse),
            },
            "/{response_id}/cancel": {
                "post": _kept(
                    f"cancelResponse{mark}", "End a response in the background", "The response.", ResponseAnswer
                ),
            },
            "/{response_id}/input_items": {
                "get": _kept(
                    f"listInputItems{mark}", "List what a response was made of", "A page of items.", ItemList, _PAGE
                ),
            },
        },
    )


_PAGE: list[Json] = [
    {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}},
    {"name": "order", "in": "query", "schema": {"enum": ["asc", "desc"], "default": "desc"}},
    {"name": "after", "in": "query", "schema": {"type": "string"}},
]


def _kept(name: str, summary: str, answer: str, kind: type, parameters: Sequence[Json] = ()) -> Json:
    return {
        "operationId": name,
        "summary": summary,
        "security": [{}, {"key": []}],
        "parameters": [
            {"name": "response_id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}},
            *parameters,
        ],
        "responses": {"200": json_body(answer, kind), **failures(_FAILURES)},
    }


_FAILURES = {
    "The request is wrong; `param` names what.": errors.describe(
        InvalidRequest("Invalid 'limit': 'x' is no such value.", param="limit")
    ),
    "No key, or a wrong one.": errors.describe(RequestError("An API key is needed.", code="missing_api_key")),
    "No such response is kept for this key.": errors.describe(ResponseNotFound("resp_x")),
}


_DEFAULTS: dict[str, Json] = {
    "store": {"default": True},
    "background": {"default": False},
    "temperature": {"default": 1.0},
    "top_p": {"default": 1.0},
    "top_logprobs": {"default": 0},
    "stream": {"default": False},
    "parallel_tool_calls": {"default": True},
    "truncation": {"default": "disabled"},
    "service_tier": {"default": "auto"},
}


def _event() -> Json:
    """Describe one event: OpenAPI before 3.2 has no words for a whole stream."""
    return {
        "type": "object",
        "description": "One event of the stream.",
        "required": ["data"],
        "properties": {
            "event": {"type": "string"},
            "data": {"type": "string", "contentMediaType": "application/json", "contentSchema": ref(ResponsesEvent)},
        },
    }

"""The OpenAPI 3.1 document: endpoints say what they do, the small routes stand here.

Data only: the routes themselves are elsewhere, and a test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from enginehouse import __version__
from enginehouse.dialects.endpoint import Endpoint, ErrorReply
from enginehouse.dialects.openai import errors
from enginehouse.dialects.openai.errors import ErrorEnvelope
from enginehouse.dialects.openai.models import Health, ModelCard, ModelList, Readiness
from enginehouse.dialects.operation import Json, json_body, ref, schema_prefix, schemas
from enginehouse.dialects.refusals import BodyTooLarge, MethodNotAllowed, TooSlow, UnsupportedMediaType
from enginehouse_plugin.errors import EnginehouseError, InvalidRequest, RequestError


def document(endpoints: Iterable[Endpoint], models_under: Iterable[str] = ("/v1",)) -> Json:
    """Return the OpenAPI document of a server of *endpoints*, with routes for models under the paths *models_under*.

    Of several endpoints at one path, told apart by host or key, the first is described.
    """
    described: dict[str, Endpoint] = {}
    hidden = [endpoint for endpoint in endpoints if described.setdefault(endpoint.path, endpoint) is not endpoint]
    types = [ErrorEnvelope, ModelList, ModelCard, Health, Readiness]
    paths: Json = {path: {"post": endpoint.operation.document} for path, endpoint in described.items()}
    for path, endpoint in described.items():
        paths.update({path + rest: dict(methods) for rest, methods in endpoint.operation.below.items()})
    for at, prefix in enumerate(dict.fromkeys(models_under)):
        mark = schema_prefix(prefix) if at else ""
        paths[f"{prefix}/models"] = {"get": _models_operation(mark)}
        paths[f"{prefix}/models/{{model_id}}"] = {"get": _model_operation(mark)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Enginehouse",
            "version": __version__,
            "description": "One API in front of every inference engine."
            + "".join(
                f" For some hosts or keys `{endpoint.path}` is that of the profile {endpoint.profile}."
                for endpoint in hidden
            ),
        },
        "paths": {
            **paths,
            "/health": {"get": _health_operation()},
            "/ready": {"get": _ready_operation()},
            "/metrics": {"get": _metrics_operation()},
        },
        "components": {
            "schemas": schemas(types, [endpoint.operation for endpoint in described.values()]),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


# ---- failures ----


def _failure(message: str, code: str, param: str | None = None) -> EnginehouseError:
    kind = RequestError if param is not None else EnginehouseError
    return kind(message, code=code, param=param)


_INVALID = InvalidRequest(
    "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3 instead.",
    param="temperature",
    code="decimal_above_max_value",
)
_NO_KEY = _failure("An API key is needed: 'Authorization: Bearer …'.", "missing_api_key")
_NO_MODEL = _failure("The model 'gpt-x' does not exist here.", "model_not_found", "model")
FAULTS: dict[str, BaseException] = {
    "The request is wrong; `param` names the field.": _INVALID,
    "No key, or a wrong one.": _NO_KEY,
    "There is no such model.": _NO_MODEL,
    "The route does not answer this method.": MethodNotAllowed("PUT", ["POST"]),
    "The body did not arrive in time.": TooSlow("body"),
    "The body is too large.": BodyTooLarge(16 * 1024 * 1024),
    "The body is not said to be JSON.": UnsupportedMediaType("text/plain"),
    "Too many requests of this key.": _failure("The rate limit is reached.", "rate_limit_exceeded"),
    "An error of this server or its engine.": RuntimeError(),
    "The engine answered what cannot be read.": _failure("The engine's answer is broken.", "engine_protocol_error"),
    "Not now: the queue is full, the model is loading or the server is going down. `Retry-After` says when to ask "
    "again.": _failure("The queue of 'smollm2-135m' is full.", "queue_full"),
    "The engine took too long.": _failure("The model took longer to begin than 300 s.", "timeout"),
}
"""What a request to an endpoint may get, with what it means."""


FAILURES: dict[str, ErrorReply] = {words: errors.describe(fault) for words, fault in FAULTS.items()}
"""The same as OpenAI's replies."""


def failures(replies: dict[str, ErrorReply] | list[BaseException]) -> Json:
    """Describe *replies* by status, each with the body of the first that has it as the example."""
    if isinstance(replies, list):
        replies = {words: FAILURES[words] for words, fault in FAULTS.items() if fault in replies}
    found: Json = {}
    for words, reply in replies.items():
        if (described := found.get(str(reply.status))) is not None:
            described["description"] += f" {words}"
            continue
        example = msgspec.json.decode(reply.body)
        found[str(reply.status)] = {
            "description": words,
            "content": {"application/json": {"schema": ref(ErrorEnvelope), "example": example}},
        }
    return found


# ---- the small routes ----

_IN_ANTHROPICS_FORM = (
    "A request with `anthropic-version`, or with its key in `x-api-key`, gets what Anthropic's Models API says."
)


def _models_operation(mark: str) -> Json:
    return {
        "operationId": f"listModels{mark}",
        "summary": "List the models",
        "description": _IN_ANTHROPICS_FORM,
        "security": [{}, {"key": []}],
        "responses": {"200": json_body("All models, with what each can do.", ModelList), **failures([_NO_KEY])},
    }


def _model_operation(mark: str) -> Json:
    return {
        "operationId": f"retrieveModel{mark}",
        "summary": "Show one model",
        "description": f"An ID may hold slashes; they may be written as they are. {_IN_ANTHROPICS_FORM}",
        "security": [{}, {"key": []}],
        "parameters": [
            {"name": "model_id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        ],
        "responses": {"200": json_body("The model.", ModelCard), **failures([_INVALID, _NO_KEY, _NO_MODEL])},
    }


def _health_operation() -> Json:
    return {
        "operationId": "getHealth",
        "summary": "Tell that the router is up",
        "responses": {"200": json_body("It is.", Health)},
    }


def _ready_operation() -> Json:
    return {
        "operationId": "getReadiness",
        "summary": "Tell whether requests are answered now",
        "responses": {
            "200": json_body("They are.", Readiness),
            str(errors.NOT_READY): json_body(
                "They are not: models are loading, none has a place on this host, or the server is going down.",
                Readiness,
            ),
        },
    }


def _metrics_operation() -> Json:
    return {
        "operationId": "getMetrics",
        "summary": "Show figures for Prometheus",
        "security": [{}, {"key": []}],
        "responses": {
            "200": {
                "description": "Prometheus' text format.",
                "content": {"text/plain": {"schema": {"type": "string"}}},
            },
            **failures([_NO_KEY]),
        },
    }

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
from enginehouse.dialects.operation import Json, json_body, ref, schemas
from enginehouse.dialects.refusals import BodyTooLarge, MethodNotAllowed, TooSlow, UnsupportedMediaType
from enginehouse_plugin.errors import EnginehouseError, InvalidRequest, RequestError


def document(endpoints: Iterable[Endpoint]) -> Json:
    """Return the OpenAPI document of a server of *endpoints*."""
    endpoints = tuple(endpoints)
    types = [ErrorEnvelope, ModelList, ModelCard, Health, Readiness]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Enginehouse",
            "version": __version__,
            "description": "One OpenAI-compatible chat API in front of every inference engine.",
        },
        "paths": {
            **{endpoint.path: {"post": endpoint.operation.document} for endpoint in endpoints},
            "/v1/models": {"get": _models_operation()},
            "/v1/models/{model_id}": {"get": _model_operation()},
            "/health": {"get": _health_operation()},
            "/ready": {"get": _ready_operation()},
            "/metrics": {"get": _metrics_operation()},
        },
        "components": {
            "schemas": schemas(types, [endpoint.operation for endpoint in endpoints]),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


# ---- failures ----


def _refusal(message: str, param: str | None, code: str | None = None) -> ErrorReply:
    return errors.describe(InvalidRequest(message, param=param, code=code))


def _failure(message: str, code: str, param: str | None = None) -> ErrorReply:
    kind = RequestError if param is not None else EnginehouseError
    return errors.describe(kind(message, code=code, param=param))


_INVALID = _refusal(
    "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3 instead.",
    "temperature",
    "decimal_above_max_value",
)
_NO_KEY = _failure("An API key is needed: 'Authorization: Bearer …'.", "missing_api_key")
_NO_MODEL = _failure("The model 'gpt-x' does not exist here.", "model_not_found", "model")
FAILURES: dict[str, ErrorReply] = {
    "The request is wrong; `param` names the field.": _INVALID,
    "No key, or a wrong one.": _NO_KEY,
    "There is no such model.": _NO_MODEL,
    "The route does not answer this method.": errors.describe(MethodNotAllowed("PUT", ["POST"])),
    "The body did not arrive in time.": errors.describe(TooSlow("body")),
    "The body is too large.": errors.describe(BodyTooLarge(16 * 1024 * 1024)),
    "The body is not said to be JSON.": errors.describe(UnsupportedMediaType("text/plain")),
    "Too many requests of this key.": _failure("The rate limit is reached.", "rate_limit_exceeded"),
    "An error of this server or its engine.": errors.describe(RuntimeError()),
    "The engine answered what cannot be read.": _failure("The engine's answer is broken.", "engine_protocol_error"),
    "Not now: the queue is full, the model is loading or the server is going down. `Retry-After` says when to ask "
    "again.": _failure("The queue of 'smollm2-135m' is full.", "queue_full"),
    "The engine took too long.": _failure("The model took longer to begin than 300 s.", "timeout"),
}
"""What a request to an endpoint may get, with what it means."""


def failures(replies: dict[str, ErrorReply] | list[ErrorReply]) -> Json:
    """Describe *replies* by status, each with its body as the example."""
    if isinstance(replies, list):
        words = {id(reply): description for description, reply in FAILURES.items()}
        replies = {words[id(reply)]: reply for reply in replies}
    return {
        str(reply.status): {
            "description": description,
            "content": {"application/json": {"schema": ref(ErrorEnvelope), "example": msgspec.json.decode(reply.body)}},
        }
        for description, reply in replies.items()
    }


# ---- the small routes ----


def _models_operation() -> Json:
    return {
        "operationId": "listModels",
        "summary": "List the models",
        "security": [{}, {"key": []}],
        "responses": {"200": json_body("All models, with what each can do.", ModelList), **failures([_NO_KEY])},
    }


def _model_operation() -> Json:
    return {
        "operationId": "retrieveModel",
        "summary": "Show one model",
        "description": "An ID may hold slashes; they may be written as they are.",
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

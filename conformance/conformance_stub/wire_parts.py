"""The seams of the stub's HTTP side: each method is right, and a mutant replaces one of them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import msgspec

from enginehouse_conformance.documented import documented
from enginehouse_conformance.rules import ProfileData
from enginehouse_plugin import TokenLogprob

from .engine import CONTEXT_TOKENS
from .fields import FIELDS, Body, Problem, number


class Rejected(Exception):
    """A request that is answered with an error; `param` names the field."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code
        self.status = status
        self.headers: tuple[tuple[str, str], ...] = ()


def entries(logprobs: Iterable[TokenLogprob]) -> list[Any]:
    """Log probabilities in the API's form."""
    return [
        {
            "token": entry.token,
            "logprob": entry.logprob,
            "bytes": list(entry.token_bytes),
            "top_logprobs": [
                {"token": top.token, "logprob": top.logprob, "bytes": list(top.token_bytes)} for top in entry.top
            ],
        }
        for entry in logprobs
    ]


class WireParts:
    """What the server does with a request and an answer, step by step."""

    model = "stub-1"
    max_body_bytes = 1 << 20

    # ---- requests ----

    def decode(self, data: bytes) -> Body:
        """The body as an object."""
        try:
            body = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise Rejected(f"The body is no JSON: {exc}", code="invalid_json") from exc
        except RecursionError as exc:
            raise Rejected("The body is nested too deep.", code="invalid_json") from exc
        if not isinstance(body, dict):
            raise Rejected("The body must be an object.", code="invalid_json")
        return body

    def check_key(self, authorization: str | None, key: str | None) -> None:
        """The bearer's key must be *key*, where there is one."""
        if key is not None and authorization != f"Bearer {key}":
            raise Rejected("The key is missing or wrong.", code="invalid_api_key", status=401)

    def check_media_type(self, kind: str | None) -> None:
        """Whatever the content type is, the body is read as JSON."""

    def check_query(self, query: dict[str, str], profile: ProfileData) -> None:
        """agent=true where the profile has it."""
        if "query.agent" in profile.parameters and query.get("agent") != "true":
            raise Rejected("agent must be true", param="agent", code="invalid_value")

    def known_fields(self, profile: ProfileData) -> frozenset[str]:
        """Fields that *profile* has, and a seed, as servers take it whatever their document says."""
        roots = {name.split(".")[0] for name in profile.parameters} | {"seed"}
        return frozenset(FIELDS) & roots

    def check_fields(self, body: Body, profile: ProfileData) -> None:
        """Every field must be known and right; null is the same as absent."""
        for name in ("model", "messages"):
            if body.get(name) is None:
                raise Rejected(f"{name} is required", param=name, code="missing_required_parameter")
        for name in body.keys() - self.known_fields(profile):
            raise Rejected(f"{name} is no field of this API", param=name, code="unknown_parameter")
        roles = self.roles_of(profile)
        for message in body["messages"] if isinstance(body["messages"], list) else ():
            if isinstance(message, dict) and roles and message.get("role") not in roles:
                raise Rejected(f"role must be one of {', '.join(roles)}", param="messages", code="invalid_value")
        for name, value in body.items():
            problem = None if value is None else self.problem(name, value, body, profile)
            if problem is not None:
                raise Rejected(f"{name} {problem}", param=name, code="invalid_value")
        if body["model"] != self.model:
            raise Rejected(f"no model {body['model']!r} here", param="model", code="model_not_found", status=404)

    def problem(self, name: str, value: Any, body: Body, profile: ProfileData) -> Problem:
        """What is wrong with a field; a mutant that is lenient with one field returns None for it."""
        if name == "temperature":
            return number(0, profile.max_temperature)(value, body)
        if name == "max_tokens" and self.must_fit(profile) and isinstance(value, int) and value > CONTEXT_TOKENS:
            return f"must be {CONTEXT_TOKENS} or less, as the context is"
        return FIELDS[name](value, body)

    def roles_of(self, profile: ProfileData) -> tuple[str, ...]:
        """Roles that the document of *profile* lists; none: all."""
        return documented(profile.name).roles

    def limit_of(self, profile: ProfileData) -> int | None:
        """The tokens that an answer has where the request does not say; None: as many as come."""
        field = documented(profile.name).fields.get("max_tokens")
        return None if field is None else field.default

    def heat_of(self, profile: ProfileData) -> float:
        """The temperature of a request that does not say one."""
        field = documented(profile.name).fields.get("temperature")
        return 1.0 if field is None or field.default is None else field.default

    def must_fit(self, profile: ProfileData) -> bool:
        """Whether max_tokens must fit into the context."""
        return documented(profile.name).max_tokens_must_fit

    def shared(self, limit: int, choices: int, profile: ProfileData) -> int:
        """What each of *choices* gets of the *limit* of a run."""
        return limit // choices if documented(profile.name).max_completion_tokens_spans == "run" else limit

    def within(self, body: Body, profile: ProfileData) -> Body:
        """The checked request with the bounds of *profile*."""
        body = {**body, "temperature": self.heat_of(profile)} if body.get("temperature") is None else body
        limit, newer = self.limit_of(profile), body.get("max_completion_tokens")
        if newer is not None:
            body = {**body, "max_completion_tokens": self.shared(newer, body.get("n") or 1, profile)}
        return body if limit is None or body.get("max_tokens") or newer else {**body, "max_tokens": limit}

    def status_of(self, status: int, profile: ProfileData) -> int:
        """The documented status for *status*."""
        return documented(profile.name).statuses.get(status, status)

    def words_of(self, status: int, profile: ProfileData) -> str:
        """What the document says of *status*."""
        said = documented(profile.name).errors.get(status)
        return "" if said is None else f"{said.words} "

    def prepare(self, body: Body) -> Body:
        """The checked request as it goes on to the engine, nulls left out. A mutant that ignores a field drops it."""
        kept = {name: value for name, value in body.items() if value is not None}
        limits = [kept.pop(name) for name in ("max_tokens", "max_completion_tokens") if name in kept]
        return {**kept, "max_tokens": min(limits)} if limits else kept

    # ---- answers ----

    def created(self) -> int:
        """Unix time in seconds."""
        return int(time.time())

    def entries(self, logprobs: Iterable[TokenLogprob]) -> list[Any]:
        """Log probabilities in the API's form."""
        return entries(logprobs)

    def answer(self, answer: Body, body: Body) -> Body:
        """The JSON answer as it leaves; *body* is the request."""
        del body
        return answer

    def chunks(self, chunks: list[Body], body: Body) -> list[Body]:
        """The chunks of one event as they leave."""
        del body
        return chunks

    def event(self, data: bytes) -> bytes:
        """One server-sent event."""
        return b"data: " + data + b"\n\n"

    def stream_headers(self) -> list[tuple[str, str]]:
        """Headers of a stream."""
        return [("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-cache")]

    def stream_end(self) -> bytes:
        """What ends a stream."""
        return self.event(b"[DONE]")

    def stream_error(self, error: Body) -> bytes:
        """What a failure in mid-stream looks like; nothing follows it."""
        return self.event(msgspec.json.encode(error))

    def usage(self, usage: Body, body: Body) -> Body:
        """Usage as it leaves."""
        del body
        return usage

    def error(
        self, status: int, error: Body, headers: list[tuple[str, str]]
    ) -> tuple[int, Body, list[tuple[str, str]]]:
        """An error as it leaves: status, body, headers."""
        return status, error, headers

    def models(self) -> Body:
        """The models route."""
        return {"object": "list", "data": [self.model_card()]}

    def model_card(self) -> Body:
        """One model."""
        return {"id": self.model, "object": "model", "created": 1_700_000_000, "owned_by": "stub"}

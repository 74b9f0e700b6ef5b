"""The seams of the stub's other endpoints: each method is right, and a mutant replaces one of them.

`dialect` is the endpoint's name. What is common to all is one method for all: a mutant looks at the name.
"""

from __future__ import annotations

from typing import Any

from .dialects import DIALECTS, Made
from .fields import Body, Problem
from .wire_parts import Rejected


class DialectParts:
    """What the server does with a request to an endpoint other than chat, step by step."""

    model: str

    def check_body(self, dialect: str, body: Body) -> None:
        """Every field must be known and right; null is the same as absent."""
        known = DIALECTS[dialect].fields
        for name in DIALECTS[dialect].required:
            if body.get(name) is None:
                raise Rejected(f"{name} is required", param=name, code="missing_required_parameter")
        for name, value in body.items():
            if name not in known:
                raise Rejected(f"{name} is no field of this API", param=name, code="unknown_parameter")
            problem = None if value is None else self.field_problem(dialect, name, value, body)
            if problem is not None:
                raise Rejected(f"{name} {problem}", param=name, code="invalid_value")
        if body["model"] != self.model:
            raise Rejected(f"no model {body['model']!r} here", param="model", code="model_not_found", status=404)

    def field_problem(self, dialect: str, name: str, value: Any, body: Body) -> Problem:
        """What is wrong with a field."""
        return DIALECTS[dialect].fields[name](value, body)

    def dialect_key(self, dialect: str, headers: dict[str, str]) -> str | None:
        """What *headers* say of a key, as a bearer's."""
        if dialect == "messages" and "x-api-key" in headers:
            return f"Bearer {headers['x-api-key']}"
        return headers.get("authorization")

    def as_chat(self, dialect: str, chat: Body, body: Body) -> Body:
        """The chat request that *body* becomes. A mutant that ignores a field drops it here."""
        del dialect, body
        return chat

    def dialect_answer(self, dialect: str, answer: Body, body: Body) -> Body:
        """The whole answer as it leaves."""
        del dialect, body
        return answer

    def dialect_events(self, dialect: str, events: list[Made], body: Body) -> list[Made]:
        """The events of a stream as they leave."""
        del dialect, body
        return events

    def dialect_stream(self, dialect: str, data: bytes) -> bytes:
        """The whole stream as bytes."""
        del dialect
        return data

    def dialect_error(self, dialect: str, error: Body) -> Body:
        """An error as it leaves."""
        del dialect
        return error

    # ---- counting ----

    def counted_body(self, body: Body) -> Body:
        """The request whose tokens are counted."""
        return body

    def counted(self, tokens: int) -> int:
        """The count as it is told."""
        return tokens

    # ---- models, as Ollama tells of them ----

    def ollama_version(self) -> Body:
        """The version."""
        return {"version": "0.1.0"}

    def ollama_tags(self, model: Body) -> Body:
        """The list of models."""
        return {"models": [model]}

    def ollama_knows(self, name: str) -> bool:
        """Whether there is a model of this name."""
        return name in (self.model, f"{self.model}:latest")

    # ---- kept responses ----

    def keeps(self, body: Body) -> bool:
        """Whether the response to *body* is kept."""
        return body.get("store") is not False

    def kept_answer(self, answer: Body) -> Body:
        """A kept response as it is given."""
        return answer

    def deletes(self) -> bool:
        """Whether what is deleted is gone."""
        return True

    def unknown_response(self) -> Rejected:
        """What an id that nobody knows gets."""
        return Rejected("No such response is kept here.", code="response_not_found", status=404)

    def listed(self, items: list[Body], order: str) -> list[Body]:
        """*items* in the *order* that was asked for."""
        return items if order == "asc" else items[::-1]

    def continued(self, before: list[Body], instructions: str | None) -> list[Body]:
        """The items of an earlier conversation, to go on with; its *instructions* are no part of it."""
        del instructions
        return before

    def finishes_in_background(self) -> bool:
        """Whether what runs in the background comes to its end."""
        return True

"""Responses that the stub keeps, and what can be done with them."""

from __future__ import annotations

from typing import Any

from .behaviour import Behaviour
from .fields import Body
from .wire_parts import Rejected


class KeptResponses:
    """Keeps all responses, by id: the answer, the items of its input and output, its instructions."""

    def __init__(self, parts: Behaviour) -> None:
        self._parts = parts
        self._kept: dict[str, tuple[Body, list[Body], list[Body], str | None]] = {}

    def put(self, answer: Body, given: list[Body], body: Body) -> None:
        """Keep *answer* to the items *given*, if *body* has it kept."""
        if self._parts.keeps(body):
            self._kept[answer["id"]] = (answer, given, answer["output"], body.get("instructions"))

    def items(self, body: Body) -> list[Body]:
        """The items of the conversation that *body* goes on with, and its own."""
        own = body["input"]
        given = [{"type": "message", "role": "user", "content": own}] if isinstance(own, str) else own
        previous = body.get("previous_response_id")
        if previous is None:
            return list(given)
        if previous not in self._kept:
            raise Rejected("No such response is kept here.", param="previous_response_id", status=404)
        _, before, said, instructions = self._kept[previous]
        return [*self._parts.continued([*before, *said], instructions), *given]

    def answer(self, method: str, below: str, query: dict[str, str]) -> Body:
        """What *method* on the path *below* the endpoint's gives."""
        response_id, _, rest = below.partition("/")
        if response_id not in self._kept:
            raise self._parts.unknown_response()
        answer, given, _, _ = self._kept[response_id]
        if method == "GET" and not rest:
            return self._parts.kept_answer(answer)
        if method == "GET" and rest == "input_items":
            listed: list[Any] = self._parts.listed(given, query.get("order", "desc"))
            return {"object": "list", "data": listed, "has_more": False}
        if method == "DELETE":
            if self._parts.deletes():
                del self._kept[response_id]
            return {"id": response_id, "object": "response", "deleted": True}
        raise Rejected("There is nothing here.", code="not_found", status=404)

"""What real clients send, and what points of the API promise, as data: requests with what must come of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

CONTEXT_TOKENS = 8192
_FOLDER = Path(__file__).parent


class Ask(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request, `body`, without its model, and what must come of it.

    `words` of filling are put behind the first message's text: clients' own prompts are long. With `lenient` it is sent
    with the key whose `unsupported` is "report". Of an answer of 200 each choice must end, with `finish` if that is
    given; `calls` wants a tool called.
    """

    name: str
    body: dict[str, Any]
    group: str = ""
    words: int = 0
    lenient: bool = False
    status: int = 200
    code: str | None = None
    finish: str | None = None
    calls: bool = False
    total_tokens: int | None = None
    left_out: str | None = None

    def sent_to(self, model: str) -> dict[str, Any]:
        """The whole body of the request to *model*."""
        first, *others = self.body["messages"]
        if self.words:
            first = {**first, "content": first["content"] + " lamp" * self.words}
        return {**self.body, "model": model, "messages": [first, *others]}


class _Client(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    seen_in: str
    asks: list[Ask]


class _Point(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    promise: str
    asks: list[Ask]


def all_asks() -> list[Ask]:
    """The requests of the clients, then those of the promises, each with its group."""
    clients = {
        path.stem: msgspec.json.decode(path.read_bytes(), type=_Client).asks
        for path in sorted((_FOLDER / "clients").glob("*.json"))
    }
    points = msgspec.json.decode((_FOLDER / "points.json").read_bytes(), type=list[_Point])
    groups = {**clients, **{point.promise: point.asks for point in points}}
    return [msgspec.structs.replace(ask, group=group) for group, asks in groups.items() for ask in asks]

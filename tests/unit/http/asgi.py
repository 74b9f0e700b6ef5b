"""A small ASGI application, and a request to one."""

from __future__ import annotations

from typing import Any, NamedTuple


class Got(NamedTuple):
    status: int
    headers: list[tuple[bytes, bytes]]
    scope: dict[str, Any]

    def all(self, name: str) -> list[str]:
        """All values of the header *name*."""
        return [value.decode() for key, value in self.headers if key == name.encode()]


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-own", b"1")]})
    await send({"type": "http.response.body", "body": b"hello"})


async def get(app: Any, *headers: tuple[str, str], method: str = "GET") -> Got:
    scope = {
        "type": "http",
        "method": method,
        "path": "/",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
    }
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    return Got(sent[0]["status"], list(sent[0]["headers"]), scope)

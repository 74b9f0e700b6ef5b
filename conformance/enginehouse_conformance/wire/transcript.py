"""Exchanges as they went over the wire, without secrets, rendered as `curl`."""

from __future__ import annotations

import shlex

import msgspec

from .client import Header

_KEPT_CHARS = 8_000
_KEPT_BODY_CHARS = 64_000
_SECRET_HEADERS = frozenset({"authorization", "x-api-key", "api-key", "cookie", "proxy-authorization", "set-cookie"})


class Exchange(msgspec.Struct, kw_only=True):
    """One request and what came back; texts are cut at a fixed length. `retries` says why it was sent
    again, if it was."""

    method: str
    url: str
    request_headers: list[Header] = []
    request_body: str = ""
    status: int | None = None
    response_headers: list[Header] = []
    response_body: str = ""
    duration_s: float = 0.0
    fault: str | None = None
    retries: list[str] = []
    note: str | None = None

    def curl(self) -> str:
        """The shell command that sends this request again."""
        words = ["curl", "-sS", "-i", "-N", "-X", self.method, shlex.quote(self.url)]
        for name, value in self.request_headers:
            quoted = f'"{name}: {value}"' if "$API_KEY" in value else shlex.quote(f"{name}: {value}")
            words += ["-H", quoted]
        if self.request_body:
            words += ["--data-binary", shlex.quote(self.request_body)]
        return " ".join(words)


class Redactor:
    """Takes a target's secrets out of what is kept."""

    def __init__(self, secrets: tuple[str, ...] = ()) -> None:
        self._secrets = tuple(secret for secret in secrets if secret)

    def headers(self, headers: tuple[Header, ...]) -> list[Header]:
        """*headers* with the values of secret ones replaced."""
        return [(name, self._value(name, value)) for name, value in headers]

    def _value(self, name: str, value: str) -> str:
        if name.lower() == "authorization" and value.lower().startswith("bearer "):
            return "Bearer $API_KEY"
        return "$API_KEY" if name.lower() in _SECRET_HEADERS else self.text(value)

    def text(self, text: str, *, kept_chars: int = _KEPT_CHARS) -> str:
        """*text* without secrets, cut where it is long."""
        for secret in self._secrets:
            text = text.replace(secret, "$API_KEY")
        if len(text) > kept_chars:
            return f"{text[:kept_chars]}… ({len(text) - kept_chars} characters more)"
        return text

    def body(self, body: bytes) -> str:
        """The body of a request as text, longer than an answer's; bytes that are not UTF-8 are shown escaped."""
        return self.text(body.decode("utf-8", "backslashreplace"), kept_chars=_KEPT_BODY_CHARS)

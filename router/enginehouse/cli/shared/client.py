"""A small client of a running server, for `chat` and `models --url`; any OpenAI-compatible server will do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import click
import httpx2
import msgspec

DEFAULT_URL = "http://127.0.0.1:8000"

url_option = click.option(
    "--url",
    metavar="URL",
    envvar="ENGINEHOUSE_URL",
    show_envvar=True,
    help="A running server, such as http://host:8000.",
)
key_option = click.option(
    "--key",
    metavar="SECRET",
    envvar="ENGINEHOUSE_API_KEY",
    show_envvar=True,
    help="API key; better in the environment than on the command line, where others of this machine see it.",
)


class ServerError(click.ClickException):
    """The server refused, or could not be reached; the message is for people."""


class Client:
    """The few calls that the command line makes."""

    def __init__(self, http: httpx2.Client, url: str) -> None:
        self._http = http
        self._url = url

    def models(self) -> list[dict[str, Any]]:
        """`GET /v1/models`, as the server says it."""
        with self._trouble():
            reply = self._http.get("/models")
            self._check(reply)
            data = _json(reply.content).get("data")
        if not isinstance(data, list):
            raise ServerError(f"{self._url} does not answer like a chat-completions server.")
        return [model for model in data if isinstance(model, dict)]

    def stream(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """`POST /v1/chat/completions` with `stream`; yields the chunks."""
        with (
            self._trouble(),
            self._http.stream("POST", "/chat/completions", json={**body, "stream": True}) as reply,
        ):
            if reply.status_code != 200:
                reply.read()
                self._check(reply)
            is_done = False
            for line in reply.iter_lines():
                if not line.startswith("data:"):
                    continue
                data = line.removeprefix("data:").strip()
                if data == "[DONE]":
                    is_done = True
                    break
                chunk = _json(data.encode())
                if "error" in chunk:
                    raise ServerError(_message(chunk) or "the server reported an error")
                yield chunk
            if not is_done:
                raise ServerError("The connection ended before the answer did.")

    def _check(self, reply: httpx2.Response) -> None:
        if reply.status_code == 200:
            return
        said = _message(_json(reply.content)) or reply.reason_phrase or "The server refused"
        advice = " Give the key in ENGINEHOUSE_API_KEY." if reply.status_code in (401, 403) else ""
        if wait := reply.headers.get("retry-after"):
            advice += f" Try again in {wait} s."
        raise ServerError(f"{said.rstrip('.')} (status {reply.status_code}).{advice}")

    @contextlib.contextmanager
    def _trouble(self) -> Iterator[None]:
        try:
            yield
        except httpx2.ConnectError as error:
            raise ServerError(
                f"No server answers at {self._url} ({error}). "
                "Start one with 'enginehouse serve', or name another with --url."
            ) from error
        except httpx2.TimeoutException as error:
            raise ServerError(f"{self._url} does not answer in time.") from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise ServerError(f"Talking to {self._url} failed: {error or type(error).__name__}.") from error


@contextlib.contextmanager
def connect(url: str | None, key: str | None) -> Iterator[Client]:
    """A client of the server at *url*, with or without `/v1` at its end."""
    base = (url or DEFAULT_URL).rstrip("/").removesuffix("/v1")
    if not base.startswith(("http://", "https://")):
        raise click.UsageError(f"'{url}' is no URL; write http://HOST:PORT.")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    # A first token may take minutes; a server that is there accepts a connection at once.
    timeout = httpx2.Timeout(600.0, connect=10.0)
    with httpx2.Client(base_url=f"{base}/v1", headers=headers, timeout=timeout) as http:
        yield Client(http, base)


def _json(content: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(content)
    except msgspec.DecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _message(body: dict[str, Any]) -> str:
    error = body.get("error")
    return str(error.get("message", "")) if isinstance(error, dict) else str(error or "")

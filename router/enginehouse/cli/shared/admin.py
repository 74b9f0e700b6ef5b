"""A client of the routes under `/admin` of a running server, by its Unix socket or with a key for them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import click
import httpx2
import msgspec

from enginehouse.cli.shared.client import DEFAULT_URL, ServerError, key_option, url_option
from enginehouse.cli.shared.setup import config_option, json_option, read_config

F = TypeVar("F", bound=Callable[..., Any])  # click's decorators take any function
_TIMEOUT_S = 60.0


def server_options(command: F) -> F:
    """The options that say which server is meant, and `--json`."""
    for option in (json_option, key_option, url_option, config_option):
        command = option(command)
    return command


class AdminClient:
    """Asks a server; *shown* is how messages call it."""

    def __init__(self, http: httpx2.Client, shown: str) -> None:
        self._http = http
        self._shown = shown

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The answer of the route at *path*.

        Raises:
            ServerError: there is none, or it is an error; the message says what to do.
        """
        try:
            reply = self._http.request(method, path, json=body)
        except (httpx2.ConnectError, OSError) as error:
            raise ServerError(f"No server answers at {self._shown} ({error}).") from error
        except httpx2.TimeoutException as error:
            raise ServerError(f"{self._shown} does not answer in time.") from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise ServerError(f"Talking to {self._shown} failed: {error or type(error).__name__}.") from error
        try:
            answer = msgspec.json.decode(reply.content, type=dict[str, Any])
        except msgspec.DecodeError:
            raise ServerError(f"{self._shown} does not answer like Enginehouse (status {reply.status_code}).") from None
        if reply.status_code == 200:
            return answer
        message = str(answer.get("error", {}).get("message", "")) or reply.reason_phrase
        advice = ""
        if reply.status_code in (401, 403):
            advice = " Give a key with admin = true in ENGINEHOUSE_API_KEY, or a --config with [server] admin_socket."
        raise ServerError(f"{message.rstrip('.')}.{advice}")


@contextlib.contextmanager
def admin_client(config_file: str | None, url: str | None, key: str | None) -> Iterator[AdminClient]:
    """A client of the server at *url*; without one, of that whose configuration is *config_file*, by its socket."""
    path = read_config(config_file).server.admin_socket if config_file and not url else None
    base = (url or DEFAULT_URL).rstrip("/").removesuffix("/v1")
    if not base.startswith(("http://", "https://")):
        raise click.UsageError(f"'{url}' is no URL; write http://HOST:PORT.")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    transport = httpx2.HTTPTransport(uds=path) if path else None
    base = "http://localhost" if path else base
    with httpx2.Client(base_url=base, headers=headers, timeout=_TIMEOUT_S, transport=transport) as http:
        yield AdminClient(http, path or base)

"""A server for one command alone: `enginehouse serve` as a child on a free port of loopback, which ends with it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import IO

import click

from enginehouse.cli.shared.client import ServerError
from enginehouse.cli.shared.named import Named

_END_S = 10.0
_SERVE = "from enginehouse.cli import main; main()"


@contextlib.contextmanager
def serving(named: Named) -> Iterator[str]:
    """Serve what is *named* while the block runs; yields the URL once it is ready.

    Raises:
        ServerError: it could not be loaded; the message says why.
    """
    command = [sys.executable, "-c", _SERVE, "serve", "--port", "0", "--log-format", "json", *named.arguments]
    # A session of its own: Ctrl-C ends a reply, and not the model.
    server = subprocess.Popen(  # noqa: S603  # this program
        command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert server.stderr is not None  # noqa: S101  # it was asked for
    rest = threading.Thread(target=_drain, args=(server.stderr,), daemon=True)
    try:
        url = _until_ready(server.stderr)
        rest.start()
        yield url
    finally:
        server.terminate()
        try:
            server.wait(_END_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        if rest.ident is not None:
            rest.join()
        server.stderr.close()


def _until_ready(log: IO[str]) -> str:
    url, shown, words = "", "", ""
    for line in log:
        try:
            entry = json.loads(line)
        except ValueError:
            words += line
            continue
        event = entry.get("event")
        if event == "listening":
            url = str(entry["url"])
        elif event == "instance loading" and entry.get("stage") and entry["stage"] != shown:
            shown = str(entry["stage"])
            click.secho(shown, dim=True, err=True)
        elif event == "instance ready":
            return url
        elif event == "instance given up":
            raise ServerError(str(entry.get("reason")))
    raise ServerError(words.strip().removeprefix("Error: ") or "The server ended before the model was ready.")


def _drain(log: IO[str]) -> None:
    for _ in log:
        pass

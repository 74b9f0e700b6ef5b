"""Whether the server of this container is up: exit code 0 where GET /health answers 200.

It imports nothing but a few modules of the standard library. ENGINEHOUSE_HEALTH_URL names another port, or https where
the server has a certificate; whose it is does not matter on loopback.
"""

from __future__ import annotations

import os
import ssl
import sys
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

TIMEOUT_S = 4


def is_up(url: str) -> bool:
    """Whether GET *url* answers 200 in time."""
    parts = urlsplit(url)
    host = parts.hostname or "127.0.0.1"
    connection = (
        HTTPSConnection(host, parts.port, timeout=TIMEOUT_S, context=ssl._create_unverified_context())  # noqa: S323
        if parts.scheme == "https"
        else HTTPConnection(host, parts.port, timeout=TIMEOUT_S)
    )
    try:
        connection.request("GET", parts.path or "/health")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(not is_up(os.environ.get("ENGINEHOUSE_HEALTH_URL", "http://127.0.0.1:8000/health")))

"""What the connections of a server have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .direct import DirectExchange
from .proxies import TrustedProxies

if TYPE_CHECKING:
    from .connection import Connection


class Shared:
    """Their handler, their limits, and who they are.

    `write_timeout_s`: a client that takes nothing for so long is cut off. `is_ending`: each connection ends with
    the request that runs on it.
    """

    def __init__(
        self,
        handle: Callable[[DirectExchange], None],
        *,
        write_timeout_s: float,
        max_body_bytes: int,
        proxies: TrustedProxies | None = None,
    ) -> None:
        self.handle = handle
        self.write_timeout_s = write_timeout_s
        self.max_body_bytes = max_body_bytes
        self.proxies = proxies
        self.connections: set[Connection] = set()
        self.refused: set[Connection] = set()  # beyond the limit, to be told so
        self.is_ending = False

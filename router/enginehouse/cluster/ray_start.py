"""`ray start` with a raylet that waits for none of its agents; run as a program, with the words of `ray`.

Ray's raylet starts two agents in Python and ends itself where they have not said within 15 s which ports they have
taken: a small or busy machine takes longer to import them. It waits for no port that it is told, but `ray start` tells
the agents alone of one of the four.
"""

from __future__ import annotations

import contextlib
import importlib
import random
import socket
import sys
from collections.abc import Sequence
from typing import Any, Final

_OPTIONS: Final = (
    *("--dashboard-agent-listen-port", "--dashboard-agent-grpc-port"),
    *("--metrics-export-port", "--runtime-env-agent-port"),
)
_PORTS: Final = range(20_000, 32_000)
"""Between those of Ray's workers and those that a system gives to whoever asks for any: nobody takes one by chance."""


def free_ports(address: str, count: int) -> list[int]:
    """*count* ports of *address* at which nothing listens.

    Raises:
        OSError: there are not as many.
    """
    with contextlib.ExitStack() as held:
        found: list[int] = []
        for port in random.sample(_PORTS, len(_PORTS)):
            with contextlib.suppress(OSError):
                held.enter_context(socket.create_server((address, port)))
                found.append(port)
            if len(found) == count:
                return found
    raise OSError(f"{address} has no {count} free ports from {_PORTS.start} to {_PORTS.stop - 1}")


def start(address: str, words: Sequence[str]) -> None:
    """Be `ray` with *words* for a node at *address*."""
    # Not at the module's head: the extra `ray` may not be there.
    cli: Any = importlib.import_module("ray.scripts.scripts").cli
    services: Any = importlib.import_module("ray._private.services")
    raylet = importlib.import_module("ray._private.ray_constants").PROCESS_TYPE_RAYLET
    ports = free_ports(address, len(_OPTIONS))
    start_process = services.start_ray_process

    def start_telling(command: list[str], process_type: str, **options: Any) -> Any:
        told = [f"--dashboard_agent_listen_port={ports[0]}"] if process_type == raylet else []
        return start_process([*command, *told], process_type, **options)

    services.start_ray_process = start_telling
    cli([*words, *(f"{option}={port}" for option, port in zip(_OPTIONS, ports, strict=True))])


if __name__ == "__main__":
    start(sys.argv[1], sys.argv[2:])

"""What is read off others when metrics are asked for."""

from __future__ import annotations

import msgspec


class InstanceGauge(msgspec.Struct, frozen=True, kw_only=True):
    """What is read off an instance when metrics are asked for; running and waiting count sequences and requests.

    `distance` is that of its answers from the reference's, None where these were not compared; `probe_tokens` are those
    of the router's own probes, of prompts and of answers.
    """

    instance_id: str
    model: str
    backend: str
    state: str
    running: int
    waiting: int
    restarts: int
    hangs: int
    breaker: str = "closed"
    breaker_opened: int = 0
    retried: int = 0
    distance: float | None = None
    is_aside: bool = False
    probe_tokens: tuple[int, int] = (0, 0)


class DoorGauge(msgspec.Struct, frozen=True, kw_only=True):
    """What is read off the listener: connections by kind, the most there may be, and bytes in flight."""

    open: int = 0
    strangers: int = 0
    reserved: int = 0
    most: int = 0
    given_up: int = 0
    turned_away: int = 0
    bodies_bytes: int = 0
    answers_bytes: int = 0

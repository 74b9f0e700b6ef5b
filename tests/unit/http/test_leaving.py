"""Crowds that leave, and crowds that are given up: some of them in each round of the loop, and each in the end."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest

from enginehouse.http import connection, turns
from enginehouse.http.deadline import Deadline
from enginehouse.http.direct import DirectExchange
from enginehouse.http.shared import Shared
from enginehouse.http.turns import Turns
from enginehouse_plugin.errors import EnginehouseError

from .lanes import Echo, listening

_CROWD = 100
_AT_ONCE = 4
_RESET = struct.pack("ii", 1, 0)
_POST = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n"


class Rounds:
    """Rounds of the loop in which few may be let go of, and how many were in each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(turns, "AT_ONCE", _AT_ONCE)
        monkeypatch.setattr(turns, "LOOK_FROM", _AT_ONCE // 2)
        monkeypatch.setattr(turns, "ROUND_S", 1.0)
        self._now = 0
        self._gone: Counter[int] = Counter()

    def note(self) -> None:
        """Count one more in this round."""
        self._gone[self._now] += 1

    async def judge(self) -> None:
        """Wait until the crowd is gone; in no round were many."""
        async with asyncio.timeout(20):
            while self._gone.total() < _CROWD:
                self._now += 1
                await asyncio.sleep(0)
        # As they come, and in turns; this task and the loop's rounds need not begin together.
        assert max(self._gone.values()) <= 4 * _AT_ONCE


@pytest.mark.parametrize("is_reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("sent", [b"", _POST + b"bo", _POST + b"body"], ids=["silent", "half", "asking"])
async def test_crowds_that_leave_share_the_rounds_of_the_loop(
    monkeypatch: pytest.MonkeyPatch, sent: bytes, *, is_reset: bool
) -> None:
    """Each request that ran hears that its client has left."""
    rounds, let_go = Rounds(monkeypatch), connection.Connection.let_go

    def noted(self: connection.Connection) -> None:
        rounds.note()
        let_go(self)

    monkeypatch.setattr(connection.Connection, "let_go", noted)
    begun: list[Unanswered] = []
    async with listening(lambda exchange: begun.append(Unanswered(exchange))) as connect:
        clients = [await connect() for _ in range(_CROWD)]
        for _, writer in clients:
            writer.write(sent)
        while sent and len(begun) < _CROWD:  # noqa: ASYNC110
            await asyncio.sleep(0)
        for _, writer in clients:
            if is_reset:
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()
        await rounds.judge()
    assert [each.said[-1] for each in begun] == ["left"] * len(begun)


async def test_deadlines_that_pass_at_once_share_the_rounds_of_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """As they do when a machine has slept; each client is told."""
    rounds, refuse = Rounds(monkeypatch), connection.Connection._refuse

    def noted(self: connection.Connection, error: EnginehouseError) -> None:
        rounds.note()
        refuse(self, error)

    monkeypatch.setattr(connection.Connection, "_refuse", noted)
    seen: list[Shared] = []
    async with listening(seen=seen) as connect:
        clients = [await connect() for _ in range(_CROWD)]
        while len(seen[0].connections) < _CROWD:  # noqa: ASYNC110
            await asyncio.sleep(0)
        monkeypatch.setattr(connection, "HEAD_TIMEOUT_S", 0.0)
        for each in seen[0].connections:
            each._await_head()
        await rounds.judge()
        for reader, _ in clients:
            assert (await reader.read()).startswith(b"HTTP/1.1 408")


async def test_a_deadline_that_moves_while_it_waits_for_its_turn_does_not_pass() -> None:
    crowded, passed = Crowded(), list[str]()
    moved, cleared, kept = (Deadline(asyncio.get_running_loop(), crowded) for _ in range(3))
    for name, each in {"moved": moved, "cleared": cleared, "kept": kept}.items():
        each.set(0, partial(passed.append, name))
    while len(crowded.steps) < 3:  # noqa: ASYNC110
        await asyncio.sleep(0)
    moved.set(60, partial(passed.append, "moved"))
    cleared.clear()
    for step in crowded.steps:
        step()
    moved.close()
    assert passed == ["kept"]


class Crowded(Turns):
    """All must wait for their turn, until the test takes it."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Callable[[], None]] = []

    def take(self, step: Callable[[], None]) -> None:
        self.steps.append(step)


class Unanswered(Echo):
    """Hears of the client, and says nothing."""

    def __init__(self, exchange: DirectExchange) -> None:
        super().__init__(exchange)

    def body(self, data: bytes) -> None:
        self.said.append("body")

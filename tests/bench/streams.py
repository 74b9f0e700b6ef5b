"""Several streams at once against servers of the same API, in interleaved rounds: tokens per second, and ratios."""

from __future__ import annotations

import asyncio
import json
import os
import re
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from . import load
from .figures import spread

Fields = dict[str, Any]  # of a chat request, JSON
Address = str | tuple[str, int]  # a Unix socket, or host and port

_USAGE = re.compile(rb'"completion_tokens": ?(\d+)')
_SUBJECTS = ("rivers", "bread", "trains", "glass", "bees", "maps", "salt", "clocks")


class Rate(msgspec.Struct, frozen=True):
    """What one round of one way came to; processor time is that of the whole process tree."""

    tokens_per_s: float
    processor_ms_per_token: float


class Way(msgspec.Struct, frozen=True):
    """One way to have requests answered. *ask* returns the tokens of an answer; *pid* is the tree that works."""

    ask: Callable[[Fields], Awaitable[int]]
    pid: int


class Case(msgspec.Struct, frozen=True):
    """*streams* requests at once, each of *max_tokens* and with *fields*; with *is_seeded* a `seed` of its own."""

    title: str
    streams: int
    max_tokens: int
    fields: Fields = {}
    is_seeded: bool = False

    def requests(self, turn: int) -> list[Fields]:
        """The requests of round *turn*: the same for every way, and no prompt twice, so no cache has them."""
        found = []
        for number in range(self.streams):
            subject = _SUBJECTS[(turn + number) % len(_SUBJECTS)]
            text = f"{turn}.{number}: write a long text about {subject}, and what people once thought of {subject}."
            seed = {"seed": (turn + 1) * 1000 + number} if self.is_seeded else {}
            body = {"messages": [{"role": "user", "content": text}], "max_tokens": self.max_tokens}
            found.append({**body, **self.fields, **seed})
        return found


def over_http(address: Address, model: str, pid: int) -> Way:
    """Stream from the server at *address*, which calls the model *model*."""

    async def ask(fields: Fields) -> int:
        return await _streamed(address, {**fields, "model": model})

    return Way(ask, pid)


async def _streamed(address: Address, fields: Fields) -> int:
    """Read one answer as a stream, on a connection of its own; returns the engine's count of its tokens."""
    body = json.dumps({**fields, "stream": True, "stream_options": {"include_usage": True}}).encode()
    if isinstance(address, str):
        reader, writer = await asyncio.open_unix_connection(address)
    else:
        reader, writer = await asyncio.open_connection(*address)
    try:
        head = "POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n"
        writer.write(f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
        end = b""
        while b"data: [DONE]" not in end:
            data = await reader.read(65536)
            if not data:
                raise RuntimeError(f"The stream of {address} ended early: {end!r}")
            end = end[-4096:] + data
    finally:
        writer.close()
    counts = _USAGE.findall(end)
    if not counts:
        raise RuntimeError(f"{address} counted no tokens: {end!r}")
    return int(counts[-1])


async def measure(ways: dict[str, Way], case: Case, rounds: int) -> dict[str, list[Rate]]:
    """Each way once a round, each round in another order; rates by way, one of each round."""
    names = list(ways)
    found: dict[str, list[Rate]] = {name: [] for name in names}
    for turn in range(-1, rounds):  # the first is to warm up
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            rate = await _rate(ways[name], case.requests(turn))
            if turn >= 0:
                found[name].append(rate)
                print(f"  {case.title}, {turn + 1}/{rounds}, {name}: {rate.tokens_per_s:.0f}/s", file=sys.stderr)
    return found


async def _rate(way: Way, requests: Sequence[Fields]) -> Rate:
    spent, began_at = load.processor_s(way.pid), time.perf_counter()
    tokens = sum(await asyncio.gather(*(way.ask(fields) for fields in requests)))
    seconds = time.perf_counter() - began_at
    return Rate(tokens / seconds, (load.processor_s(way.pid) - spent) * 1000 / tokens)


def table(case: Case, found: dict[str, list[Rate]], base: str) -> str:
    """Medians and spread of the rates, and of the ratios to *base* in the same round."""
    rows = [
        f"**{case.title}**, {case.streams} at once, {case.max_tokens} tokens each\n",
        f"| way | tokens per second | ratio to {base} | processor, ms per token |",
        "|---|---|---|---|",
    ]
    for name, rates in found.items():
        ratios = [own.tokens_per_s / other.tokens_per_s for own, other in zip(rates, found[base], strict=True)]
        speed = spread([rate.tokens_per_s for rate in rates], 0 if rates[0].tokens_per_s > 50 else 1)
        spent = spread([rate.processor_ms_per_token for rate in rates], 2)
        rows.append(f"| {name} | {speed} | {spread(ratios, 2)} | {spent} |")
    return "\n".join(rows)


def busy_before() -> str:
    """How busy the machine is with other things, for the figures' sake."""
    return f"Load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors."


def is_met(found: dict[str, list[Rate]], name: str, base: str, bar: float) -> str:
    """The median ratio of *name* to *base* beside its bar, in words."""
    pairs = zip(found[name], found[base], strict=True)
    middle = statistics.median(own.tokens_per_s / other.tokens_per_s for own, other in pairs)
    return f"{name}: {middle:.2f} of {base}; the bar of {bar:g} is {'met' if middle >= bar else 'missed'}."

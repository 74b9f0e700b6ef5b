"""Hooks of a target over HTTP, and those that its declaration answers by itself.

`POST {url}/NAME` with a JSON object; the answer is a JSON object:

    tokenize         {"text": "…"}                                        -> {"tokens": [1, 2]}
    active_requests  {}                                                   -> {"active": 0}
    fault            {"match", "status", "after_chunks", "retry_after_s"} -> {}
    eos_ids          {}                                                   -> {"tokens": [2]}
    context_size     {}                                                   -> {"tokens": 8192}
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from enginehouse_conformance.declared import Declared
from enginehouse_conformance.wire.client import Connection, Request
from enginehouse_conformance.wire.faults import BrokenAnswer, TransportFault, WireFault

from .base import TargetHooks

HOOK_NAMES = frozenset({"tokenize", "eos_ids", "fault", "active_requests", "context_size"})


class HttpHooks(TargetHooks):
    """What the declaration says, else what the hooks' URL answers."""

    def __init__(self, declared: Declared, timeout_s: float) -> None:
        self._declared = declared
        self._timeout_s = timeout_s
        hooks = declared.hooks
        names = set() if hooks is None else set(hooks.names or HOOK_NAMES)
        if declared.eos_ids:
            names.add("eos_ids")
        if declared.context_tokens is not None:
            names.add("context_size")
        self.names = frozenset(names)

    async def tokenize(self, text: str) -> Sequence[int]:
        """Token ids."""
        return tuple((await self._call("tokenize", {"text": text}))["tokens"])

    async def eos_ids(self) -> Sequence[int]:
        """Ids of end-of-sequence."""
        return self._declared.eos_ids or tuple((await self._call("eos_ids", {}))["tokens"])

    async def active_requests(self) -> int:
        """Running sequences."""
        return int((await self._call("active_requests", {}))["active"])

    async def context_size(self) -> int:
        """Tokens of context."""
        return self._declared.context_tokens or int((await self._call("context_size", {}))["tokens"])

    async def fault(self, match: str, *, status: int, after_chunks: int | None = None, retry_after_s: int = 3) -> None:
        """Arm a fault."""
        await self._call(
            "fault",
            {"match": match, "status": status, "after_chunks": after_chunks, "retry_after_s": retry_after_s},
        )

    async def _call(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """What the hook answers; raises TransportFault where it does not, for a hook is no part of the API."""
        self.need(name)
        try:
            return await self._answer(name, arguments)
        except (WireFault, msgspec.MsgspecError) as exc:
            raise TransportFault(f"the hook '{name}' did not work: {exc}") from exc

    async def _answer(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if self._declared.hooks is None:
            raise BrokenAnswer("it has no URL")
        request = Request(
            method="POST",
            url=f"{self._declared.hooks.url.rstrip('/')}/{name}",
            headers=(("content-type", "application/json"),),
            body=msgspec.json.encode(arguments),
        )
        async with Connection(request, timeout_s=self._timeout_s) as connection:
            await connection.send()
            head = await connection.head()
            body = b"".join([piece async for piece in connection.pieces(head)])
        if head.status != 200:
            raise BrokenAnswer(f"it answered {head.status}: {body[:200]!r}")
        return msgspec.json.decode(body, type=dict[str, Any])

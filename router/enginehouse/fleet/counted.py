"""What is asked about a prompt in place of generating, and the one event of that."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from enginehouse_plugin import GenerationRequest, Instance, UsageReport

Ask = Callable[[Instance, GenerationRequest], Awaitable[int]]
"""Asks an instance about the prompt of a request, and returns its tokens; what else is told it keeps itself. It may be
called more than once: where an instance fails, another one is asked."""


async def count(instance: Instance, request: GenerationRequest) -> int:
    """Tokens of the prompt of *request*: the plainest `Ask`."""
    return await instance.count_tokens(request)


async def counted(ask: Ask, instance: Instance, request: GenerationRequest) -> UsageReport:
    """The one event: the tokens of the prompt of *request*, as *instance* tells them to *ask*."""
    return UsageReport(prompt_tokens=await ask(instance, request), completion_tokens=0)

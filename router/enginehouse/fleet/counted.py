"""The events of a count."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from enginehouse_plugin import AnyEvent, GenerationRequest, Instance, UsageReport


async def counted(instance: Instance, request: GenerationRequest) -> AsyncGenerator[AnyEvent, None]:
    """Yield the one event: the tokens of the prompt of *request*, as *instance* counts them."""
    yield UsageReport(prompt_tokens=await instance.count_tokens(request), completion_tokens=0)

"""One probe of an instance: a prompt, and what comes as the first token with its likeliest alternatives."""

from __future__ import annotations

import itertools
from typing import Final

import msgspec

from enginehouse_plugin import Chat, GenerationRequest, Instance, TokenLogprob, TopLogprob, UserMessage, pulled
from enginehouse_plugin.events import Delta, Started, TextDelta, UsageReport

TOP: Final = 20
_numbers = itertools.count(1)


class Probed(msgspec.Struct, frozen=True, kw_only=True):
    """What came to a probe. `top` is None where no log probabilities came; `text` is the answer."""

    prompt_tokens: int | None
    completion_tokens: int
    top: tuple[TopLogprob, ...] | None
    text: str = ""


async def probe_instance(
    instance: Instance, prompt: str, *, tokens: int = 1, temperature: float = 0.0, has_logprobs: bool = True
) -> Probed:
    """Ask *instance* for *tokens* tokens of the answer to *prompt*, and all alternatives that it gives to the first.

    Raises:
        EnginehouseError: it refuses that, or fails.
    """
    most = instance.capabilities.limits.get("top_logprobs", TOP)
    request = GenerationRequest(
        id=f"probe-{next(_numbers)}",
        prompt=Chat((UserMessage(prompt),)),
        max_tokens=tokens,
        temperature=temperature,
        logprobs=has_logprobs,
        top_logprobs=min(TOP, most) if has_logprobs else 0,
    )
    first: TokenLogprob | None = None
    prompt_tokens: int | None = None
    completion_tokens, text = 0, ""
    events = pulled(instance.start, request)
    try:
        async for event in events:
            if isinstance(event, Started):
                prompt_tokens = event.prompt_tokens
            elif isinstance(event, UsageReport):
                prompt_tokens, completion_tokens = event.prompt_tokens, event.completion_tokens
            elif isinstance(event, Delta):
                if isinstance(event, TextDelta):
                    text += event.text
                entries = getattr(event, "logprobs", None)  # a call of a tool has none
                if entries and first is None:
                    first = entries[0]
    finally:
        await events.aclose()
    top = None if first is None else first.top
    return Probed(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens, top=top, text=text)

"""[C] Answers under a schema, whole ones: cut ones are asked for again, and refusals are taken as a value on demand."""

from __future__ import annotations

from typing import Any

from enginehouse_conformance.answer import Answer, Choice, Refusal
from enginehouse_conformance.context import Context

from .cut_json import begins_json
from .forced import TRIES, decoded, json_schema, never_complete

_TOKENS = 128


def poem(ctx: Context) -> str:
    """A prompt that asks for what no schema of the suite allows."""
    return f"{ctx.topic()} Answer with a haiku in plain words, not with JSON."


def json_value(ctx: Context, choice: Choice) -> tuple[bool, Any]:
    """Whether the choice is complete, and its content as JSON; fails where it neither is JSON nor begins some."""
    if choice.finish != "length":
        return True, decoded(ctx, choice.text)
    ctx.require(begins_json(choice.text), "an answer cut short that begins as JSON", choice.text)
    return False, None


async def constrained(ctx: Context, schema: dict[str, Any], prompt: str | None = None, **fields: object) -> Any:
    """The answer under *schema* as JSON."""
    body = ctx.body(prompt or poem(ctx), **{"response_format": json_schema(schema), "max_tokens": _TOKENS, **fields})
    for _ in range(TRIES):
        answer = await (ctx.stream(body) if fields.get("stream") else ctx.ask(body))
        is_complete, value = json_value(ctx, answer.first)
        if is_complete:
            return value
    raise never_complete(body["max_tokens"])


async def constrained_or_refused(
    ctx: Context, schema: dict[str, Any], *keywords: str, prompt: str | None = None, **fields: object
) -> Any:
    """The answer under *schema* as JSON, or the `Refusal`, which is 400 and names one of *keywords*, where given."""
    body = ctx.body(prompt or poem(ctx), **{"response_format": json_schema(schema), "max_tokens": _TOKENS, **fields})
    for _ in range(TRIES):
        outcome: Answer | Refusal = await ctx.attempt(body)
        if isinstance(outcome, Refusal):
            require_clear_refusal(ctx, outcome, *keywords)
            return outcome
        is_complete, value = json_value(ctx, outcome.first)
        if is_complete:
            return value
    raise never_complete(body["max_tokens"])


def require_clear_refusal(ctx: Context, refusal: Refusal, *keywords: str, field: str = "response_format") -> None:
    """Require 400 that names *field*, and one of *keywords*, where given."""
    ctx.require(refusal.status in (400, None), "an answer, or 400", str(refusal))
    ctx.require(refusal.names(field), f"a refusal that names {field}", str(refusal))
    if keywords:
        ctx.require(refusal.names(*keywords), f"a refusal that names {' or '.join(keywords)}", str(refusal))
        ctx.note(f"{' or '.join(keywords)} is refused, not enforced")
    else:
        ctx.note("refused, not enforced")

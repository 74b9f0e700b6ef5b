"""[T] and [A]: tokens whose text is found by forcing them, and closed alphabets of them. No tokenizer is needed."""

from __future__ import annotations

from functools import partial

import msgspec

from enginehouse_conformance.context import Context

from .forced import json_schema

_CANDIDATES = (
    *range(32, 101, 4), *range(110, 201, 10), *range(260, 401, 10), 450, 500, 600, 700, 800, 1000, 1200, 1500, 2000,
)  # fmt: skip
_REPEATS = 3


class KnownToken(msgspec.Struct, frozen=True):
    """A token id and the text that it prints."""

    id: int
    text: str


async def printable_tokens(ctx: Context, count: int = 1) -> tuple[KnownToken, ...]:
    """*count* tokens whose forced repetition prints the same visible text each time, shared by the run.

    None of their texts contains another's. Ends the check with `inconclusive` where too few are found.
    """
    found: list[KnownToken] = []
    for token_id in _CANDIDATES:
        if len(found) == count:
            break
        if ctx.declared.vocabulary_size is not None and token_id >= ctx.declared.vocabulary_size:
            break
        token: KnownToken | None = await ctx.shared.once(("token", token_id), partial(_force, ctx, token_id))
        if token is not None and not any(token.text in other.text or other.text in token.text for other in found):
            found.append(token)
    if len(found) < count:
        ctx.unclear(f"{count} printable tokens are needed, {len(found)} found among ids up to {_CANDIDATES[-1]}")
    return tuple(found)


async def _force(ctx: Context, token_id: int) -> KnownToken | None:
    answer = await ctx.ask(
        ctx.body("Say something.", temperature=0, max_tokens=_REPEATS, logit_bias={str(token_id): 100})
    )
    text = answer.text
    unit = text[: len(text) // _REPEATS]
    if not unit.strip() or "\ufffd" in unit or unit * _REPEATS != text or not unit.isprintable():
        return None
    return KnownToken(token_id, unit)


async def forced_token(ctx: Context) -> KnownToken:
    """One printable token."""
    return (await printable_tokens(ctx))[0]


def only(*tokens: KnownToken, bias: int = 100) -> dict[str, int]:
    """The logit_bias under which nothing but *tokens* appears: a closed alphabet."""
    return {str(token.id): bias for token in tokens}


def tally(text: str, tokens: tuple[KnownToken, ...]) -> dict[str, int] | None:
    """How often each of *tokens* is in *text*; None where *text* holds anything else."""
    counts = dict.fromkeys((token.text for token in tokens), 0)
    while text:
        unit = next((token.text for token in tokens if text.startswith(token.text)), None)
        if unit is None:
            return None
        counts[unit] += 1
        text = text[len(unit) :]
    return counts


async def endless(ctx: Context) -> dict[str, object]:
    """Fields under which an answer does not end by itself, as far as the target lets that be said.

    End-of-sequence is banned where its ids are known, else one token is forced; without logit_bias a schema asks
    for a long list; without that: nothing.
    """
    if not (ctx.has("logit_bias") and ctx.speaks("logit_bias")):
        if ctx.has("json_schema") and ctx.speaks("response_format.json_schema"):
            item = {"type": "string", "const": ctx.nonce()}
            return {"response_format": json_schema({"type": "array", "items": item, "minItems": 1000})}
        return {}
    if "eos_ids" in ctx.hooks.names:
        return {"logit_bias": {str(token): -100 for token in await ctx.hooks.eos_ids()}}
    return {"logit_bias": only(await forced_token(ctx))}

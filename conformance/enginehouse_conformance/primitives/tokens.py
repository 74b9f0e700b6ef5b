"""[T] and [A]: tokens whose text is found by forcing them, and closed alphabets of them. No tokenizer is needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import msgspec

from enginehouse_conformance.answer import Answer, Refusal
from enginehouse_conformance.context import Context
from enginehouse_conformance.targets import Refused
from enginehouse_conformance.verdicts import Unclear

from .forced import json_schema

_CANDIDATES = (
    *range(32, 101, 4), *range(110, 201, 10), *range(260, 401, 10), 450, 500, 600, 700, 800, 1000, 1200, 1500, 2000,
)  # fmt: skip
_REPEATS = 3
_SMALL = 200


class KnownToken(msgspec.Struct, frozen=True):
    """A token id and the text that it prints."""

    id: int
    text: str


async def small_vocabulary(ctx: Context) -> Sequence[int] | None:
    """The ids of a vocabulary of less than 200 tokens; None where it is larger.

    Where the target does not declare its size, the least of the usual candidates is tried, and where that is refused
    each id below it. Raises Refused where all are.
    """
    size = ctx.declared.vocabulary_size
    if size is not None:
        return range(size) if size < _SMALL else None
    refusal = await _forced(ctx, _CANDIDATES[0])
    if isinstance(refusal, Answer):
        return None
    ids = [token for token in range(_CANDIDATES[0]) if isinstance(await _forced(ctx, token), Answer)]
    if not ids:
        raise Refused(refusal)
    return ids


async def printable_tokens(ctx: Context, count: int = 1) -> tuple[KnownToken, ...]:
    """*count* tokens whose forced repetition prints the same visible text each time, shared by the run.

    None of their texts contains another's. Ends the check with `inconclusive` where too few are found.
    """
    found: list[KnownToken] = []
    tried = 0
    for token_id in await small_vocabulary(ctx) or _candidates(ctx):
        if len(found) == count:
            break
        answer = await _forced(ctx, token_id)
        if isinstance(answer, Refusal):
            break  # beyond a vocabulary whose size is not declared
        tried += 1
        text = _repeated(answer.text)
        if text is not None and not any(text in other.text or other.text in text for other in found):
            found.append(KnownToken(token_id, text))
    if len(found) < count:
        ctx.unclear(
            f"what the rule needs cannot be tried: of {tried} tokens that were forced, {len(found)} print a visible "
            f"text of their own, and it takes {count}"
        )
    return tuple(found)


def _candidates(ctx: Context) -> Iterator[int]:
    size = ctx.declared.vocabulary_size
    return (token for token in _CANDIDATES if size is None or token < size)


async def _forced(ctx: Context, token_id: int) -> Answer | Refusal:
    """The answer in which nothing but *token_id* should come, asked for once a run."""
    body = ctx.body("Say something.", temperature=0, max_tokens=_REPEATS, logit_bias={str(token_id): 100})
    answer: Answer | Refusal = await ctx.shared.once(("token", token_id), partial(ctx.attempt, body))
    return answer


def _repeated(text: str) -> str | None:
    """The visible text that *text* repeats; None where it does not."""
    unit = text[: len(text) // _REPEATS]
    if not unit.strip() or "\ufffd" in unit or unit * _REPEATS != text or not unit.isprintable():
        return None
    return unit


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
    # Any token will do that does not end the answer, whatever it prints; those that can be seen are tried first.
    try:
        return {"logit_bias": only(await forced_token(ctx))}
    except Unclear:
        for token_id in await small_vocabulary(ctx) or _candidates(ctx):
            answer = await _forced(ctx, token_id)
            if isinstance(answer, Answer) and answer.finish == "length":
                return {"logit_bias": {str(token_id): 100}}
        raise

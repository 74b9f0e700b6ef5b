"""[T] and [A]: tokens whose text is found by forcing them, and closed alphabets of them. No tokenizer is needed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial

import msgspec

from enginehouse_conformance.answer import Answer, Refusal
from enginehouse_conformance.context import Context
from enginehouse_conformance.targets import Refused
from enginehouse_conformance.verdicts import Unclear

from .forced import json_schema

CANNOT_BE_TRIED = "what the rule needs cannot be tried: "

_CANDIDATES = (
    *range(32, 101, 4), *range(110, 201, 10), *range(260, 401, 10), 450, 500, 600, 700, 800, 1000, 1200, 1500, 2000,
)  # fmt: skip
_REPEATS = 3
_MAX_IDS = 65_536
_GROUP = 256
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


async def vocabulary_size(ctx: Context) -> int:
    """How many ids a bias can be on: as declared, else by what is refused, and 65,536 at most."""
    if ctx.declared.vocabulary_size is not None:
        return min(ctx.declared.vocabulary_size, _MAX_IDS)

    async def find() -> int:
        low: int = _CANDIDATES[0]
        high = _MAX_IDS
        while low < high:
            middle = (low + high + 1) // 2
            is_taken = isinstance(await _forced(ctx, middle - 1), Answer)
            low, high = (middle, high) if is_taken else (low, middle - 1)
        return low

    found: int = await ctx.shared.once("vocabulary size", find)
    return found


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
            f"{CANNOT_BE_TRIED}of {tried} tokens that were forced, {len(found)} print a visible "
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


async def ids_of(ctx: Context, characters: str) -> dict[str, int]:
    """Ids of tokens that print each one of *characters* in ASCII, empty where they are not found.

    Most vocabularies hold single bytes in their order, so that one that is known tells where the others are.
    """
    for token_id in _candidates(ctx):
        answer = await _forced(ctx, token_id)
        text = _repeated(answer.text) if isinstance(answer, Answer) else None
        if text is None or len(text) != 1 or not text.isascii():
            continue
        ids = {character: token_id + ord(character) - ord(text) for character in characters}
        told = [await _forced(ctx, guess) for guess in ids.values() if guess >= 0]
        printed = [answer.text for answer in told if isinstance(answer, Answer)]
        return ids if printed == [character * _REPEATS for character in characters] else {}
    return {}


def _repeated(text: str) -> str | None:
    """The visible text that *text* repeats; None where it does not."""
    unit = text[: len(text) // _REPEATS]
    if not unit.strip() or "\ufffd" in unit or unit * _REPEATS != text or not unit.isprintable():
        return None
    return unit


async def alphabet(ctx: Context, count: int) -> tuple[KnownToken, ...]:
    """*count* printable tokens of which the one with the largest bias comes, be it the first or the last.

    Ends the check with `inconclusive` where that is not so: what is made of such tokens then tells nothing (BIAS10
    judges it).
    """
    tokens = await printable_tokens(ctx, count)
    wrong = await ctx.shared.once(("alphabet", count), partial(_wrong_order, ctx, tokens[0], tokens[-1]))
    if wrong is not None:
        ctx.unclear(f"what the rule needs cannot be tried: {wrong} (BIAS10)")
    return tokens


async def _wrong_order(ctx: Context, first: KnownToken, last: KnownToken) -> str | None:
    """What is wrong where of two biases the larger does not win; None where nothing is."""
    for lesser, greater in ((first, last), (last, first)):
        for entries in ((lesser, greater), (greater, lesser)):
            bias = {str(token.id): 100 if token is greater else 50 for token in entries}
            text = (await ctx.ask(ctx.body("Say something.", temperature=0, max_tokens=2, logit_bias=bias))).text
            if text != greater.text * 2:
                return f"with the logit_bias {bias}, {text!r} comes and not {greater.text!r}"
    return None


async def require_order(ctx: Context) -> None:
    """Require that of two tokens the one with the larger bias comes, in whichever order the two stand."""
    first, last = await printable_tokens(ctx, 2)
    wrong = await _wrong_order(ctx, first, last)
    ctx.require(wrong is None, "the token with the larger bias", wrong)


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


async def id_among(ids: Sequence[int], has_it: Callable[[Sequence[int]], Awaitable[bool]]) -> int | None:
    """The one of *ids* for which *has_it* holds of a group with it: group by group, then by halves."""
    for start in range(0, len(ids), _GROUP):
        group = ids[start : start + _GROUP]
        if await has_it(group):
            while len(group) > 1:
                half = group[: len(group) // 2]
                group = half if await has_it(half) else group[len(half) :]
            return group[0]
    return None

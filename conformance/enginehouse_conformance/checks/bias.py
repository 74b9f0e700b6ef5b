"""BIAS: logit_bias."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from enginehouse_conformance.answer import Answer
from enginehouse_conformance.context import Context
from enginehouse_conformance.primitives import (
    CANNOT_BE_TRIED,
    KnownToken,
    alphabet,
    baseline,
    forced_token,
    greedy,
    id_among,
    only,
    printable_tokens,
    require_order,
    require_same_greedy,
    small_vocabulary,
    vocabulary_size,
)
from enginehouse_conformance.registry import check
from enginehouse_conformance.targets import Body, Refused
from enginehouse_conformance.verdicts import Unclear

_REPEATS = 8
_FIRST_WORDS = ("Answer with one letter, A or B.", "Say yes.", "Count to three.")
_COMMON_IDS = 4096
_MARGIN_STEPS = 9
_EVEN, _MOST_LEAD = 60, 32


class NaturalToken(msgspec.Struct, frozen=True, kw_only=True):
    """A request for one greedy token, and that token."""

    body: Body
    token: KnownToken


@check("BIAS1")
async def a_bias_of_100_forces_a_token(ctx: Context) -> None:
    try:
        token = await forced_token(ctx)
    except Unclear as exc:
        # Of a small vocabulary every token was tried: one that the model says by itself would have been found.
        said = (await ctx.ask(greedy(ctx, max_tokens=1))).text
        is_seen = bool(said.strip()) and said.isprintable()
        is_small = await small_vocabulary(ctx) is not None
        tried = exc.message.removeprefix(CANNOT_BE_TRIED)
        seen = f"the bias shows nowhere: {tried}; without a bias the model says {said!r}"
        ctx.require(is_small and not is_seen, "one token alone under a bias of 100", seen)
        raise
    answer = await ctx.ask(ctx.body(max_tokens=_REPEATS, temperature=ctx.hottest, logit_bias=only(token)))
    ctx.equal(answer.text, token.text * _REPEATS, f"with a bias of 100 on token {token.id}, content")


async def _natural_token(ctx: Context) -> NaturalToken:
    """A token that the model says by itself, with its id; shared by the run.

    Where a whole group of ids has a bias of 100, the likeliest of them comes: the natural token if it is in the
    group. So its id is found by halves, without a tokenizer.
    """

    async def find() -> NaturalToken:
        bodies = [greedy(ctx, prompt, max_tokens=1) for prompt in _FIRST_WORDS]
        all_ids = await small_vocabulary(ctx) or range(await vocabulary_size(ctx))
        for body, ids in [*((body, all_ids[:_COMMON_IDS]) for body in bodies), (bodies[0], all_ids)]:
            text = (await ctx.ask(body)).text
            found = await _id_of(ctx, body, text, ids) if text.strip() and "\ufffd" not in text else None
            if found is not None:
                return NaturalToken(body=body, token=KnownToken(found, text))
        raise Unclear("what the rule needs cannot be tried: no id is found of a token that the model says by itself")

    found: NaturalToken = await ctx.shared.once("natural token", find)
    return found


async def _id_of(ctx: Context, body: Body, text: str, ids: Sequence[int]) -> int | None:
    """Which of *ids* is the token with which the answer to *body* begins, by itself."""

    async def has_it(ids: Sequence[int]) -> bool:
        answer = await ctx.attempt({**body, "logit_bias": {str(token): 100 for token in ids}})
        return isinstance(answer, Answer) and answer.text == text

    return await id_among(ids, has_it)


@check("BIAS2")
async def a_bias_of_minus_100_bans_a_token(ctx: Context) -> None:
    natural = await _natural_token(ctx)
    ban = {str(natural.token.id): -100}
    answer = await ctx.ask({**natural.body, "logit_bias": ban})
    if answer.text != natural.token.text:
        return
    # Another token may print the same text. Then the ban shows in how soon a rival overtakes it.
    rival = next(token for token in await printable_tokens(ctx, 2) if token.text != natural.token.text)
    plain, raised, banned = [await _margin(ctx, natural, rival, bias) for bias in ({}, {str(natural.token.id): 5}, ban)]
    if raised < plain + 4:
        ctx.unclear(f"token {natural.token.id} prints {natural.token.text!r}, but is not the one that was said")
    ctx.require(
        banned < plain - 0.5,
        f"token {natural.token.id} ({natural.token.text!r}) not to be said under a bias of -100",
        f"it is said, and a rival needs a bias of {banned:.1f} as without the ban ({plain:.1f})",
    )


async def _margin(ctx: Context, natural: NaturalToken, rival: KnownToken, bias: dict[str, int]) -> float:
    """The bias that *rival* needs to come in place of the natural token's text, which has *bias*."""
    low, high = 0.0, 100.0
    for _ in range(_MARGIN_STEPS):
        middle = (low + high) / 2
        answer = await ctx.ask({**natural.body, "logit_bias": {**bias, str(rival.id): middle}})
        low, high = (middle, high) if answer.text == natural.token.text else (low, middle)
    return high


@check("BIAS3")
async def a_bias_of_0_changes_nothing(ctx: Context) -> None:
    base = await baseline(ctx)
    ids = await small_vocabulary(ctx) or range(32, min(320, await vocabulary_size(ctx)))
    while True:
        answer = await ctx.attempt({**base.body, "logit_bias": {str(token): 0 for token in ids}})
        if isinstance(answer, Answer):
            break
        # How many tokens there are may be wrong: who drops a bias of 100 takes it on any.
        if len(ids) == 1 or ctx.declared.vocabulary_size is not None or not answer.names("logit_bias"):
            raise Refused(answer)
        ids = ids[: len(ids) // 2]
    await require_same_greedy(ctx, base, answer.text, f"the answer with a bias of 0 on {len(ids)} tokens")


@check("BIAS4")
async def a_bias_over_100_is_refused(ctx: Context) -> None:
    for bias in (101, -101):
        await ctx.refused(ctx.body(logit_bias={"50": bias}), "logit_bias")


@check("BIAS5")
async def an_id_outside_the_vocabulary_is_refused(ctx: Context) -> None:
    size = ctx.declared.vocabulary_size
    for token in (-1, *(() if size is None else (size,)), 10_000_000, 2**31, 2**63):
        reply = await ctx.post(ctx.body(logit_bias={str(token): 1}, max_tokens=2))
        ctx.equal(reply.status, 400, f"status for a bias on token {token}")


@check("BIAS6")
async def a_key_that_is_no_id_is_refused(ctx: Context) -> None:
    for key in ("abc", "", "1.5", "0x10"):
        await ctx.refused(ctx.body(logit_bias={key: 1}), "logit_bias")


@check("BIAS7")
async def a_bias_holds_in_a_stream(ctx: Context) -> None:
    token = await forced_token(ctx)
    answer = await ctx.stream(ctx.body(max_tokens=_REPEATS, logit_bias=only(token)))
    ctx.equal(answer.text, token.text * _REPEATS, f"with a bias of 100 on token {token.id}, the streamed content")


@check("BIAS8")
async def a_bias_ends_with_its_request(ctx: Context) -> None:
    token = await forced_token(ctx)
    base = await baseline(ctx, ctx.topic(), max_tokens=_REPEATS)
    forced = await ctx.ask({**base.body, "logit_bias": only(token)})
    ctx.require(forced.text != base.text, "a bias of 100 to have an effect", forced.text)
    after = (await ctx.ask(base.body)).text
    is_forced = after.startswith(token.text) and not base.text.startswith(token.text)
    ctx.require(not is_forced, f"no {token.text!r} without the bias", after)
    await require_same_greedy(ctx, base, after, "the answer after a request with a bias")


@check("BIAS9")
async def a_forced_stop_string_leaves_nothing(ctx: Context) -> None:
    token = await forced_token(ctx)
    answer = await ctx.ask(ctx.body(logit_bias=only(token), stop=token.text))
    ctx.equal(answer.text, "", f"where {token.text!r} is forced and is the stop string, content")
    ctx.equal(answer.finish, "stop", "finish_reason")


@check("BIAS10")
async def each_entry_counts(ctx: Context) -> None:
    await require_order(ctx)


@check("BIAS11")
async def fractions_of_a_bias_count(ctx: Context) -> None:
    ahead, behind = await alphabet(ctx, 2)

    async def leads(more: float, against: float) -> bool:
        bias = {str(ahead.id): _EVEN + more, str(behind.id): _EVEN + against}
        text = (await ctx.ask(greedy(ctx, "Go on.", max_tokens=1, logit_bias=bias))).text
        if text not in (ahead.text, behind.text):
            ctx.unclear(f"the alphabet is not closed: {text!r}")
        return text == ahead.text

    if not await leads(0, 0):
        ahead, behind = behind, ahead
    low, high = 0, _MOST_LEAD  # the lead of the one that comes with equal biases, as far as whole numbers tell it
    if await leads(0, high):
        ctx.unclear(f"one of two tokens leads by more than {high} without a bias")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if await leads(0, middle) else (low, middle)
    # The same difference four times. Who cuts or rounds either bias takes it now for `low`, now for `low` + 1.
    told = [await leads(more, low + more + 0.25) for more in (0, 0.25, 0.5, 0.75)]
    what = f"the same of two tokens each time, with biases that are {low + 0.25} apart"
    ctx.require(len(set(told)) == 1, what, [(ahead if is_ahead else behind).text for is_ahead in told])

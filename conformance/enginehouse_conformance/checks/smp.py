"""SMP: sampling."""

from __future__ import annotations

import math
from collections.abc import Mapping

from enginehouse_conformance.answer import Answer, Refusal, TokenEntry
from enginehouse_conformance.context import Context
from enginehouse_conformance.primitives import (
    STORY,
    Baseline,
    baseline,
    entry_at_difference,
    require_same_greedy,
    with_gaps,
)
from enginehouse_conformance.registry import check
from enginehouse_conformance.targets import Body
from enginehouse_conformance.verdicts import Unclear

_SEEDED = 1.5
_INT64 = (-(2**63), 2**63 - 1)
_ROUNDING = 1e-3
_NEVER = 1e-6
_AGAIN = 3
_DRAWS = 8
_SEEDS = 5
_BETWEEN = 0.25  # of the highest temperature
_HALF = 0.5
_SLACK = 0.02
_MOST = 20
_MORE = {"top_k": 50, "min_p": 0.01}
_STORIES = (STORY, "List the months of the year.", "Count from one to twenty, in words.")
_TINY_TOP_P = 0.000001
"""Less than the likeliest token has even where a vocabulary of 200,000 is nearly equally likely."""


def _varied(ctx: Context, **fields: object) -> Body:
    """A request with many fitting answers."""
    prompt = f"Write a list of random words and names, none of them usual. The first is {ctx.nonce(6)}."
    return ctx.body(prompt, **{"max_tokens": 24, **fields})


async def _vary(ctx: Context, *bodies: Body) -> bool:
    """Whether two of the answers to *bodies* differ; asks no further then."""
    first = (await ctx.ask(bodies[0])).text
    for body in bodies[1:]:
        if (await ctx.ask(body)).text != first:
            return True
    return False


@check("SMP1")
async def temperature_0_repeats_itself(ctx: Context) -> None:
    body = ctx.body(temperature=0)
    texts = [(await ctx.ask(body)).text for _ in range(3)]
    ctx.require(len(set(texts)) == 1, "three identical answers at temperature 0", texts)


@check("SMP2")
async def the_highest_temperature_varies(ctx: Context) -> None:
    body = _varied(ctx, temperature=ctx.hottest)
    ctx.require(await _vary(ctx, *[body] * 5), f"different answers at temperature {ctx.hottest}", "five times the same")


@check("SMP3")
async def the_default_temperature_varies(ctx: Context) -> None:
    body = _varied(ctx)
    ctx.require(await _vary(ctx, *[body] * 8), "different answers without a temperature", "eight times the same")


@check("SMP4")
async def temperatures_out_of_range_are_refused(ctx: Context) -> None:
    for temperature in (round(ctx.hottest + 0.1, 6), -0.1):
        await ctx.refused(ctx.body(temperature=temperature), "temperature")


@check("SMP5")
async def a_tiny_top_p_is_greedy(ctx: Context) -> None:
    await _require_greedy(ctx, top_p=_TINY_TOP_P)


@check("SMP6")
async def top_p_over_1_is_refused(ctx: Context) -> None:
    for top_p in (1.1, -0.1):
        await ctx.refused(ctx.body(top_p=top_p), "top_p")


def _seeded(ctx: Context, seed: int, **fields: object) -> Body:
    return _varied(ctx, temperature=min(_SEEDED, ctx.hottest), seed=seed, **fields)


@check("SMP7", exclusive=True)  # what other requests do to seeds is the question of ISO5
async def a_seed_repeats_its_answer(ctx: Context) -> None:
    for seed in (ctx.random.randrange(2**31), 0, -1):
        body = _seeded(ctx, seed)
        outcome = await ctx.attempt(body)
        if isinstance(outcome, Refusal) and seed < 0:
            ctx.require(outcome.status in (400, None), "the seed -1 used, or refused with 400", str(outcome))
            continue
        first = outcome if isinstance(outcome, Answer) else await ctx.ask(body)
        texts = [first.text, *[(await ctx.ask(body)).text for _ in range(2)]]
        ctx.require(len(set(texts)) == 1, f"three identical answers with the seed {seed}", texts)


@check("SMP8")
async def seeds_differ(ctx: Context) -> None:
    body = _varied(ctx, temperature=ctx.hottest)
    bodies = [{**body, "seed": ctx.random.randrange(2**31)} for _ in range(5)]
    ctx.require(await _vary(ctx, *bodies), "different answers with different seeds", "five times the same")


@check("SMP9")
async def seeds_of_64_bits_do_no_harm(ctx: Context) -> None:
    for seed in _INT64:
        answer = await ctx.attempt(ctx.body(seed=seed, max_tokens=2))
        if isinstance(answer, Refusal):
            ctx.equal(answer.status, 400, f"status of the refusal of the seed {seed}")


@check("SMP10", exclusive=True)
async def a_seed_means_the_same_in_a_stream(ctx: Context) -> None:
    body = _seeded(ctx, ctx.random.randrange(2**31))
    ctx.equal((await ctx.stream(body)).text, (await ctx.ask(body)).text, f"with the seed {body['seed']}, the stream")


@check("SMP17")
async def both_halves_of_a_large_seed_count(ctx: Context) -> None:
    half, large = ctx.random.randrange(2**31), ctx.random.randrange(2**30, 2**31)
    alike = {
        "upper": [upper * 2**32 + half for upper in ctx.random.sample(range(1, 2**31), _SEEDS)],
        "lower": [large * 2**32 + lower for lower in range(_SEEDS)],  # of which a double has only one
    }
    body = _varied(ctx, temperature=ctx.hottest)
    for which, seeds in alike.items():
        texts = set()
        for seed in seeds:
            outcome = await ctx.attempt({**body, "seed": seed})
            if isinstance(outcome, Refusal):
                ctx.require(outcome.status in (400, None), "a large seed used, or refused with 400", str(outcome))
                ctx.note("large seeds are refused")
                return
            texts.add(outcome.text)
            if len(texts) > 1:
                break
        wanted = f"different answers with seeds that differ in their {which} half"
        ctx.require(len(texts) > 1, wanted, f"{_SEEDS} times the same")


@check("SMP29")
async def temperature_0_is_greedy_whatever_stands_beside_it(ctx: Context) -> None:
    beside: list[Mapping[str, float]] = [{"top_p": 0.95}]
    beside += [{"seed": ctx.random.randrange(2**31)}] if ctx.has("seed") and ctx.speaks("seed") else []
    beside += [{name: value} for name, value in _MORE.items() if ctx.has(name) and ctx.speaks(name)]
    for fields in (*beside, {name: value for one in beside for name, value in one.items()}):
        await _require_greedy(ctx, **{"temperature": 0, **fields})


# ---- top_k and min_p ----


async def _require_greedy(ctx: Context, **fields: float) -> None:
    """The highest temperature with *fields*, or the one among them, leaves nothing but the likeliest token.

    Where an answer differs by what may be a tie, it is asked for again, and then with another prompt.
    """
    fields = {"temperature": ctx.hottest, **fields}
    ties: list[Unclear] = []
    for prompt in _STORIES:
        try:
            base = await baseline(ctx, prompt)
            body = {**base.body, **fields}
            try:
                await require_same_greedy(ctx, base, (await ctx.ask(body)).text, f"the answer with {fields}")
                if ctx.has("streaming") and ctx.speaks("stream"):
                    await require_same_greedy(ctx, base, (await ctx.stream(body)).text, f"the stream with {fields}")
            except Unclear:
                await _require_no_draw(ctx, base, body, f"the same answer each time with {fields}")
                raise
        except Unclear as exc:
            ties.append(exc)
        else:
            return
    raise ties[0]


async def _require_no_draw(ctx: Context, base: Baseline, body: Body, wanted: str) -> None:
    """Fails where *body* is answered otherwise each time, and the greedy request in between never is.

    Rounding does not do that, as near as the likeliest tokens of a flat model may be, unless they are equally likely.
    """
    pairs = [((await ctx.ask(base.body)).text, (await ctx.ask(body)).text) for _ in range(_AGAIN)]
    told = await with_gaps(ctx, base)
    drawn = {text for _, text in pairs} - {base.text}
    if told is None or {text for text, _ in pairs} != {base.text} or len(drawn) < _AGAIN:
        return
    entries = [entry_at_difference(base, told, text)[1] for text in drawn]
    tops = [entry.likeliest if entry else [] for entry in entries]
    if all(len(top) > 1 and top[0].logprob - top[1].logprob > _ROUNDING for top in tops):
        ctx.fail(f"{wanted}, as the greedy answer {base.text!r} is", sorted(drawn))


async def _drawn(ctx: Context, temperature: float, **fields: float) -> tuple[TokenEntry, ...]:
    """What came at *temperature* with *fields*, each token with the two likeliest."""
    return (await ctx.ask(_varied(ctx, temperature=temperature, logprobs=True, top_logprobs=2, **fields))).logprobs


@check("SMP18")
async def top_k_1_is_greedy(ctx: Context) -> None:
    await _require_greedy(ctx, top_k=1)


@check("SMP19")
async def top_k_2_is_two_tokens(ctx: Context) -> None:
    never_second = 1.0
    for _ in range(_DRAWS):
        for entry in await _drawn(ctx, ctx.hottest, top_k=2):
            ctx.require(len(entry.top) == 2, "the two likeliest tokens, which were asked for", entry)
            first, second = (other.logprob for other in entry.likeliest)
            ctx.require(entry.logprob >= second - _ROUNDING, "one of the two likeliest tokens with top_k 2", entry)
            if entry.logprob < first - _ROUNDING:
                return
            never_second *= 1 - 1 / (1 + math.exp((first - second) / ctx.hottest))
        ctx.require(never_second > _NEVER, "the second of the two likeliest now and then with top_k 2", "none")
    ctx.unclear("the likeliest token leads so far that the second would not be expected either")


@check("SMP20")
async def min_p_1_is_greedy(ctx: Context) -> None:
    await _require_greedy(ctx, min_p=1)


@check("SMP21")
async def min_p_is_a_share_of_the_likeliest(ctx: Context) -> None:
    for _ in range(_DRAWS // 2):
        for entry in await _drawn(ctx, 1, min_p=0.5):
            ctx.require(entry.top, "alternatives, which were asked for", entry)
            least = entry.likeliest[0].logprob - math.log(2)
            ctx.require(
                entry.logprob >= least - _ROUNDING, "no token under half of the likeliest with min_p 0.5", entry
            )


@check("SMP25")
async def temperatures_above_1_count(ctx: Context) -> None:
    if ctx.hottest <= 1:
        ctx.not_in_scope("no temperature above 1 is allowed")
    for _ in range(5):
        body = _seeded(ctx, ctx.random.randrange(2**31))
        texts = {(await ctx.ask({**body, "temperature": heat})).text for heat in (1, ctx.hottest)}
        if len(texts) > 1:
            return
    ctx.fail(f"another answer at temperature {ctx.hottest} than at 1, with the same seed", "five times the same")


@check("SMP27")
async def temperatures_between_count(ctx: Context) -> None:
    for other in (0, min(1, ctx.hottest)):
        for _ in range(5):
            body = _seeded(ctx, ctx.random.randrange(2**31))
            texts = {(await ctx.ask({**body, "temperature": heat})).text for heat in (_BETWEEN * ctx.hottest, other)}
            if len(texts) > 1:
                break
        else:
            what = f"another answer at temperature {_BETWEEN * ctx.hottest:g} than at {other:g}, with the same seed"
            ctx.fail(what, "five times the same")


@check("SMP28")
async def top_p_is_a_share_of_all(ctx: Context) -> None:
    never_another, others = 1.0, 0
    top = min(_MOST, ctx.declared.limits.get("top_logprobs", _MOST))
    for _ in range(_DRAWS // 2):
        body = _varied(ctx, temperature=1, top_p=_HALF, logprobs=True, top_logprobs=top)
        for entry in (await ctx.ask(body)).logprobs:
            likelier = [math.exp(one.logprob) for one in entry.top if one.logprob > entry.logprob + _ROUNDING]
            ctx.require(sum(likelier) < _HALF + _SLACK, "no token beyond the likeliest that make half of all", entry)
            others += bool(likelier)
            never_another *= min(1.0, math.exp(entry.logprob) / _HALF)
    what = f"another than the likeliest token now and then with top_p {_HALF}"
    ctx.require(others or never_another > _NEVER, what, "none")

"""SMP: sampling."""

from __future__ import annotations

from collections.abc import Callable

from enginehouse_conformance.answer import Refusal
from enginehouse_conformance.context import Context
from enginehouse_conformance.primitives import (
    KnownToken,
    baseline,
    only,
    printable_tokens,
    require_same_greedy,
    tally,
)
from enginehouse_conformance.registry import check
from enginehouse_conformance.targets import Body

_SEEDED = 1.5
_INT64 = (-(2**63), 2**63 - 1)
_HORIZON_TOKENS = 64
_ALPHABET = 8
_PAIRS = 24
_TINY_TOP_P = 0.000001
"""Less than the likeliest token has even where a vocabulary of 200,000 is nearly equally likely."""

Statistic = Callable[[list[str]], float]


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
    base = await baseline(ctx)
    answer = await ctx.ask({**base.body, "temperature": ctx.hottest, "top_p": _TINY_TOP_P})
    who = f"the answer at temperature {ctx.hottest} with top_p {_TINY_TOP_P:f}"
    await require_same_greedy(ctx, base, answer.text, who)


@check("SMP6")
async def top_p_over_1_is_refused(ctx: Context) -> None:
    await ctx.refused(ctx.body(top_p=1.1), "top_p")


def _seeded(ctx: Context, seed: int, **fields: object) -> Body:
    return _varied(ctx, temperature=min(_SEEDED, ctx.hottest), seed=seed, **fields)


@check("SMP7", exclusive=True)  # what other requests do to seeds is the question of ISO5
async def a_seed_repeats_its_answer(ctx: Context) -> None:
    body = _seeded(ctx, ctx.random.randrange(2**31))
    texts = [(await ctx.ask(body)).text for _ in range(3)]
    ctx.require(len(set(texts)) == 1, f"three identical answers with the seed {body['seed']}", texts)


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


# ---- penalties: what is chosen from a closed alphabet ----


async def _chosen(ctx: Context, tokens: tuple[KnownToken, ...], body: Body) -> list[str]:
    """The tokens of the answer to *body*, in which nothing but *tokens* can come."""
    text = (await ctx.ask(body)).text
    if tally(text, tokens) is None:
        ctx.unclear(f"the alphabet is not closed: {text!r}")
    chosen = []
    while text:
        chosen.append(next(token.text for token in tokens if text.startswith(token.text)))
        text = text.removeprefix(chosen[-1])
    return chosen


async def _pair(ctx: Context, lead: int) -> tuple[tuple[KnownToken, ...], dict[str, int]]:
    """Two tokens, and the bias by which greedy choice takes the first, *lead* ahead of the second."""
    tokens = await printable_tokens(ctx, 2)
    return tokens, {str(tokens[0].id): 100, str(tokens[1].id): 100 - lead}


@check("SMP11")
async def a_frequency_penalty_evens_out(ctx: Context) -> None:
    length = 32
    for lead in (6, 14):
        tokens, bias = await _pair(ctx, lead)
        body = ctx.body("Go on.", temperature=0, max_tokens=length, logit_bias=bias)
        control = await _chosen(ctx, tokens, body)
        if _share(control) < 0.9:
            continue
        evened = await _chosen(ctx, tokens, {**body, "frequency_penalty": 2})
        ctx.require(
            _share(evened) <= 1 - 1 / 6,
            "both of two tokens under frequency_penalty 2, each a sixth of the answer at least",
            "".join(evened),
        )
        return
    ctx.unclear("the model does not keep to one of two tokens even without a penalty")


def _share(chosen: list[str]) -> float:
    """The share of the token that comes most often."""
    return max((chosen.count(text) for text in set(chosen)), default=0) / max(1, len(chosen))


async def _require_ahead(
    ctx: Context, body: Body, penalty: Body, statistic: Statistic, *, enough: float, has_room: Callable[[float], bool]
) -> None:
    """Compare *statistic* without and with *penalty*, pair by pair, until the second is *enough* ahead in sum.

    Fails where it is not ahead at all after the last pair, unless the mean without the penalty leaves no room. A
    pair shares its seed where there are seeds, so that a penalty which is ignored changes nothing.
    """
    tokens = await printable_tokens(ctx, _ALPHABET)
    has_seeds = ctx.has("seed") and ctx.speaks("seed")
    ahead, control = 0.0, 0.0
    for _ in range(_PAIRS):
        seed = {"seed": ctx.random.randrange(2**31)} if has_seeds else {}
        asked = {**body, **seed, "logit_bias": only(*tokens)}
        plain = statistic(await _chosen(ctx, tokens, asked))
        ahead += statistic(await _chosen(ctx, tokens, {**asked, **penalty})) - plain
        control += plain / _PAIRS
        if ahead >= enough:
            return
    if not has_room(control):
        ctx.unclear(f"without a penalty the mean is {control:.2f} already: there is no room for an effect")
    ctx.require(ahead > 0, f"an effect of {penalty} in {_PAIRS} pairs of answers", f"{ahead / _PAIRS:+.2f} in the mean")
    ctx.unclear(f"{penalty} has an effect of {ahead / _PAIRS:+.2f} in the mean: too little to tell")


@check("SMP12")
async def a_negative_frequency_penalty_concentrates(ctx: Context) -> None:
    body = ctx.body("Go on.", temperature=ctx.hottest, max_tokens=24)

    def late_share(chosen: list[str]) -> float:
        return _share(chosen[-8:])

    await _require_ahead(
        ctx, body, {"frequency_penalty": -2}, late_share, enough=1.0, has_room=lambda mean: mean < 0.85
    )


@check("SMP13")
async def a_presence_penalty_widens(ctx: Context) -> None:
    body = ctx.body("Go on.", temperature=min(1, ctx.hottest), max_tokens=_ALPHABET)

    def distinct(chosen: list[str]) -> float:
        return len(set(chosen))

    await _require_ahead(ctx, body, {"presence_penalty": 2}, distinct, enough=8.0, has_room=lambda mean: mean > 1.25)


@check("SMP14")
async def penalties_of_0_are_none(ctx: Context) -> None:
    base = await baseline(ctx)
    answer = await ctx.ask({**base.body, "frequency_penalty": 0, "presence_penalty": 0})
    await require_same_greedy(ctx, base, answer.text, "the answer with penalties of 0")


@check("SMP15")
async def penalties_out_of_range_are_refused(ctx: Context) -> None:
    for name in ("frequency_penalty", "presence_penalty"):
        for penalty in (2.1, -2.1):
            await ctx.refused(ctx.body(**{name: penalty}), name)


@check("SMP16")
async def penalties_count_the_whole_output(ctx: Context) -> None:
    # The first token leads by 40, so that it comes 50 times more often before the penalty has made up for it. From
    # then on the two are even, unless old tokens are forgotten: then it leads by 50 in every stretch that is seen.
    tokens, bias = await _pair(ctx, 40)
    body = ctx.body("Go on.", temperature=0, max_tokens=2 * _HORIZON_TOKENS, logit_bias=bias, frequency_penalty=0.8)
    chosen = await _chosen(ctx, tokens, body)
    late = chosen[_HORIZON_TOKENS:]
    lead = late.count(tokens[0].text) - late.count(tokens[1].text)
    ctx.require(len(late) == _HORIZON_TOKENS, f"{2 * _HORIZON_TOKENS} tokens", len(chosen))
    ctx.require(
        lead < _HORIZON_TOKENS / 2,
        f"penalties to even out {tokens[0].text!r} and {tokens[1].text!r} after {_HORIZON_TOKENS} tokens",
        "".join(late),
    )


@check("SMP17")
async def the_upper_half_of_a_seed_counts(ctx: Context) -> None:
    lower = ctx.random.randrange(2**31)
    body = _varied(ctx, temperature=ctx.hottest)
    texts = set()
    for upper in ctx.random.sample(range(1, 2**31), 5):
        outcome = await ctx.attempt({**body, "seed": upper * 2**32 + lower})
        if isinstance(outcome, Refusal):
            ctx.require(outcome.status in (400, None), "a large seed used, or refused with 400", str(outcome))
            ctx.note("large seeds are refused")
            return
        texts.add(outcome.text)
        if len(texts) > 1:
            return
    ctx.fail("different answers with seeds that differ in their upper half", "five times the same")

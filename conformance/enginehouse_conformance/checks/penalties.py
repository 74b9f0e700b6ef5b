"""SMP: penalties, by what is chosen from a closed alphabet."""

from __future__ import annotations

from collections.abc import Callable

from enginehouse_conformance.context import Context
from enginehouse_conformance.primitives import (
    KnownToken,
    alphabet,
    baseline,
    only,
    require_same_greedy,
    tally,
)
from enginehouse_conformance.registry import check
from enginehouse_conformance.targets import Body

_HORIZON_TOKENS = 64
_ALPHABET = 8
_PAIRS = 24
_LEAD = 14
"""By so much the first of two tokens leads: less than a halving takes, more than a model's own taste."""
_MOST_LEAD = 16
"""A model's own taste for one of two tokens is less."""
_SHOWN_TIMES = 6
_PENALTIES = ("presence_penalty", "frequency_penalty", "repetition_penalty")

Statistic = Callable[[list[str]], float]


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
    tokens = await alphabet(ctx, 2)
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
    tokens = await alphabet(ctx, _ALPHABET)
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


@check("SMP26")
async def a_negative_presence_penalty_narrows(ctx: Context) -> None:
    body = ctx.body("Go on.", temperature=min(1.5, ctx.hottest), max_tokens=2 * _ALPHABET)

    def repeated(chosen: list[str]) -> float:
        return -len(set(chosen))

    await _require_ahead(ctx, body, {"presence_penalty": -2}, repeated, enough=8.0, has_room=lambda mean: mean < -1.5)


@check("SMP30")
async def a_presence_penalty_counts_once(ctx: Context) -> None:
    for lead in (8, 16):
        tokens, bias = await _pair(ctx, lead)
        _, less = await _pair(ctx, lead - 3)
        body = ctx.body("Go on.", temperature=0, max_tokens=32)
        # The first token comes alone even with a lead that is 3 less, and so it must with one that is 2 less.
        if set(await _chosen(ctx, tokens, {**body, "logit_bias": less})) != {tokens[0].text}:
            continue
        chosen = await _chosen(ctx, tokens, {**body, "logit_bias": bias, "presence_penalty": 2})
        what = f"{tokens[0].text!r} alone, which leads by more than the penalty takes at most"
        ctx.require(set(chosen) == {tokens[0].text}, what, "".join(chosen))
        return
    ctx.unclear("the model does not keep to one of two tokens even without a penalty")


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


@check("SMP22")
async def a_repetition_penalty_of_1_is_none(ctx: Context) -> None:
    base = await baseline(ctx)
    answer = await ctx.ask({**base.body, "repetition_penalty": 1})
    await require_same_greedy(ctx, base, answer.text, "the answer with a repetition_penalty of 1")


def _led(first: KnownToken, second: KnownToken, prompt: str, *, lead: int = _LEAD, **fields: object) -> Body:
    """A greedy request in which *first* comes, with *lead* more bias, and *second* where that has lost its lead."""
    return {
        "messages": [{"role": "user", "content": prompt}],
        "temperature": 0,
        "max_tokens": 1,
        "logit_bias": {str(first.id): 100 + min(0, lead), str(second.id): 100 - max(0, lead)},
        **fields,
    }


@check("SMP23")
async def a_repetition_penalty_takes_the_lead(ctx: Context) -> None:
    first, second = await alphabet(ctx, 2)
    body = _led(first, second, "Go on.", max_tokens=_ALPHABET)
    if set(await _chosen(ctx, (first, second), body)) != {first.text}:
        ctx.unclear("the model does not keep to one of two tokens even without a penalty")
    chosen = await _chosen(ctx, (first, second), {**body, "repetition_penalty": 2})
    ctx.require(second.text in chosen, f"{second.text!r} after {first.text!r} has come", "".join(chosen))


@check("SMP24")
async def a_repetition_penalty_counts_the_prompt(ctx: Context) -> None:
    tokens = await alphabet(ctx, 4)
    pairs = [(tokens[at], tokens[at ^ 1]) for at in range(4)]
    for first, second in pairs:
        # Whether the prompt holds the very token is a matter of the tokenizer: alone on a line it mostly is.
        shown = "\n".join([first.text] * _SHOWN_TIMES)
        told = [
            (await ctx.ask(_led(first, second, shown, **fields))).text for fields in ({}, {"repetition_penalty": 2})
        ]
        if told == [first.text, second.text]:
            return
    if "tokenize" in ctx.hooks.names:
        for first, second in pairs:
            ids = await ctx.hooks.tokenize("\n".join([first.text] * _SHOWN_TIMES))
            if first.id in ids and second.id not in ids:
                ctx.fail(
                    f"{second.text!r} where the prompt holds {first.text!r}, under a repetition_penalty", first.text
                )
    ctx.unclear("no token is known to be in the prompt: whether that counts cannot be told")


@check("SMP31")
async def other_penalties_count_the_answer_alone(ctx: Context) -> None:
    """No more than SHOULD: the reference of both fields says "in the text so far", which may be read with the prompt.

    The guide's formula does not leave it open: it counts how often a token was sampled, and no token of a prompt was.
    """
    tokens = await alphabet(ctx, 4)
    tried = 0
    for first, second in (tokens[:2], tokens[2:]):
        body = await _barely_led(ctx, first, second)
        if body is None:
            continue
        tried += 1
        for name in ("frequency_penalty", "presence_penalty"):
            told = (await ctx.ask({**body, name: 2})).text
            wanted = f"{first.text!r} first under {name} 2, as without it: it stands in the prompt alone"
            ctx.require(told == first.text, wanted, told)
    if not tried:
        ctx.unclear("no token is known to be in the prompt, or none has a lead that a penalty of 2 would take")


async def _barely_led(ctx: Context, first: KnownToken, second: KnownToken) -> Body | None:
    """A request whose prompt holds *first*, which comes by a lead from 1 to 2; None where there is none."""

    async def told(body: Body) -> str:
        return (await ctx.ask(body)).text

    # A line that adds two tokens is the token and the line's end.
    once, twice = ["\n".join([first.text] * times) for times in (_SHOWN_TIMES, 2 * _SHOWN_TIMES)]
    few, more = [(await ctx.ask(_led(first, second, shown))).prompt_tokens for shown in (once, twice)]
    low, high = -_MOST_LEAD, _MOST_LEAD
    if more - few != 2 * _SHOWN_TIMES or await told(_led(first, second, once, lead=low)) != second.text:
        return None
    while high - low > 1:
        lead = (low + high) // 2
        low, high = (low, lead) if await told(_led(first, second, once, lead=lead)) == first.text else (lead, high)
    body = _led(first, second, once, lead=high + 1)
    return body if await told(body) == first.text else None


@check("SSE22")
async def penalties_count_in_a_stream(ctx: Context) -> None:
    tokens = await alphabet(ctx, _ALPHABET)
    body = ctx.body("Go on.", temperature=0, max_tokens=2 * _ALPHABET, logit_bias=only(*tokens))
    without = (await ctx.ask(body)).text
    unseen = []
    names = [name for name in _PENALTIES if ctx.has(name) and ctx.speaks(name)]
    for name in names:
        told = (await ctx.ask({**body, name: 2})).text
        streamed = (await ctx.stream({**body, name: 2})).text
        what = f"the stream to be {told!r} under {name}, as the answer is"
        ctx.require(streamed != without or told == without, what, f"{streamed!r}, as without it")
        unseen += [name] if told == without or streamed != told else []
    if unseen == names:
        ctx.unclear(f"nothing changes under {', '.join(names)}: whether they count in a stream cannot be told")

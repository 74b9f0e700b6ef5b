"""LEN: length and usage."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

from enginehouse_conformance.answer import Answer, Refusal
from enginehouse_conformance.context import Context
from enginehouse_conformance.primitives import (
    TRIES,
    Baseline,
    are_apart,
    baseline,
    decoded,
    endless,
    forced_token,
    greedy,
    named,
    object_of,
    only,
    require_same_greedy,
    saying,
    tool,
)
from enginehouse_conformance.registry import check
from enginehouse_conformance.targets import Body, NoRoom, Refused
from enginehouse_conformance.verdicts import Unclear

_FEW = 5
_HUGE = (1_000_000, 2**31, 2**63 - 1)
MAX_GUESSED_CONTEXT = 32_768
_UNIT = " stone"
_FEW_UNITS, _MORE_UNITS = 20, 120
_LONG = (300, 1024)
_CALL_CHARACTERS = 240
_CALL_TOKENS = 24
_SENTENCE = "The lighthouse keeper counts the ships that pass at night. "
_SENTENCES = 20
_UNLIMITED_CHARACTERS = 480
"""More than 256 tokens of letters that make no words."""
_WITHIN_TOKENS = 700
_PEOPLE = ("baker", "captain", "doctor", "farmer", "king", "miner", "painter")
_DEEDS = ("saw", "found", "left", "knew", "painted")
_PLACES = ("bridge", "tower", "gate", "market")
_NEARLY = 0.9  # to count exactly is what LEN1 asks


async def _going_on(ctx: Context, **fields: object) -> Body:
    """A request whose answer has more than a few tokens; *fields* hold its limits."""
    body = ctx.body(temperature=0)
    if ctx.has("json_schema") and ctx.speaks("response_format.json_schema"):
        body["response_format"] = saying(ctx.nonce(60))  # long, and finite for a target that ignores the limit
    else:
        body |= await endless(ctx)
    probe = await ctx.ask({**body, "max_tokens": 2 * _FEW})
    if probe.finish == "stop" and probe.completion_tokens < 2 * _FEW:
        ctx.unclear(f"the model ends by itself after {probe.completion_tokens} tokens")
    del body["max_tokens"]
    return {**body, **fields}


async def _require_length(ctx: Context, limit: int, **fields: object) -> None:
    answer = await ctx.ask(await _going_on(ctx, **fields))
    ctx.equal(answer.completion_tokens, limit, "completion_tokens")
    ctx.equal(answer.finish, "length", "finish_reason")


@check("LEN1")
async def max_tokens_ends_the_answer(ctx: Context) -> None:
    await _require_length(ctx, _FEW, max_tokens=_FEW)


@check("LEN2")
async def max_completion_tokens_ends_the_answer(ctx: Context) -> None:
    await _require_length(ctx, _FEW, max_completion_tokens=_FEW)
    if ctx.has("streaming") and ctx.speaks("stream"):
        streamed = await ctx.stream(await _going_on(ctx, max_completion_tokens=_FEW))
        ctx.equal(streamed.finish, "length", "finish_reason of a stream")


@check("LEN3")
async def the_smaller_of_two_limits_holds(ctx: Context) -> None:
    for limits in ({"max_tokens": 8, "max_completion_tokens": 4}, {"max_tokens": 4, "max_completion_tokens": 8}):
        answer = await ctx.attempt(await _going_on(ctx, **limits))
        if isinstance(answer, Refusal):
            ctx.equal(answer.status, 400, "status of the refusal")
        else:
            ctx.equal(answer.completion_tokens, 4, f"with {limits}, completion_tokens")


@check("LEN4")
async def zero_tokens_are_refused(ctx: Context) -> None:
    await ctx.refused(ctx.body(max_tokens=0), "max_tokens")


@check("LEN5")
async def a_negative_limit_is_refused(ctx: Context) -> None:
    # Where -1 means no limit, a stream shows at once that it is not refused; the whole answer may take minutes.
    arms: list[Body] = [{}]
    if ctx.has("streaming") and ctx.speaks("stream"):
        arms.insert(0, {"stream": True})
    for arm in arms:
        await ctx.refused(ctx.body("Say OK.", max_tokens=-1, **arm), "max_tokens")


@check("LEN6")
async def a_limit_as_text_is_refused(ctx: Context) -> None:
    await ctx.refused(ctx.body(max_tokens="5"), "max_tokens")


@check("LEN7")
async def fewer_tokens_are_the_beginning_of_more(ctx: Context) -> None:
    base = await baseline(ctx)
    half = (await ctx.ask({**base.body, "max_tokens": base.body["max_tokens"] // 2})).text
    half = half.rstrip("\ufffd")  # a character that the limit cut
    await require_same_greedy(ctx, base, half + base.text[len(half) :], "the answer of half as many tokens, continued,")


@check("LEN8")
async def a_forced_end_is_an_empty_answer(ctx: Context) -> None:
    for token in await ctx.hooks.eos_ids():
        answer = await ctx.ask(ctx.body(logit_bias={str(token): 100}, temperature=0))
        ctx.equal(answer.text, "", f"content where token {token}, which ends the turn, is forced")
        ctx.equal(answer.finish, "stop", f"finish_reason where token {token} is forced")


def _long(ctx: Context, topic: str, units: int) -> Body:
    return ctx.body(topic + _UNIT * units, max_tokens=1)


async def _units_for(ctx: Context, topic: str) -> Callable[[int], int]:
    """How many units a prompt of so many tokens has. All begin with the same *topic*: another has other tokens."""
    few, more = [(await ctx.ask(_long(ctx, topic, units))).prompt_tokens for units in (_FEW_UNITS, _MORE_UNITS)]
    ctx.require(more > few, "more prompt_tokens for a longer prompt", (few, more))
    each = (more - few) / (_MORE_UNITS - _FEW_UNITS)
    return lambda tokens: _FEW_UNITS + math.ceil((tokens - few) / each)


async def context_tokens(ctx: Context) -> int | None:
    if ctx.declared.context_tokens is not None:
        return ctx.declared.context_tokens
    return await ctx.hooks.context_size() if "context_size" in ctx.hooks.names else None


@check("LEN9")
async def a_prompt_over_the_context_is_refused(ctx: Context) -> None:
    context, topic = await context_tokens(ctx), ctx.topic()
    try:
        units_for = await _units_for(ctx, topic)
    except Refused as exc:
        if context is None and exc.refusal.is_of_context:  # a very short one
            ctx.require(exc.refusal.status == 400, "status 400 for a prompt over the context", str(exc.refusal))
            return
        raise
    sizes = [1024 * 2**power for power in range(6)] if context is None else [context + context // 16 + 64]
    for tokens in sizes:
        answer = await ctx.attempt(_long(ctx, topic, units_for(tokens)))
        if isinstance(answer, Refusal):
            ctx.equal(answer.status, 400, f"status for a prompt of about {tokens} tokens")
            return
        ctx.require(
            answer.prompt_tokens > 0.95 * tokens,
            f"a prompt of about {tokens} tokens refused with 400, or read whole",
            f"200 with {answer.prompt_tokens} prompt_tokens",
        )
    ctx.require(context is None, f"400 for a prompt of about {sizes[-1]} tokens, over the context of {context}", "200")
    ctx.unclear(f"the context is not declared, and over {MAX_GUESSED_CONTEXT} tokens")


@check("LEN10")
async def a_huge_limit_is_clamped_or_refused(ctx: Context) -> None:
    for limit in _HUGE:
        body = ctx.body("Say yes.", max_tokens=limit)
        try:
            if ctx.has("streaming") and ctx.speaks("stream"):
                # Whether it is served shows at the first delta; to wait for the end could take minutes.
                async with ctx.live(body) as stream:
                    await anext(aiter(stream))
            else:
                await ctx.ask(body)
        except NoRoom:
            continue  # it went up to the end of the context
        except Refused as exc:
            ctx.equal(exc.refusal.status, 400, f"status for max_tokens {limit}")


@check("LEN11")
async def usage_adds_up(ctx: Context) -> None:
    usage: dict[str, Any] = (await ctx.ask(ctx.body())).raw.get("usage") or {}
    counts: list[Any] = [usage.get(f"{name}_tokens") for name in ("prompt", "completion", "total")]
    ctx.require(all(type(count) is int and count > 0 for count in counts), "three counts, integers over 0", usage)
    ctx.equal(counts[2], counts[0] + counts[1], "total_tokens")


@check("LEN12")
async def the_same_prompt_has_the_same_tokens(ctx: Context) -> None:
    body = ctx.body(f"{ctx.topic()} {ctx.nonce()} " + _UNIT * 40, max_tokens=1)
    counts = [(await ctx.ask(body)).prompt_tokens for _ in range(3)]
    ctx.require(len(set(counts)) == 1, "the same prompt_tokens three times", counts)


@check("LEN13")
async def completion_tokens_are_those_of_the_logprobs(ctx: Context) -> None:
    answer = await ctx.ask(ctx.body(logprobs=True, temperature=0))
    reasoning = (answer.usage.reasoning_tokens if answer.usage else None) or 0
    counted = answer.completion_tokens - reasoning
    ctx.require(
        abs(counted - len(answer.logprobs)) <= 1,
        f"{len(answer.logprobs)} completion_tokens, as many as logprobs has entries, give or take one",
        counted,
    )


async def _ends_with_the_context(ctx: Context, fields: Body, answer: Answer) -> bool:
    """Whether it was the context that ended *answer*: then one to a longer prompt is shorter by as much."""
    body = greedy(ctx, _SENTENCE * 3, **{**fields, "max_tokens": _LONG[-1]})
    other = await ctx.ask(body)
    totals = [each.prompt_tokens + each.completion_tokens for each in (answer, other)]
    return other.prompt_tokens > answer.prompt_tokens and abs(totals[0] - totals[1]) <= 2


@check("LEN14")
async def max_tokens_has_no_cap(ctx: Context) -> None:
    is_seen_to_go_on = False
    try:
        fields: Body = {"logit_bias": only(await forced_token(ctx))} if ctx.has("logit_bias") else await endless(ctx)
        is_seen_to_go_on = ctx.has("logit_bias")
    except Unclear:
        fields = await endless(ctx)
    for tokens in _LONG:
        try:
            outcome = await ctx.attempt(greedy(ctx, **{**fields, "max_tokens": tokens}))
        except NoRoom:
            if tokens == _LONG[0]:
                raise
            return
        if isinstance(outcome, Refusal):
            ctx.require(outcome.status in (400, None), f"{tokens} tokens, or a refusal with 400", str(outcome))
            continue
        if not fields and outcome.finish == "stop":
            ctx.not_in_scope(
                f"nothing can keep the model from ending by itself, after {outcome.completion_tokens} tokens"
            )
        counted = outcome.completion_tokens
        if outcome.finish == "stop" and not is_seen_to_go_on:
            asked = " and ".join(fields)
            ctx.unclear(f"what the rule needs cannot be tried: the model ends after {counted} tokens, despite {asked}")
        if counted < _NEARLY * tokens and await _ends_with_the_context(ctx, fields, outcome):
            if tokens == _LONG[0]:
                ctx.unclear(f"what the rule needs has no room: the context ends the answer after {counted} tokens")
            return
        ctx.require(counted >= _NEARLY * tokens, f"{tokens} tokens, which were asked for", counted)
        ctx.equal(outcome.finish, "length", "finish_reason")


async def _asked_again(ctx: Context) -> tuple[Body, list[Answer], list[int]]:
    """A prompt, the same again, and another: the first request, the answers, and how many tokens were cached."""
    one, other = [greedy(ctx, f"{ctx.nonce()} {_SENTENCE * _SENTENCES}") for _ in range(2)]
    answers = [await ctx.ask(body) for body in (one, one, other)]
    return one, answers, [(answer.usage.cached_tokens if answer.usage else None) or 0 for answer in answers]


@check("LEN15", exclusive=True)  # what others ask meanwhile may take a prompt's place in the cache
async def a_prompt_that_was_seen_is_cached(ctx: Context) -> None:
    body, answers, counts = await _asked_again(ctx)
    for _ in range(TRIES - 1):
        if counts[1] > answers[0].prompt_tokens / 2:
            break
        body, answers, counts = await _asked_again(ctx)  # others than this run may ask, too
    first, again, _ = answers
    half = first.prompt_tokens / 2
    ctx.require(counts[1] > half, f"most of {first.prompt_tokens} tokens cached when asked again", counts[1])
    ctx.require(counts[1] <= again.prompt_tokens, f"no more than {again.prompt_tokens} tokens cached", counts[1])
    ctx.require(max(counts[0], counts[2]) < half, "little cached of prompts that begin as none before", counts)
    await require_same_greedy(ctx, Baseline(body=body, answer=first), again.text, "the answer from the cache")


@check("LEN16")
async def no_cache_tells_nothing(ctx: Context) -> None:
    body = ctx.body(_SENTENCE * 6, max_tokens=1)
    for _ in range(2):
        usage = (await ctx.ask(body)).usage
        ctx.require(not (usage and usage.cached_tokens), "no cached tokens: no prefix cache is declared", usage)


@check("LEN17")
async def tokens_of_a_call_count(ctx: Context) -> None:
    name = f"t_{ctx.nonce()}"
    given = tool(name, object_of(v={"type": "string", "enum": [ctx.nonce(_CALL_CHARACTERS)]}))
    body = ctx.body(tools=[given], tool_choice=named(name), max_tokens=_CALL_TOKENS)
    answer = await ctx.ask(body)
    if answer.finish != "length":
        ctx.unclear(f'the call does not end with "length" (TOOL9), but with {answer.finish!r}')
    ctx.equal(answer.completion_tokens, _CALL_TOKENS, "completion_tokens of a call that the limit cut")
    if ctx.has("streaming") and ctx.speaks("stream", "stream_options"):
        streamed = await ctx.stream({**body, "stream_options": {"include_usage": True}})
        if streamed.finish == "length":
            ctx.equal(streamed.completion_tokens, _CALL_TOKENS, "completion_tokens of a streamed call, which it cut")


@check("LEN18")
async def no_limit_is_no_limit(ctx: Context) -> None:
    value = ctx.nonce(_UNLIMITED_CHARACTERS)
    body = greedy(ctx, response_format=saying(value))
    del body["max_tokens"]
    answer = await ctx.ask(body)
    context = await context_tokens(ctx)
    if context is not None and answer.prompt_tokens + answer.completion_tokens >= context - 1:
        ctx.unclear("what the rule needs has no room in the context")
    what = f"an answer of {_UNLIMITED_CHARACTERS} characters, whole, where no limit is given"
    ctx.require(answer.finish != "length", what, f"{answer.completion_tokens} tokens, and finish_reason 'length'")
    ctx.equal(decoded(ctx, answer.text), {"v": value}, "the answer")


def _with_middle(ctx: Context, sentences: int, *, has_sums: bool = False) -> Body:
    """A prompt of so many *sentences*; with *has_sums* the middle fifth is sums instead.

    No two sentences in a row are alike: after hundreds of equal words small models end at once, and nothing is told
    of their first token. Sums differ more from prose than two prompts do whose tokens are read in other steps.
    """
    fifth = sentences // 5
    middle = range(2 * fifth, 3 * fifth) if has_sums else ()
    people, deeds, places = [itertools.cycle(words) for words in (_PEOPLE, _DEEDS, _PLACES)]
    prose = (f"The {next(people)} {next(deeds)} the stone near the {next(places)}." for _ in range(5 * fifth))
    told = [f"{at} + {at} = {2 * at}." if at in middle else sentence for at, sentence in enumerate(prose)]
    return ctx.body(f"{' '.join(told)}\nRepeat all of this.", max_tokens=1)


@check("LEN19")
async def a_prompt_within_the_context_is_read_whole(ctx: Context) -> None:
    few, more = [(await ctx.ask(_with_middle(ctx, sentences))).prompt_tokens for sentences in (_FEW, 2 * _FEW)]
    ctx.require(more > few, "more prompt_tokens for a longer prompt", (few, more))
    each = (more - few) / _FEW
    context = await context_tokens(ctx)
    sentences = max(int(min(_WITHIN_TOKENS, (context or 2 * _WITHIN_TOKENS) / 2) / each), 2 * _FEW)
    whole = _with_middle(ctx, sentences)
    answer = await ctx.attempt(whole)
    if isinstance(answer, Refusal):
        if context is not None or not answer.is_of_context:
            raise Refused(answer)
        ctx.unclear(f"the context has no room for {_WITHIN_TOKENS} tokens, and nothing declares how many it has")
    counted, added = answer.prompt_tokens - few, sentences // 5 * 5 - _FEW
    grown = _NEARLY * each * added
    ctx.require(counted > grown, f"at least {grown:.0f} prompt_tokens more with {added} more sentences", counted)
    if not (ctx.has("logprobs") and ctx.speaks("logprobs", "top_logprobs")):
        return
    short = [_with_middle(ctx, 2 * _FEW, has_sums=has_sums) for has_sums in (False, True)]
    if not await are_apart(ctx, *short, by_values=True):
        ctx.note("the model does not tell one middle from another even in a short prompt")
        return
    is_apart = await are_apart(ctx, whole, _with_middle(ctx, sentences, has_sums=True), by_values=True)
    ctx.require(is_apart, "another prompt with another middle", "the same prompt")


@check("LEN20")
async def usage_of_a_stopped_answer_ends_where_it_does(ctx: Context) -> None:
    base = await baseline(ctx)
    at = len(base.text) // 3
    stop = base.text[at : at + 4]
    if not stop.strip() or "\ufffd" in stop:
        ctx.unclear(f"the baseline {base.text!r} gives no stop string")
    answer = await ctx.ask({**base.body, "stop": [stop]})
    if answer.text != base.text[: base.text.index(stop)]:
        ctx.unclear(f"the answer {answer.text!r} did not end at {stop!r}, as the baseline would")
    fewer = f"fewer than {base.answer.completion_tokens} completion_tokens, where a stop string ends the answer"
    ctx.require(answer.completion_tokens < base.answer.completion_tokens, fewer, answer.completion_tokens)

"""LEN: length and usage."""

from __future__ import annotations

from typing import Any

from enginehouse_conformance.answer import Refusal
from enginehouse_conformance.context import Context
from enginehouse_conformance.primitives import baseline, endless, require_same_greedy, saying
from enginehouse_conformance.registry import check
from enginehouse_conformance.targets import Body, NoRoom, Refused

_FEW = 5
_HUGE = (1_000_000, 2**31, 2**63 - 1)
_MAX_GUESSED_CONTEXT = 32_768
_UNIT = " stone"


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


def _long(ctx: Context, units: int) -> Body:
    return ctx.body(ctx.topic() + _UNIT * units, max_tokens=1)


async def _tokens_of_units(ctx: Context) -> float:
    """Prompt tokens that one more unit of a long prompt costs."""
    few, more = [(await ctx.ask(_long(ctx, units))).prompt_tokens for units in (20, 120)]
    ctx.require(more > few, "more prompt_tokens for a longer prompt", (few, more))
    return (more - few) / 100


async def _context_tokens(ctx: Context) -> int | None:
    if ctx.declared.context_tokens is not None:
        return ctx.declared.context_tokens
    return await ctx.hooks.context_size() if "context_size" in ctx.hooks.names else None


@check("LEN9")
async def a_prompt_over_the_context_is_refused(ctx: Context) -> None:
    each = await _tokens_of_units(ctx)
    context = await _context_tokens(ctx)
    sizes = [1024 * 2**power for power in range(6)] if context is None else [context + context // 16 + 64]
    for tokens in sizes:
        answer = await ctx.attempt(_long(ctx, int(tokens / each)))
        if isinstance(answer, Refusal):
            ctx.equal(answer.status, 400, f"status for a prompt of about {tokens} tokens")
            return
        ctx.require(
            answer.prompt_tokens > 0.95 * tokens,
            f"a prompt of about {tokens} tokens refused with 400, or read whole",
            f"200 with {answer.prompt_tokens} prompt_tokens",
        )
    ctx.require(context is None, f"400 for a prompt of about {sizes[-1]} tokens, over the context of {context}", "200")
    ctx.unclear(f"the context is not declared, and over {_MAX_GUESSED_CONTEXT} tokens")


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

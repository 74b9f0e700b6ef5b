"""ISO: requests keep out of each other's way."""

from __future__ import annotations

import asyncio

from enginehouse_conformance.answer import Answer
from enginehouse_conformance.context import Context
from enginehouse_conformance.primitives import (
    TRIES,
    Baseline,
    baseline,
    endless,
    greedy,
    is_whole,
    is_whole_call,
    named,
    never_complete,
    nonce_tool,
    require_same_greedy,
    saying,
    with_gaps,
)
from enginehouse_conformance.registry import check
from enginehouse_conformance.targets import Body, UrlTarget
from enginehouse_conformance.targets.base import now_s
from enginehouse_plugin import FEATURES

_AT_ONCE = 8
_WAVES = 4
_SHARED_TOKENS = 24
_DROPS, _DROPS_AT_ONCE = 50, 5
_LONG_TOKENS = 500
_FREE_WITHIN_S = 2.0
_TOKENS = 64
_SHORT_TOKENS = 4
_ALONE = 6
_NAMES_THE_USER = ("user", "metadata", "safety_identifier", "prompt_cache_key")
_LEFT_AT = (0.1, 0.3, 0.5)  # of the time that the whole takes


async def _ask(ctx: Context, body: Body, *, stream: bool) -> Answer:
    return await (ctx.stream(body) if stream else ctx.ask(body))


@check("ISO1", exclusive=True, time_limit_s=180)
async def each_of_eight_gets_its_own_answer(ctx: Context) -> None:
    can_stream = ctx.has("streaming") and ctx.speaks("stream")
    for wave in range(_WAVES):  # who takes one answer for another does so now and then
        values = [ctx.nonce(4) for _ in range(_AT_ONCE)]
        bodies = [ctx.body(response_format=saying(value), max_tokens=_TOKENS) for value in values]
        is_mixed = can_stream and wave % 2 == 0
        for _ in range(TRIES):
            answers = await asyncio.gather(
                *(_ask(ctx, body, stream=is_mixed and at % 2 == 1) for at, body in enumerate(bodies))
            )
            are_whole = [
                is_whole(ctx, answer.text, answer.finish, value, "the answer to one of eight requests")
                for value, answer in zip(values, answers, strict=True)
            ]
            if all(are_whole):
                break
        else:
            raise never_complete(_TOKENS)


@check("ISO2", exclusive=True)
async def greedy_output_is_the_same_beside_others(ctx: Context) -> None:
    base = await baseline(ctx, ctx.topic())
    answers = await asyncio.gather(*(ctx.ask(base.body) for _ in range(_AT_ONCE // 2)), *_others(ctx))
    for answer in answers[: _AT_ONCE // 2]:
        await require_same_greedy(ctx, base, answer.text, "beside other requests, the answer")


def _others(ctx: Context) -> list[asyncio.Task[Answer]]:
    """Requests that run beside."""
    bodies = [ctx.body(temperature=ctx.hottest, max_tokens=24) for _ in range(_AT_ONCE // 2)]
    return [asyncio.ensure_future(ctx.ask(body)) for body in bodies]


async def _leave(ctx: Context, body: Body, at: int) -> None:
    """Leave a stream: after its first piece, right after its head, or before that."""
    if at % 3 == 2:
        try:
            async with asyncio.timeout(0.005 * (at % 5)), ctx.live(body):
                return
        except TimeoutError:
            return
    async with ctx.live(body) as stream:
        if at % 3 == 0:
            async for _ in stream:
                return


@check("ISO3", exclusive=True, time_limit_s=180)
async def the_target_is_healthy_after_fifty_drops(ctx: Context) -> None:
    base = await baseline(ctx)
    began = now_s()
    await ctx.ask(base.body)
    idle_s = now_s() - began
    tokens = min(_LONG_TOKENS, (ctx.declared.context_tokens or 2 * _LONG_TOKENS) // 2)
    body = ctx.body(max_tokens=tokens, **await endless(ctx))
    left, within_s = now_s(), ctx.time_for(3 * idle_s + _FREE_WITHIN_S)
    for start in range(0, _DROPS, _DROPS_AT_ONCE):
        dropped = start + _DROPS_AT_ONCE
        await asyncio.gather(*(_leave(ctx, body, at) for at in range(start, dropped)))
        left = now_s()
        try:  # each time: where work for the dropped piles up, the target would be busy for good before the last
            async with asyncio.timeout(within_s):
                answer = await ctx.ask(base.body)
        except TimeoutError:
            ctx.fail(f"an answer within {within_s:.1f} s of {dropped} dropped requests", "none")
        ctx.equal(answer.prompt_tokens, base.answer.prompt_tokens, "prompt_tokens as before:")
        await require_same_greedy(ctx, base, answer.text, f"after {dropped} dropped requests, the answer")
    if "active_requests" in ctx.hooks.names:
        while active := await ctx.hooks.active_requests():
            ctx.require(now_s() - left < within_s, "none of the dropped requests at work", active)
            await asyncio.sleep(0.05)


@check("ISO4")
async def a_bad_request_harms_no_neighbour(ctx: Context) -> None:
    body = greedy(ctx, max_tokens=64)
    alone = await ctx.ask(body)
    neighbour = asyncio.ensure_future(ctx.ask(body))
    try:
        # How they are refused is a matter of other rules.
        await ctx.post_raw(b'{"model": ')
        await ctx.post(ctx.body(messages=[]))
        await ctx.post(ctx.body(max_tokens="many"))
        await ctx.post(ctx.body(temperature=-5))
        answer = await neighbour
    finally:
        neighbour.cancel()
    ctx.equal(answer.finish, alone.finish, "finish_reason of the neighbour")
    await require_same_greedy(ctx, Baseline(body=body, answer=alone), answer.text, "the neighbour's answer")


@check("ISO5", exclusive=True)
async def seeded_output_is_the_same_under_load(ctx: Context) -> None:
    body = ctx.body(seed=ctx.random.randrange(2**31), temperature=min(1.0, ctx.hottest), max_tokens=24)
    alone = [(await ctx.ask(body)).text for _ in range(2)]
    if alone[0] != alone[1]:
        ctx.unclear("the same seed gives different answers even without load (SMP7)")
    answers = await asyncio.gather(*(ctx.ask(body) for _ in range(_AT_ONCE // 2)), *_others(ctx))
    texts = {answer.text for answer in answers[: _AT_ONCE // 2]}
    ctx.equal(texts, {alone[0]}, "under load, the answers")


@check("ISO6", exclusive=True)
async def streamed_calls_keep_apart(ctx: Context) -> None:
    given = [nonce_tool(ctx) for _ in range(_AT_ONCE)]
    answers = await asyncio.gather(*(
        ctx.stream(ctx.body(tools=[made], tool_choice=named(name), max_tokens=128)) for name, _, made in given
    ))  # fmt: skip
    are_whole = [
        is_whole_call(ctx, answer.first, name, value, " of one of eight streams")
        for (name, value, _), answer in zip(given, answers, strict=True)
    ]
    if not all(are_whole):
        ctx.unclear("a call was cut short before it was complete")


@check("ISO7", exclusive=True)  # what others set meanwhile might stay, too
async def what_a_request_sets_ends_with_it(ctx: Context) -> None:
    base = await baseline(ctx, ctx.topic())
    told = await with_gaps(ctx, base)
    sampling = {
        "temperature": ctx.hottest, "top_p": 0.5, "seed": 7, "frequency_penalty": 2, "presence_penalty": 2, "n": 2,
        "logprobs": True, "stop": base.text[:2] or "a", "max_tokens": 4, "repetition_penalty": 2, "top_k": 2,
    }  # fmt: skip
    known = {
        name: value for name, value in sampling.items() if ctx.speaks(name) and (name not in FEATURES or ctx.has(name))
    }
    setting: list[Body] = [ctx.body(**known)]
    if ctx.has("tools", "tool_choice_named") and ctx.speaks("tools", "tool_choice.named"):
        name, _, given = nonce_tool(ctx)
        setting.append(ctx.body(tools=[given], tool_choice=named(name), max_tokens=_TOKENS))
    if ctx.has("json_schema") and ctx.speaks("response_format.json_schema"):
        setting.append(ctx.body(response_format=saying(ctx.nonce()), max_tokens=_TOKENS))
    system = {"role": "system", "content": f"You are {ctx.nonce()}, and speak of nothing but the sea. " * 4}
    setting.append(ctx.body(messages=[system, {"role": "user", "content": "Hello."}]))
    for body in setting:
        await ctx.attempt(body)
        answer = await ctx.ask(base.body)
        await require_same_greedy(ctx, base, answer.text, f"the answer after a request with {sorted(body)}", told=told)
        ctx.equal(answer.finish, base.answer.finish, "finish_reason")
        ctx.equal(answer.prompt_tokens, base.answer.prompt_tokens, "prompt_tokens of the same messages")
        ctx.require(answer.first.logprobs is None, "no log probabilities, which were not asked for", answer.first)
        ctx.equal(len(answer.choices), 1, "the number of choices")


@check("ISO8", exclusive=True)  # what others ask meanwhile may take a prompt's place in the cache
async def a_shared_beginning_changes_no_answer(ctx: Context) -> None:
    system = {"role": "system", "content": f"You are {ctx.nonce()}, who tells stories of the sea. " * 4}

    def asking(text: str) -> Body:
        return greedy(ctx, messages=[system, {"role": "user", "content": text}], max_tokens=_SHARED_TOKENS)

    await ctx.ask(asking("Tell one of a storm."))
    body = asking("And one of a whale.")
    first, again = [await ctx.ask(body) for _ in range(2)]
    base = Baseline(body=body, answer=again)
    await require_same_greedy(ctx, base, first.text, "the answer after another with the same system message")
    ctx.equal(first.finish, again.finish, "finish_reason of the answer after another with the same system message")


@check("ISO9", exclusive=True)
async def an_answer_that_nobody_waited_for_is_nobodys(ctx: Context) -> None:
    base = await baseline(ctx, ctx.topic(), max_tokens=_SHORT_TOKENS)
    tokens = min(_LONG_TOKENS, (ctx.declared.context_tokens or 2 * _LONG_TOKENS) // 2)
    system = {"role": "system", "content": f"You are {ctx.nonce()}, and speak of nothing but the sea. " * 4}
    messages = [system, {"role": "user", "content": ctx.topic()}]
    body = ctx.body(**{"messages": messages, "max_tokens": tokens, **await endless(ctx)})
    began = now_s()
    await ctx.ask(body)
    whole_s, left = now_s() - began, 0
    for share in _LEFT_AT:
        try:
            async with asyncio.timeout(share * whole_s):
                await ctx.ask(body)
        except TimeoutError:
            left += 1
        # Two at once: whichever connection, or worker, has the answer of the one that left.
        for answer in await asyncio.gather(*(ctx.ask(base.body) for _ in range(2))):
            what = "after a request that its client left, the answer to the next"
            ctx.equal(answer.prompt_tokens, base.answer.prompt_tokens, f"{what}: prompt_tokens")
            ctx.require(answer.completion_tokens <= _SHORT_TOKENS, f"{what}: its own length", answer.completion_tokens)
            await require_same_greedy(ctx, base, answer.text, what)
    if not left:
        ctx.unclear(f"an answer of {tokens} tokens comes within {whole_s:.2f} s: none could be left before it came")


@check("ISO10", exclusive=True)
async def a_user_is_not_remembered(ctx: Context) -> None:
    def named_by(field: str, word: str) -> Body:
        return {} if not field else {field: {"user_id": word, "session_id": word} if field == "metadata" else word}

    long = f"My name is {ctx.nonce()}, and I speak of nothing but the sea. " * 4
    for field in ("", *(name for name in _NAMES_THE_USER if ctx.speaks(name))):
        word, stranger = ctx.nonce(), ctx.nonce()
        body = greedy(ctx, "Who am I?", max_tokens=8)
        strange = await ctx.ask({**body, **named_by(field, stranger)})
        await ctx.ask({**body, **named_by(field, word), "messages": [{"role": "user", "content": long}]})
        for _ in range(2):  # what is remembered may be the last request alone
            answer = await ctx.ask({**body, **named_by(field, word)})
            what = f"after another request with the same {field or 'key'}"
            ctx.equal(answer.prompt_tokens, strange.prompt_tokens, f"{what}, prompt_tokens")
            base = Baseline(body={**body, **named_by(field, stranger)}, answer=strange)
            await require_same_greedy(ctx, base, answer.text, f"{what}, the answer")


@check("ISO11", exclusive=True)
async def equal_requests_at_once_are_answered_each(ctx: Context) -> None:
    prompt = f"Write a list of random words and names, none of them usual. The first is {ctx.nonce(6)}."
    body = ctx.body(prompt, temperature=ctx.hottest, max_tokens=_SHARED_TOKENS)
    has_ids = isinstance(ctx.target, UrlTarget)
    for how in ("whole", *(["streamed"] if ctx.has("streaming") and ctx.speaks("stream") else [])):
        is_streamed = how == "streamed"
        if is_streamed and has_ids:
            traces = await asyncio.gather(*(ctx.trace(body) for _ in range(_AT_ONCE)))
            ids, answers = [trace.chunks[0].get("id") for trace in traces], [trace.answer() for trace in traces]
        else:
            answers = await asyncio.gather(*(_ask(ctx, body, stream=is_streamed) for _ in range(_AT_ONCE)))
            ids = [answer.raw.get("id") for answer in answers] if has_ids else []
        what = f"{_AT_ONCE} equal requests at once, {how}"
        ctx.require(len(set(ids)) == len(ids), f"an id for each of {what}", ids)
        if len({answer.text for answer in answers}) > 1:
            continue
        # Eight that chance makes one are not six that it all makes different, one in ten million times.
        alone = [(await _ask(ctx, body, stream=is_streamed)).text for _ in range(_ALONE)]
        if len(set(alone)) < _ALONE:
            ctx.unclear(f"the model says the same also to requests one by one: {alone}")
        ctx.fail(f"not all the same text for {what}, as one by one", answers[0].text)

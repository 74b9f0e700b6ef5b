"""ISO: requests keep out of each other's way."""

from __future__ import annotations

import asyncio
import math
import string

from enginehouse_conformance.answer import Answer
from enginehouse_conformance.context import Context
from enginehouse_conformance.primitives import (
    CANNOT_BE_TRIED,
    TRIES,
    Baseline,
    are_apart,
    ask_with_room,
    baseline,
    endless,
    forced_token,
    greedy,
    is_whole,
    is_whole_call,
    named,
    never_complete,
    nonce_tool,
    only,
    require_same_greedy,
    saying,
    with_gaps,
)
from enginehouse_conformance.registry import check
from enginehouse_conformance.targets import Body, Busy, UrlTarget
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
_SENTENCE = "The lighthouse keeper counts the ships that pass at night. "
_FEW, _MORE = 4, 16
_LONG_BEGINNING = 600
"""Tokens: more than two blocks of any cache, the largest of which hold 256."""
_SPELLED = 12
_TOP = 20
_LEAVERS = 6


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


@check("ISO12", exclusive=True, time_limit_s=240)  # what others ask meanwhile may take a prompt's place in the cache
async def what_differs_behind_a_long_beginning_counts(ctx: Context) -> None:
    begin = f"This is told by {ctx.nonce()}. "
    few, more = [
        (await ctx.ask(ctx.body(begin + _SENTENCE * count, max_tokens=1))).prompt_tokens for count in (_FEW, _MORE)
    ]
    ctx.require(more > few, "more prompt_tokens for a longer text", (few, more))
    long = _SENTENCE * math.ceil(_LONG_BEGINNING * (_MORE - _FEW) / (more - few))
    letters = ctx.random.sample(string.ascii_lowercase, 2 * _SPELLED)
    # Spelled, so that both are as many tokens: blocks that are mixed up are then the same but for the word.
    words = ["-".join(letters[:_SPELLED]), "-".join(letters[_SPELLED:])]
    has_values = ctx.has("logprobs") and ctx.speaks("logprobs", "top_logprobs")
    values = {"logprobs": True, "top_logprobs": min(_TOP, ctx.declared.limits.get("top_logprobs", _TOP))}

    def asking(before: str, word: str, after: str) -> Body:
        text = f"{before}The word is {word}. {after}{_SENTENCE * 2}Say the word, and tell of the ships."
        return greedy(ctx, text, max_tokens=_SHARED_TOKENS, **(values if has_values else {}))

    bodies = [asking(begin + long, word, "") for word in words]
    what = f"a prompt of {_LONG_BEGINNING} tokens"
    first = [await ask_with_room(ctx, body, ctx.declared.context_tokens, what) for body in bodies]
    if first[0].prompt_tokens < _LONG_BEGINNING:
        ctx.unclear(f"{CANNOT_BE_TRIED}{what} is cut, to {first[0].prompt_tokens}")
    again = [await ctx.ask(body) for body in bodies]
    for body, early, late in zip(bodies, first, again, strict=True):
        base, told = Baseline(body=body, answer=early), early if has_values else None
        what = "the answer after a prompt with the same beginning, as before it,"
        await require_same_greedy(ctx, base, late.text, what, told=told)
        ctx.equal(late.finish, early.finish, "finish_reason after a prompt with the same beginning")
        ctx.equal(late.prompt_tokens, early.prompt_tokens, "prompt_tokens after a prompt with the same beginning")
    if first[0].text != first[1].text or await are_apart(ctx, *bodies, by_values=True):
        return
    # The same words where nothing before them is shared, and further back.
    if not await are_apart(ctx, *(asking("", word, begin + long) for word in words), by_values=True):
        ctx.unclear(f"{CANNOT_BE_TRIED}the model's first token does not depend on a word so far back")
    ctx.fail("another prompt where a word differs behind a long beginning that is shared", "the same prompt")


async def _come_and_go(ctx: Context, body: Body, at: int, stays_s: float, neighbour: asyncio.Future[Answer]) -> bool:
    """Begin a stream after some others and leave it, as `_leave` does: whether *neighbour* was still under way."""
    await asyncio.sleep(stays_s * (at + 1))
    try:
        async with asyncio.timeout(stays_s):
            await _leave(ctx, body, at)
    except TimeoutError:
        pass
    except Busy:
        return False
    return not neighbour.done()


@check("ISO13", exclusive=True, time_limit_s=180)
async def a_stream_is_whole_while_others_leave(ctx: Context) -> None:
    tokens = min(_LONG_TOKENS, (ctx.declared.context_tokens or 2 * _LONG_TOKENS) // 2)
    can_force = ctx.has("logit_bias") and ctx.speaks("logit_bias")
    # One token all the time, where that can be: no near tie makes another answer of it beside others.
    lasting = {"logit_bias": only(await forced_token(ctx))} if can_force else await endless(ctx)
    counted = {"stream_options": {"include_usage": True}} if ctx.speaks("stream_options") else {}
    body, left = [ctx.body(max_tokens=tokens, temperature=0, **lasting) for _ in range(2)]
    began = now_s()
    alone = await ctx.stream({**body, **counted})
    whole_s, what = now_s() - began, "a stream beside others that are left"
    neighbour = asyncio.ensure_future(ctx.stream({**body, **counted}))
    try:
        stays_s = whole_s / (_LEAVERS + 2)
        beside = await asyncio.gather(*(_come_and_go(ctx, left, at, stays_s, neighbour) for at in range(_LEAVERS)))
        answer = await neighbour
    finally:
        neighbour.cancel()
    if can_force:
        ctx.equal(answer.text, alone.text, f"the text of {what}")
    else:
        await require_same_greedy(ctx, Baseline(body=body, answer=alone), answer.text, what)
    ctx.equal(answer.finish, alone.finish, f"finish_reason of {what}")
    if alone.usage is not None:
        ctx.equal(answer.prompt_tokens, alone.prompt_tokens, f"prompt_tokens of {what}")
        ctx.equal(answer.completion_tokens, alone.completion_tokens, f"completion_tokens of {what}")
    if not any(beside):
        ctx.unclear(f"{CANNOT_BE_TRIED}a stream of {tokens} tokens is over before others have left theirs beside it")

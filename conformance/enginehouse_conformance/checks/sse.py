"""SSE: streaming."""

from __future__ import annotations

import asyncio
from collections import Counter

from enginehouse_conformance.answer import Answer
from enginehouse_conformance.context import Context
from enginehouse_conformance.primitives import (
    TRIES,
    arrives_as_made,
    baseline,
    endless,
    forced_token,
    greedy,
    is_whole,
    never_complete,
    nonce_tool,
    only,
    require_same_greedy,
    saying,
    whole_answer,
)
from enginehouse_conformance.registry import check
from enginehouse_conformance.targets import Body, StreamTrace
from enginehouse_conformance.targets.base import now_s

from .forms import forms_of_prompts

_EMOJI = "👩‍👩‍👧‍👦 🏳️‍🌈 日本 é"
_LONG_TOKENS = 1000
_CALL_TOKENS = 128
_FORCED_TOKENS = 300
_STREAMS = 8
_CONTROL_S = 2.5
_FREE_WITHIN_S = 2.0
_FREE_AT_MOST_S = 10.0
_FREE_SHARE = 0.2
_LEFT_WITHIN_S = 20.0  # generous: it is long over where a client can leave at all
_STREAMED_TOKENS = (96, 384, 1000)


def _usages(trace: StreamTrace) -> list[tuple[int, Body]]:
    """Position and chunk of each chunk that carries usage."""
    return [(at, chunk) for at, chunk in enumerate(trace.chunks) if chunk.get("usage") is not None]


@check("SSE1")
async def a_stream_is_an_event_stream(ctx: Context) -> None:
    trace = await ctx.trace(ctx.body())
    kind = trace.head.get("content-type") or ""
    ctx.require(kind.split(";")[0].strip().lower() == "text/event-stream", "content type text/event-stream", kind)


@check("SSE2")
async def each_data_line_is_json_or_done(ctx: Context) -> None:
    trace = await ctx.trace(ctx.body())
    ctx.require(not trace.problems, "well-formed events", "; ".join(trace.problems))
    ctx.require(not trace.bad_data, "data lines of JSON or [DONE]", trace.bad_data[:3])
    ctx.require(trace.fault is None, "a stream that ends well", trace.fault)
    ctx.require(trace.chunks, "at least one chunk", "none")
    odd = [chunk for chunk in trace.chunks if not isinstance(chunk, dict)]
    ctx.require(not odd, "chunks that are objects", odd[:3])


@check("SSE3")
async def one_done_ends_the_stream(ctx: Context) -> None:
    trace = await ctx.trace(ctx.body())
    ctx.equal(trace.done_count, 1, "the number of [DONE]")
    ctx.equal(trace.events[-1].data, "[DONE]", "the last event")
    ctx.require(trace.fault is None, "the answer to end after [DONE]", trace.fault)


@check("SSE4")
async def the_first_delta_has_the_role(ctx: Context) -> None:
    fields = {"n": 2} if ctx.has("n") and ctx.speaks("n") else {}
    entries = (await ctx.trace(ctx.body(**fields))).entries()
    ctx.require(entries, "at least one choice in a chunk", "none")
    firsts = {entry.get("index"): entry for entry in reversed(entries)}
    for index, entry in firsts.items():
        role = (entry.get("delta") or {}).get("role")
        ctx.equal(role, "assistant", f"the role in the first delta of choice {index}")


@check("SSE5")
async def chunks_belong_together(ctx: Context) -> None:
    trace = await ctx.trace(ctx.body(**({"n": 2} if ctx.has("n") and ctx.speaks("n") else {})))
    for key in ("id", "created", "model"):
        values = {repr(chunk.get(key)) for chunk in trace.chunks}
        ctx.require(len(values) == 1 and values != {"None"}, f"one `{key}` in all chunks", sorted(values))
    odd = [chunk.get("object") for chunk in trace.chunks if chunk.get("object") != "chat.completion.chunk"]
    ctx.require(not odd, "`object` chat.completion.chunk in all chunks", odd[:3])


@check("SSE6")
async def a_stream_says_what_the_answer_says(ctx: Context) -> None:
    base = await baseline(ctx)
    streamed = await ctx.stream(base.body)
    await require_same_greedy(ctx, base, streamed.text, "the concatenated deltas")
    ctx.equal(streamed.finish, base.answer.finish, "finish_reason of the stream")
    if ctx.has("json_schema") and ctx.speaks("response_format.json_schema"):
        await whole_answer(ctx, ctx.nonce(), "the concatenated deltas as JSON", stream=True, max_tokens=64)


@check("SSE7")
async def each_choice_finishes_once(ctx: Context) -> None:
    bodies = [ctx.body()]
    if ctx.has("tools", "tool_choice_required") and ctx.speaks("tools", "tool_choice.required"):
        bodies.append(ctx.body(tools=[nonce_tool(ctx)[2]], tool_choice="required", max_tokens=_CALL_TOKENS))
    if ctx.has("json_schema") and ctx.speaks("response_format.json_schema"):
        bodies.append(ctx.body(response_format=saying(ctx.nonce()), max_tokens=_CALL_TOKENS))
    if ctx.has("logprobs") and ctx.speaks("logprobs"):
        bodies.append(ctx.body(logprobs=True))
    if ctx.has("stop") and ctx.speaks("stop"):
        bodies.append(ctx.body(stop=[ctx.nonce()]))
    for body in bodies:
        entries = (await ctx.trace(body)).entries()
        finishes = Counter(entry.get("index") for entry in entries if entry.get("finish_reason") is not None)
        ctx.equal(dict(finishes), {0: 1}, "finish_reasons per index")
        last = [entry for entry in entries if entry.get("index") == 0][-1]
        ctx.require(last.get("finish_reason") is not None, "no delta after the finish_reason", last)


@check("SSE8")
async def include_usage_gives_a_usage_chunk(ctx: Context) -> None:
    trace = await ctx.trace(ctx.body(stream_options={"include_usage": True}))
    carrying = _usages(trace)
    ctx.equal([at for at, _ in carrying], [len(trace.chunks) - 1], "positions of chunks with usage")
    chunk = carrying[0][1]
    ctx.equal(chunk.get("choices"), [], "`choices` of the usage chunk")
    answer = trace.answer()
    usage = answer.usage
    ctx.require(usage and usage.prompt_tokens and usage.completion_tokens, "usage of the whole request", usage)
    ctx.equal(usage and usage.total_tokens, answer.prompt_tokens + answer.completion_tokens, "total_tokens")


@check("SSE9")
async def earlier_chunks_have_usage_null(ctx: Context) -> None:
    trace = await ctx.trace(ctx.body(stream_options={"include_usage": True}))
    without = [chunk for chunk in trace.chunks[:-1] if "usage" not in chunk or chunk["usage"] is not None]
    ctx.require(not without, "`usage: null` in every chunk before the last", without[:1])


@check("SSE10")
async def usage_comes_as_the_profile_says(ctx: Context) -> None:
    trace = await ctx.trace(ctx.body())
    carrying = _usages(trace)
    if ctx.profile.stream_usage == "on_request":
        ctx.require(not carrying, "no usage in a stream that did not ask for it", [chunk for _, chunk in carrying])
        return
    ctx.equal([at for at, _ in carrying], [len(trace.chunks) - 1], "positions of chunks with usage")
    finish = [entry.get("finish_reason") for entry in carrying[0][1].get("choices") or []]
    ctx.require(any(finish), "usage on the chunk with the finish_reason", carrying[0][1])


@check("SSE11")
async def usage_of_a_stream_is_that_of_the_answer(ctx: Context) -> None:
    base = await baseline(ctx)
    options = {"stream_options": {"include_usage": True}} if ctx.speaks("stream_options") else {}
    streamed = await ctx.stream({**base.body, **options})
    if streamed.usage is None and not options and ctx.profile.stream_usage == "on_request":
        ctx.not_in_scope("the profile has no usage in streams")
    if streamed.text != base.text:
        ctx.unclear("the streamed text differs (SSE6): its usage cannot be compared")
    ctx.equal(streamed.prompt_tokens, base.answer.prompt_tokens, "prompt_tokens of the stream")
    ctx.equal(streamed.completion_tokens, base.answer.completion_tokens, "completion_tokens of the stream")


@check("SSE12")
async def stream_options_that_ask_nothing_mean_nothing(ctx: Context) -> None:
    for options in ({}, {"include_usage": False}):
        trace = await ctx.trace(ctx.body(stream_options=options))
        ctx.equal(trace.done_count, 1, "the number of [DONE]")
        ctx.require(trace.fault is None and not trace.problems, "a whole stream", trace.fault or trace.problems)
        if ctx.profile.stream_usage == "on_request":
            ctx.require(not _usages(trace), f"no usage, which {options} does not ask for", _usages(trace)[:1])


@check("SSE13")
async def stream_options_need_a_stream(ctx: Context) -> None:
    await ctx.refused(ctx.body(stream_options={"include_usage": True}), "stream_options", "stream")


@check("SSE14", exclusive=True)
async def text_arrives_while_it_is_made(ctx: Context) -> None:
    fields = await endless(ctx)
    for tokens in _STREAMED_TOKENS:
        body = ctx.body(**{**fields, "max_tokens": tokens})
        is_longest = tokens == _STREAMED_TOKENS[-1]
        if await arrives_as_made(ctx, body, "text", lambda delta: bool(delta.text), is_longest=is_longest):
            return


@check("SSE15")
async def no_delta_holds_half_a_character(ctx: Context) -> None:
    body = ctx.body(response_format=saying(_EMOJI), max_tokens=200)
    for _ in range(TRIES):
        answer = await ctx.stream(body)
        texts = [delta.text for delta in answer.deltas if delta.text]
        if texts and answer.finish == "length":
            texts[-1] = texts[-1].rstrip("\ufffd")  # a character that the limit cut
        torn = [text for text in texts if "\ufffd" in text]
        ctx.require(not torn, "no U+FFFD in a delta", torn)
        if is_whole(ctx, answer.text, answer.finish, _EMOJI, "the joined deltas"):
            return
    raise never_complete(body["max_tokens"])


@check("SSE16")
async def an_early_error_has_its_status(ctx: Context) -> None:
    reply = await ctx.post(ctx.body(stream=True, messages=[]))
    ctx.require(reply.status == 400, "status 400 for a stream without messages", f"status {reply.status}")
    kind = reply.head.get("content-type") or ""
    ctx.require("json" in kind, "an error as JSON", kind)


@check("SSE17")
async def a_failure_in_mid_stream_is_told(ctx: Context) -> None:
    mark = ctx.nonce()
    await ctx.hooks.fault(mark, status=500, after_chunks=3)
    trace = await ctx.trace(ctx.body(f"Tell a story of {mark}.", max_tokens=64))
    errors = [at for at, chunk in enumerate(trace.chunks) if chunk.get("error") is not None]
    ctx.require(errors, "an error event", [event.data for event in trace.events[-2:]])
    finishes = [entry["finish_reason"] for entry in trace.entries() if entry.get("finish_reason")]
    ctx.require(not finishes, "no finish_reason of success", finishes)


async def _run_for(ctx: Context, body: Body, seconds: float) -> int | None:
    """Read a stream for *seconds* and leave it; how many deltas came of one that was still running, or waiting."""
    seen = 0
    try:
        async with asyncio.timeout(seconds), ctx.live(body) as stream:
            async for _ in stream:
                seen += 1
    except TimeoutError:
        return seen
    return None


def free_within_s(tokens: int, seen: int) -> float:
    """How long a slot may take to be free, after *seen* of *tokens* were made in `_CONTROL_S`.

    Two seconds, and on a slow target, or a busy machine, a part of what the stream would have taken.
    """
    left_s = (tokens - seen) * _CONTROL_S / max(seen, 1)
    return min(max(_FREE_WITHIN_S, _FREE_SHARE * left_s), _FREE_AT_MOST_S)


@check("SSE18", exclusive=True, time_limit_s=60)
async def a_client_that_leaves_frees_its_slot(ctx: Context) -> None:
    idle_s = 0.0
    for _ in range(3):
        began = now_s()
        await ctx.ask(ctx.body(max_tokens=1))
        idle_s = max(idle_s, now_s() - began)
    tokens = min(_LONG_TOKENS, (ctx.declared.context_tokens or 2 * _LONG_TOKENS) // 2)
    body = ctx.body(max_tokens=tokens, **await endless(ctx))
    try:
        async with asyncio.timeout(ctx.time_for(_LEFT_WITHIN_S)):
            running = await asyncio.gather(*(_run_for(ctx, body, _CONTROL_S) for _ in range(_STREAMS)))
    except TimeoutError:
        ctx.fail(f"streams that can be left after {_CONTROL_S} s", f"one goes on after {_LEFT_WITHIN_S:g} s")
    counts = [seen for seen in running if seen is not None]
    if not counts:
        ctx.unclear(f"{tokens} tokens are done within {_CONTROL_S} s: leaving cannot be told from finishing")
    left, within_s = now_s(), ctx.time_for(idle_s + free_within_s(tokens, max(counts)))
    try:
        async with asyncio.timeout(within_s):
            await ctx.ask(ctx.body(max_tokens=1))
    except TimeoutError:
        ctx.fail(f"a probe to be answered within {within_s:.2f} s, {idle_s:.2f} s of them as when idle", "no answer")
    if "active_requests" in ctx.hooks.names:
        while await ctx.hooks.active_requests():
            ctx.require(now_s() - left < within_s, "no active request left", "some are")
            await asyncio.sleep(0.05)


@check("SSE19", exclusive=True)
async def a_slow_reader_harms_nobody(ctx: Context) -> None:
    body = ctx.body(temperature=0, max_tokens=64)
    quick: Answer = await ctx.stream(body)
    slow = asyncio.create_task(ctx.trace(body, pause_s=0.02))
    try:
        for _ in range(3):
            await ctx.ask(ctx.body(max_tokens=4))
        trace = await slow
    finally:
        slow.cancel()
    ctx.require(trace.fault is None and trace.done_count == 1, "the slow reader's whole stream", trace.fault)
    seen = trace.answer()
    ctx.equal(len(seen.choices), len(quick.choices), "choices of the slow reader")
    ctx.require(seen.finish is not None, "a finish_reason for the slow reader", "none")


@check("SSE20")
async def comments_are_no_part_of_the_answer(ctx: Context) -> None:
    trace = await ctx.trace(ctx.body())
    ctx.require(not trace.problems, "well-formed events beside the comments", trace.problems)
    ctx.note(f"{len(trace.comments)} comments seen")


@check("SSE21")
async def usage_of_a_stream_counts_tokens(ctx: Context) -> None:
    options = {"stream_options": {"include_usage": True}} if ctx.speaks("stream_options") else {}
    body = ctx.body(response_format=saying(_EMOJI), logprobs=True, max_tokens=200, **options)
    answer = await ctx.stream(body)
    if answer.usage is None and not options and ctx.profile.stream_usage == "on_request":
        ctx.not_in_scope("the profile has no usage in streams")
    counted = answer.completion_tokens - ((answer.usage.reasoning_tokens if answer.usage else None) or 0)
    ctx.require(
        abs(counted - len(answer.logprobs)) <= 2,
        f"{len(answer.logprobs)} completion_tokens, as many as logprobs has entries, give or take two",
        counted,
    )


@check("SSE23")
async def the_role_comes_once(ctx: Context) -> None:
    entries = (await ctx.trace(ctx.body())).entries()
    roles = [role for entry in entries if (role := (entry.get("delta") or {}).get("role"))]
    ctx.require(len(roles) <= 1, "the role in the first delta alone", f"it is in {len(roles)} of {len(entries)} deltas")


@check("SSE25")
async def each_entry_has_its_keys(ctx: Context) -> None:
    for entry in (await ctx.trace(ctx.body())).entries():
        missing = [key for key in ("index", "delta", "finish_reason") if key not in entry]
        ctx.require(not missing, "index, delta and finish_reason, be it null, in each choice of a chunk", missing)
        finish = entry["finish_reason"]
        ctx.require(finish is None or finish, "finish_reason null before the end", entry)


@check("SSE26")
async def a_long_stream_loses_nothing(ctx: Context) -> None:
    token = await forced_token(ctx)
    body = greedy(ctx, max_tokens=_FORCED_TOKENS, logit_bias=only(token))
    text = (await ctx.stream(body)).text
    if text != token.text * _FORCED_TOKENS and text == (await ctx.ask(body)).text:
        ctx.unclear(f"the answer is no {_FORCED_TOKENS} tokens either (BIAS1, LEN14), but as the stream: {text!r}")
    came, rest = text.count(token.text), text.replace(token.text, "")
    ctx.require(
        text == token.text * _FORCED_TOKENS, f"{token.text!r} {_FORCED_TOKENS} times", f"{came} times and {rest!r}"
    )


@check("SSE27")
async def a_stream_reads_what_an_answer_reads(ctx: Context) -> None:
    if not ctx.speaks("stream_options") and ctx.profile.stream_usage == "on_request":
        ctx.not_in_scope("the profile has no usage in streams")
    options = {"stream_options": {"include_usage": True}} if ctx.speaks("stream_options") else {}
    for what, body in forms_of_prompts(ctx).items():
        answer, streamed = await ctx.ask(body), await ctx.stream({**body, **options})
        ctx.equal(streamed.prompt_tokens, answer.prompt_tokens, f"prompt_tokens of a stream with {what}")

"""CMP: completions, what is no data of a rule."""

from __future__ import annotations

import time

from enginehouse_conformance.context import Context
from enginehouse_conformance.endpoints.caller import Caller
from enginehouse_conformance.endpoints.laws import Made, Sample, first, law, samples
from enginehouse_conformance.primitives import require_error_form
from enginehouse_conformance.registry import check

from .cases import require_same
from .endpoint_parts import (
    a_hot_answer_differs,
    a_stop_string_ends_the_text,
    broken_bodies_are_refused,
    ids_differ,
    unknown_field_is_told,
)

_KEYS = ("id", "object", "created", "model", "choices", "usage")
_CLOCK_SKEW_S = 3600
_DEFAULT_TOKENS = 16

samples("completions", {
    "end": Made(lambda nonce: {"prompt": f"Once upon a {nonce} there", "max_tokens": 12}),
    "one": Made(lambda nonce: {"prompt": f"All {nonce} is", "max_tokens": 1}),
})  # fmt: skip


@check("CMP1")
async def minimal_request_is_answered(ctx: Context) -> None:
    reply = await Caller(ctx).post({"prompt": "Once upon a time"})
    ctx.equal(reply.status, 200, "status")
    missing = [key for key in _KEYS if key not in reply.json()]
    ctx.require(not missing, f"a completion with {', '.join(_KEYS)}", f"without {', '.join(missing)}")


@law("CMP2")
def object_is_text_completion(sample: Sample) -> str | None:
    seen = {str(raw.get("object")) for raw in (sample.raw, *(event.data for event in sample.events))}
    return None if seen == {"text_completion"} else f"object is {seen}"


@check("CMP3")
async def ids_are_different(ctx: Context) -> None:
    await ids_differ(ctx, lambda event: event.data.get("id"))


@law("CMP4")
def created_near_now(sample: Sample) -> str | None:
    created = sample.raw.get("created")
    good = type(created) is int and abs(time.time() - created) < _CLOCK_SKEW_S
    return None if good else f"created is {created!r}"


@law("CMP5")
def a_choice_has_its_form(sample: Sample) -> str | None:
    (choice,) = sample.raw["choices"]
    good = choice.get("index") == 0 and isinstance(choice.get("text"), str) and "finish_reason" in choice
    return None if good and "logprobs" in choice else f"a choice is {str(choice)[:200]}"


@law("CMP6")
def a_cut_text_says_so(sample: Sample) -> str | None:
    expected = "length" if sample.answer.completion_tokens >= sample.body["max_tokens"] else "stop"
    return None if sample.answer.finish == expected else f"finish_reason is {sample.answer.finish!r}"


@law("CMP7")
def the_total_is_the_sum(sample: Sample) -> str | None:
    usage = sample.raw["usage"]
    adds_up = usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    return None if adds_up and usage["prompt_tokens"] > 0 else f"usage is {usage}"


@check("CMP8")
async def sixteen_tokens_are_the_default(ctx: Context) -> None:
    caller = Caller(ctx)
    body = caller.body()
    del body["max_tokens"]
    count = (await caller.ask(body)).completion_tokens
    ctx.require(count <= _DEFAULT_TOKENS, f"at most {_DEFAULT_TOKENS} tokens", count)


@check("CMP9")
async def the_limit_holds(ctx: Context) -> None:
    caller = Caller(ctx)
    prompt = ctx.topic()
    short, long = [await caller.ask(caller.body(prompt, max_tokens=limit)) for limit in (5, 10)]
    ctx.equal(short.completion_tokens, 5, "completion_tokens")
    ctx.require(long.text.startswith(short.text.rstrip("\ufffd")), f"a text that begins with {short.text!r}", long.text)


@check("CMP29")
async def broken_bodies(ctx: Context) -> None:
    await broken_bodies_are_refused(ctx)


@check("CMP30")
async def an_unknown_field_is_told(ctx: Context) -> None:
    await unknown_field_is_told(ctx)


@check("CMP31")
async def errors_have_their_form(ctx: Context) -> None:
    require_error_form(ctx, await Caller(ctx).post({"prompt": 7}))


@check("CMP35")
async def hot_texts_differ(ctx: Context) -> None:
    await a_hot_answer_differs(ctx, temperature=2)


@check("CMP36")
async def a_seed_repeats(ctx: Context) -> None:
    caller = Caller(ctx)
    body = caller.body(temperature=1, seed=7)
    one, other = await caller.ask(body), await caller.ask(body)
    ctx.equal(other.text, one.text, "the text with the same seed")


@check("CMP37")
async def a_stop_string_ends_it(ctx: Context) -> None:
    await a_stop_string_ends_the_text(ctx, lambda stop: {"stop": ["\u2603\u2603", stop]})


@check("CMP38")
async def two_choices_count_the_prompt_once(ctx: Context) -> None:
    caller = Caller(ctx)
    body = caller.body()
    one, two = await caller.ask(body), await caller.ask({**body, "n": 2})
    ctx.equal([choice.index for choice in two.choices], [0, 1], "indices")
    ctx.equal(two.prompt_tokens, one.prompt_tokens, "prompt_tokens of two choices")
    ctx.equal(two.completion_tokens, 2 * one.completion_tokens, "completion_tokens of two greedy choices")


@check("CMP39")
async def an_echo_stands_before_the_text(ctx: Context) -> None:
    caller = Caller(ctx)
    body = caller.body()
    plain, echoed = await caller.ask(body), await caller.ask({**body, "echo": True})
    ctx.equal(echoed.text, body["prompt"] + plain.text, "the text with its prompt")
    counts = [(answer.prompt_tokens, answer.completion_tokens) for answer in (echoed, plain)]
    ctx.equal(counts[0], counts[1], "counts")


@check("CMP40")
async def logprobs_have_their_form(ctx: Context) -> None:
    caller = Caller(ctx)
    raw = await caller.raw(caller.body(logprobs=2))
    (choice,) = raw["choices"]
    given = choice.get("logprobs") or {}
    names = ("tokens", "token_logprobs", "top_logprobs", "text_offset")
    lengths = {name: len(given.get(name) or ()) for name in names}
    ctx.require(len(set(lengths.values())) == 1 and lengths["tokens"] > 0, f"{', '.join(names)} of one length", lengths)
    ctx.require(all(value <= 0 for value in given["token_logprobs"]), "log probabilities", given["token_logprobs"])
    is_text = not any("\ufffd" in token or token.startswith("bytes:") for token in given["tokens"])
    if is_text:
        ctx.equal("".join(given["tokens"])[: len(choice["text"])], choice["text"], "the text that the tokens make up")
    ctx.require(all(len(top) in (1, 2, 3) for top in given["top_logprobs"]), "two alternatives", given["top_logprobs"])


@law("CMP41")
def streamed_is_whole(sample: Sample) -> str | None:
    seen, whole = [
        (answer.text, answer.finish, answer.prompt_tokens, answer.completion_tokens)
        for answer in (sample.streamed, sample.answer)
    ]
    return None if seen == whole else f"streamed: {seen}, whole: {whole}"


@check("CMP42")
async def usage_comes_where_it_is_asked_for(ctx: Context) -> None:
    caller = Caller(ctx)
    body = caller.body()
    asked = [event.data for event in await caller.events(body)]
    with_usage = [at for at, chunk in enumerate(asked) if chunk.get("usage")]
    ctx.equal(with_usage, [len(asked) - 1], "chunks with usage")
    ctx.equal(asked[-1]["choices"], [], "choices of the chunk with usage")
    reply = await caller.post({**body, "stream": True})
    plain = [event.data for event in caller.endpoint.events(reply)]
    problem = first("usage that nobody asked for" for chunk in plain if chunk.get("usage") or not chunk["choices"])
    ctx.require(problem is None, "no usage unless asked for", problem)


@check("CMP43")
async def an_error_before_the_stream_has_its_status(ctx: Context) -> None:
    caller = Caller(ctx)
    await caller.refused(caller.body(stream=True, temperature=7), "temperature")


@check("CMP44")
async def a_suffix_is_read(ctx: Context) -> None:
    caller = Caller(ctx)
    body = caller.body()
    plain = await caller.ask(body)
    ends = [f"and {' '.join([ctx.topic()] * times)}." for times in (1, 3)]
    short, long = [await caller.ask({**body, "suffix": end}) for end in ends]
    counts = [answer.prompt_tokens for answer in (plain, short, long)]
    ctx.require(counts[0] < counts[1] < counts[2], "prompt_tokens that grow with the suffix", counts)
    texts = {answer.text for answer in (plain, short, long)}
    ctx.require(len(texts) > 1, "a text that depends on what stands behind it", plain.text)


@check("CMP45")
async def a_suffix_is_not_said(ctx: Context) -> None:
    caller = Caller(ctx)
    body = {**caller.body(), "suffix": f"and {ctx.topic()}."}
    plain, echoed = await caller.ask(body), await caller.ask({**body, "echo": True})
    ctx.equal(echoed.text, body["prompt"] + plain.text, "the text with its prompt")


@check("REL12")
async def a_raw_prompt_is_one_everywhere(ctx: Context) -> None:
    here, there = Caller(ctx), Caller(ctx, "ollama_generate")
    prompt = ctx.topic()
    body = here.body(prompt)
    answer = await there.ask(there.body(prompt, raw=True))
    await require_same(ctx, answer, await here.ask(body), lambda: here.ask(body), "the answer of generate")

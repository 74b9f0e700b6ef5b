"""X: pairs of parameters that break engines although each of the two works alone."""

from __future__ import annotations

import re
from collections import Counter

from enginehouse_conformance.answer import Choice, Refusal
from enginehouse_conformance.context import Context
from enginehouse_conformance.primitives import (
    TRIES,
    baseline,
    decoded,
    endless,
    forced_token,
    is_cut_short,
    is_whole,
    is_whole_call,
    named,
    never_complete,
    nonce_tool,
    object_of,
    only,
    printable_tokens,
    require_same_greedy,
    saying,
    tool,
    whole_answer,
)
from enginehouse_conformance.registry import check

_REPLACEMENT = "\ufffd"
_WARM = 1.5  # varied, and still words


def _count(ctx: Context) -> int:
    return min(3, ctx.declared.limits.get("n", 3))


def _middle(ctx: Context, text: str, length: int = 4) -> str:
    """A piece of *text* from its middle that does not occur before."""
    pieces = ((at, text[at : at + length]) for at in range(len(text) // 2, len(text) - length))
    found = next((piece for at, piece in pieces if text.find(piece) == at and _is_plain(piece)), None)
    if found is None:
        ctx.unclear(f"the greedy answer is too short, or too repetitive, to stop within: {text!r}")
    return found


def _is_plain(piece: str) -> bool:
    return piece == piece.strip() and "\ufffd" not in piece


def _bytes(ctx: Context, choice: Choice) -> bytes:
    """The bytes of the choice's entries, which one with text must have."""
    if choice.logprobs is None:
        if not choice.text:  # it ended at once
            return b""
        ctx.fail("log probabilities, which were asked for", f"none for choice {choice.index}")
    missing = [entry.token for entry in choice.logprobs if entry.token_bytes is None]
    ctx.require(not missing, "`bytes` in each entry", missing)
    return b"".join(entry.token_bytes or b"" for entry in choice.logprobs)


@check("X1")
async def a_stop_string_ends_a_constrained_answer(ctx: Context) -> None:
    value = ctx.nonce(16)
    stop = value[6:11]
    body = ctx.body(response_format=saying(value), stop=[stop], max_tokens=64)
    beginning = re.compile(r'\s*\{\s*"v"\s*:\s*"' + value[: value.index(stop)])
    are_exact = []
    for _ in range(TRIES):
        answer = await ctx.ask(body)
        is_exact = beginning.fullmatch(answer.text) is not None
        is_cut = answer.finish == "length" and stop not in answer.text
        if not is_cut or not is_cut_short(answer.text, value):
            ctx.require(is_exact, f"the answer with {value!r} up to {stop!r}", answer.text)
            ctx.equal(answer.finish, "stop", "finish_reason")
            return
        are_exact.append(is_exact)
    # By chance the limit comes once where the stop string does, and not each time.
    ctx.require(not all(are_exact), "finish_reason 'stop'", "'length' each time, where the stop string comes")
    raise never_complete(body["max_tokens"])


@check("X2")
async def a_streamed_call_that_is_cut(ctx: Context) -> None:
    name, value = f"t_{ctx.nonce()}", ctx.nonce(240)
    made = tool(name, object_of(v={"type": "string", "enum": [value]}))
    body = ctx.body(tools=[made], tool_choice=named(name), max_tokens=48)
    whole = f'{{"v":"{value}"}}'
    for answer in (await ctx.stream(body), await ctx.ask(body)):
        ctx.equal(answer.finish, "length", "finish_reason of a call that is cut")
        ctx.require(len(answer.calls) <= 1, "one call", answer.calls)
        for call in answer.calls:
            ctx.equal(call.name, name, "the name of the call")
            begun = "".join(call.arguments.split())
            ctx.require(whole.startswith(begun) and begun != whole, "the beginning of the arguments", call.arguments)
        ctx.equal(answer.text, "", "the content beside the call")


@check("X3")
async def entries_of_a_stopped_answer_are_its_text(ctx: Context) -> None:
    base = await baseline(ctx)
    stop = _middle(ctx, base.text)
    answer = await ctx.ask({**base.body, "stop": [stop], "logprobs": True})
    data, text = _bytes(ctx, answer.first), answer.text.encode()
    ctx.require(data.startswith(text), f"entries that begin with the content {answer.text!r}", data)
    rest, end = data[len(text) :], stop.encode()
    ctx.require(rest.startswith(end) or end.startswith(rest), f"nothing after it but of the stop string {stop!r}", rest)


@check("X4")
async def each_streamed_choice_satisfies_the_schema(ctx: Context) -> None:
    value = ctx.nonce()
    body = ctx.body(n=_count(ctx), response_format=saying(value), max_tokens=64)
    for _ in range(TRIES):
        answer = await ctx.stream(body)
        ctx.equal([choice.index for choice in answer.choices], list(range(_count(ctx))), "indices of the choices")
        are_whole = [
            is_whole(ctx, choice.text, choice.finish, value, f"choice {choice.index}") for choice in answer.choices
        ]
        finishes = Counter(delta.choice for delta in answer.deltas if delta.finish is not None)
        ctx.equal(dict(finishes), dict.fromkeys(range(_count(ctx)), 1), "finish_reasons per choice")
        if all(are_whole):
            return
    raise never_complete(body["max_tokens"])


@check("X5")
async def a_stop_string_ends_each_choice(ctx: Context) -> None:
    base = await baseline(ctx)
    stop = _middle(ctx, base.text)
    cut = base.text[: base.text.index(stop)]
    answer = await ctx.ask({**base.body, "n": _count(ctx), "stop": [stop]})
    ctx.equal(len(answer.choices), _count(ctx), "the number of choices")
    for choice in answer.choices:
        if not base.text.startswith(choice.text):
            await require_same_greedy(ctx, base, choice.text, f"up to {stop!r}, choice {choice.index}")
        ctx.equal(choice.text, cut, f"with the stop string {stop!r}, choice {choice.index}")
        ctx.equal(choice.finish, "stop", f"finish_reason of choice {choice.index}")


@check("X6")
async def held_text_is_sent_at_the_limit(ctx: Context) -> None:
    base = await baseline(ctx, max_tokens=12)
    if base.answer.finish != "length" or not base.text.strip():
        ctx.unclear("the greedy answer ends before the limit")
    stop = base.text[-3:] + ctx.nonce()
    streamed = await ctx.stream({**base.body, "stop": [stop]})
    await require_same_greedy(ctx, base, streamed.text, f"with {stop!r} begun when the limit comes, the stream")
    ctx.equal(streamed.finish, "length", "finish_reason")


@check("X7")
async def a_bias_leads_not_out_of_the_schema(ctx: Context) -> None:
    token, value = await forced_token(ctx), ctx.nonce()
    what = f"with a bias of 100 on {token.text!r}, the answer"
    await whole_answer(ctx, value, what, logit_bias=only(token), max_tokens=64)


@check("X8", exclusive=True)  # as SMP7
async def a_seed_gives_the_same_list_of_choices(ctx: Context) -> None:
    seed = ctx.random.randrange(2**31)
    body = ctx.body(n=_count(ctx), seed=seed, temperature=min(_WARM, ctx.hottest), max_tokens=32)
    lists = [[choice.text for choice in (await ctx.ask(body)).choices] for _ in range(2)]
    ctx.equal(lists[1], lists[0], "the choices of the same seed again:")
    ctx.require(len(set(lists[0])) > 1, "choices that differ from each other", lists[0])


@check("X9")
async def each_choice_carries_its_own_entries(ctx: Context) -> None:
    answer = await ctx.ask(ctx.body(n=_count(ctx), logprobs=True, temperature=min(_WARM, ctx.hottest)))
    ctx.equal(len(answer.choices), _count(ctx), "the number of choices")
    for choice in answer.choices:
        seen = _bytes(ctx, choice).decode("utf-8", "ignore")
        ctx.equal(seen, choice.text.replace("\ufffd", ""), f"the bytes of the entries of choice {choice.index}")


@check("X10")
async def penalised_and_biased_output_is_the_same_streamed(ctx: Context) -> None:
    alphabet = await printable_tokens(ctx, 2)
    base = await baseline(ctx, max_tokens=24, frequency_penalty=1.5, logit_bias=only(*alphabet))
    ctx.require(
        all(token.text in base.text for token in alphabet),
        "both tokens of an alphabet of two under frequency_penalty",
        base.text,
    )
    streamed = await ctx.stream(base.body)
    ctx.equal(streamed.text, base.text, "the stream")


@check("X11")
async def a_named_tool_beside_a_response_format(ctx: Context) -> None:
    name, value, made = nonce_tool(ctx)
    body = ctx.body(tools=[made], tool_choice=named(name), response_format=saying(ctx.nonce()), max_tokens=200)
    for seed in (1, 2, 3):  # a model that may choose between the two calls by chance
        outcome = await ctx.attempt({**body, "temperature": 1, "seed": seed})
        if isinstance(outcome, Refusal):
            ctx.require(outcome.status in (400, None), "the pair served, or refused with 400", str(outcome))
            return
        if not is_whole_call(ctx, outcome.first, name, value):
            ctx.unclear("the call was cut short before it was complete")


@check("X12")
async def entries_of_a_constrained_answer_are_its_text(ctx: Context) -> None:
    value = ctx.nonce()
    answer = await whole_answer(ctx, value, "the answer", logprobs=True, max_tokens=64)
    ctx.equal(_bytes(ctx, answer.first), answer.text.encode(), "the bytes of the entries")


@check("X13")
async def one_usage_chunk_sums_over_the_choices(ctx: Context) -> None:
    tokens, count = 6, _count(ctx)
    body = ctx.body(
        **{**await endless(ctx), "n": count, "max_tokens": tokens, "stream_options": {"include_usage": True}}
    )
    trace = await ctx.trace(body)
    carrying = [at for at, chunk in enumerate(trace.chunks) if chunk.get("usage") is not None]
    ctx.equal(carrying, [len(trace.chunks) - 1], "positions of chunks with usage")
    ctx.equal(trace.chunks[-1].get("choices"), [], "`choices` of the usage chunk")
    answer = trace.answer()
    finishes = {choice.index: choice.finish for choice in answer.choices}
    ctx.require(len(finishes) == count and all(finishes.values()), "a finish_reason for each choice", finishes)
    if set(finishes.values()) != {"length"}:
        ctx.unclear(f"choices ended by themselves before {tokens} tokens: their length is not known")
    ctx.equal(answer.completion_tokens, count * tokens, f"completion_tokens of {count} choices of {tokens} tokens")


@check("X14")
async def a_stop_string_breaks_no_call(ctx: Context) -> None:
    name, value = f"t_{ctx.nonce()}", ctx.nonce(16)
    made = tool(name, object_of(v={"type": "string", "enum": [value]}))
    answer = await ctx.ask(ctx.body(tools=[made], tool_choice=named(name), stop=[value[6:11]], max_tokens=200))
    if answer.finish == "length":
        ctx.unclear("the call was cut short before it was complete")
    if answer.finish != "tool_calls":
        ctx.note(f"the stop string ends the call, with finish_reason {answer.finish!r}")
        return
    ctx.equal([call.name for call in answer.calls], [name], "the calls")
    ctx.equal(decoded(ctx, answer.calls[0].arguments), {"v": value}, 'the arguments of a call with "tool_calls"')


@check("X15")
async def a_stream_with_logprobs_finishes(ctx: Context) -> None:
    streamed = await ctx.stream(ctx.body(logprobs=True))
    ctx.require(streamed.first.logprobs, "log probabilities, which were asked for", "none")
    finishes = [delta.finish for delta in streamed.deltas if delta.finish is not None]
    ctx.require(len(finishes) == 1, "one finish_reason", finishes)


@check("X16")
async def an_answer_beside_tools_keeps_the_format(ctx: Context) -> None:
    for choice in ("none", "auto"):
        value, (_, _, made) = ctx.nonce(), nonce_tool(ctx)
        body = ctx.body(tools=[made], tool_choice=choice, response_format=saying(value), max_tokens=128)
        for _ in range(TRIES):
            outcome = await ctx.attempt(body)
            if isinstance(outcome, Refusal):
                ctx.require(outcome.status in (400, None), "the pair served, or refused with 400", str(outcome))
                break
            if choice == "auto" and outcome.calls:
                break
            if is_whole(ctx, outcome.text, outcome.finish, value, f"with tool_choice {choice!r}, the answer"):
                break
        else:
            raise never_complete(body["max_tokens"])


@check("X17")
async def bias_and_penalties_are_each_choices_own(ctx: Context) -> None:
    tokens = await printable_tokens(ctx, 2)
    body = ctx.body("Go on.", temperature=0, max_tokens=24, frequency_penalty=1.5, logit_bias=only(*tokens))
    one, several = await ctx.ask(body), await ctx.ask({**body, "n": _count(ctx)})
    ctx.equal(len(several.choices), _count(ctx), "the number of choices")
    for choice in several.choices:
        ctx.equal(choice.text, one.text, f"greedy choice {choice.index} under a bias and a frequency_penalty")


@check("X18")
async def each_choice_has_its_own_call(ctx: Context) -> None:
    name, value, made = nonce_tool(ctx)
    body = ctx.body(n=_count(ctx), tools=[made], tool_choice=named(name), max_tokens=128)
    can_stream = ctx.has("streaming") and ctx.speaks("stream")
    for answer in [await ctx.ask(body), *([await ctx.stream(body)] if can_stream else [])]:
        ctx.equal([choice.index for choice in answer.choices], list(range(_count(ctx))), "indices of the choices")
        if not all(is_whole_call(ctx, choice, name, value, f" of choice {choice.index}") for choice in answer.choices):
            ctx.unclear("a call was cut short before it was complete")
        ids = [call.id for choice in answer.choices for call in choice.calls]
        ctx.require(len(set(ids)) == len(ids), "ids that differ from choice to choice", ids)


@check("X19")
async def blanks_at_the_end_stay_where_there_are_tools(ctx: Context) -> None:
    base = await baseline(ctx, tools=[tool("look_up")], tool_choice="none", max_tokens=48)
    words = [found for found in re.finditer(r"(?<=\S)\s+(\S{2,})", base.text) if _REPLACEMENT not in found[1]]
    at, stop = next(((word.start(1), word[1]) for word in words if base.text.index(word[1]) == word.start(1)), (0, ""))
    if not stop:
        ctx.unclear(f"no blank comes before a new word in {base.text!r}")
    body = {**base.body, "stop": [stop]}
    told = base.text[:at]
    can_stream = ctx.has("streaming") and ctx.speaks("stream")
    for answer in [await ctx.ask(body), *([await ctx.stream(body)] if can_stream else [])]:
        if answer.text.strip() != told.strip():
            ctx.unclear(f"the answer {answer.text!r} did not end at {stop!r}, as the baseline would")
        ctx.equal(answer.text, told, f"where tools are given, the text before the stop string {stop!r}")

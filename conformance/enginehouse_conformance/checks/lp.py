"""LP: log probabilities."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator

from enginehouse_conformance.answer import Alternative, Answer, Choice, TokenEntry
from enginehouse_conformance.context import Context
from enginehouse_conformance.primitives import (
    Baseline,
    baseline,
    greedy,
    named,
    nonce_tool,
    require_same_greedy,
    saying,
    tool,
)
from enginehouse_conformance.registry import check
from enginehouse_conformance.targets import Body

_MULTI_BYTE = "日本 é 👩‍👩‍👧‍👦"
_SIGNS = ("\u0120", "\u2581")
_REPLACEMENT = "\ufffd"
_TOP = 5
_MOST = 20
_ALL = 0.999
_ROUNDING = 1e-6
_SAME = 1e-3
"""Two values of one forward pass, after rounding to a few digits."""
_CLOSE = 0.1
"""Two values of two forward passes in batches of different sizes, in bfloat16."""
_SUM_SLACK = 0.01
_STOP_CHARS = 4


def _with_top(ctx: Context, count: int = _TOP, **fields: object) -> Body:
    return ctx.body(logprobs=True, top_logprobs=min(count, ctx.declared.limits.get("top_logprobs", count)), **fields)


async def _hot_entries(ctx: Context, count: int = _TOP) -> tuple[TokenEntry, ...]:
    """Entries with *count* alternatives at the highest temperature, where the sampled token is often none of them."""
    answer = await ctx.ask(_with_top(ctx, count, temperature=ctx.hottest, max_tokens=24))
    return _entries(ctx, answer.first)


def _entries(ctx: Context, choice: Choice) -> tuple[TokenEntry, ...]:
    """The entries, which a choice with text must have."""
    if choice.logprobs is None:
        ctx.require(not choice.text, "log probabilities, which were asked for", "none")
        return ()  # an answer that ends at once has none
    ctx.require(choice.logprobs or not choice.text, "entries for the text", f"none for {choice.text!r}")
    return choice.logprobs


def _require_bytes_of(ctx: Context, choice: Choice) -> None:
    entries = _entries(ctx, choice)
    pieces = [entry.token_bytes for entry in entries]
    without = next((entry.token for entry, data in zip(entries, pieces, strict=True) if data is None), None)
    ctx.require(without is None, "`bytes` in each entry", f"null for {without!r}")
    joined = b"".join(data or b"" for data in pieces)
    ctx.equal(_readable(joined.decode("utf-8", "replace")), _readable(choice.text), "the bytes of the entries")


def _readable(text: str) -> str:
    """*text* with a run of broken bytes as one sign, and none at the end: how many a break gives is nobody's rule."""
    return re.sub(f"{_REPLACEMENT}+", _REPLACEMENT, text).removesuffix(_REPLACEMENT)


def _tokens(entries: tuple[TokenEntry, ...]) -> list[tuple[str, bytes | None]]:
    return [(entry.token, entry.token_bytes) for entry in entries]


def _all(entries: tuple[TokenEntry, ...]) -> Iterator[TokenEntry | Alternative]:
    for entry in entries:
        yield entry
        yield from entry.top


@check("LP1")
async def present_if_asked_for(ctx: Context) -> None:
    body = ctx.body()
    asked = await ctx.ask({**body, "logprobs": True})
    _entries(ctx, asked.first)
    for unasked in (body, {**body, "logprobs": False}):
        answer = await ctx.ask(unasked)
        ctx.require(answer.first.logprobs is None, "no log probabilities, which were not asked for", answer.first)


@check("LP2")
async def bytes_are_the_content(ctx: Context) -> None:
    # What is hot holds blanks and newlines, at its ends too.
    for fields in ({}, {"temperature": ctx.hottest, "max_tokens": 48}):
        answer = await ctx.ask(ctx.body(logprobs=True, **fields))
        _require_bytes_of(ctx, answer.first)
    if ctx.has("json_schema") and ctx.speaks("response_format.json_schema"):
        forced = await ctx.ask(ctx.body(logprobs=True, response_format=saying(_MULTI_BYTE), max_tokens=96))
        _require_bytes_of(ctx, forced.first)


@check("LP3")
async def values_are_logarithms(ctx: Context) -> None:
    for entry in _all(await _hot_entries(ctx)):
        ctx.require(math.isfinite(entry.logprob), "a finite logprob", entry)
        ctx.require(entry.logprob <= _ROUNDING, "a logprob of 0 or less", entry)


@check("LP4")
async def no_more_alternatives_than_asked_for(ctx: Context) -> None:
    for count in (0, 1, _TOP):
        most = max((len(entry.top) for entry in await _hot_entries(ctx, count)), default=0)
        ctx.require(most <= count, f"at most {count} alternatives", most)


@check("LP5")
async def alternatives_are_sorted(ctx: Context) -> None:
    for entry in await _hot_entries(ctx):
        values = [other.logprob for other in entry.top]
        ctx.require(values, "alternatives, which were asked for", entry)
        ctx.require(
            all(left >= right - _ROUNDING for left, right in itertools.pairwise(values)),
            "alternatives with the likeliest first",
            values,
        )


@check("LP6")
async def alternatives_are_distinct(ctx: Context) -> None:
    for entry in await _hot_entries(ctx):
        tokens = [(other.token, other.token_bytes) for other in entry.top]
        ctx.require(len(set(tokens)) == len(tokens), "distinct alternatives", tokens)


@check("LP7")
async def probabilities_sum_to_one_at_most(ctx: Context) -> None:
    for entry in await _hot_entries(ctx, 20):
        # One value over 1 is over the sum already; e to its power may be too much for a float.
        total = sum(math.exp(min(other.logprob, 1.0)) for other in entry.top)
        ctx.require(total <= 1 + _SUM_SLACK, "probabilities that sum to 1 or less", f"{total:.4f}")


@check("LP8")
async def greedy_takes_the_first(ctx: Context) -> None:
    answer = await ctx.ask(_with_top(ctx, 2, temperature=0))
    for entry in _entries(ctx, answer.first):
        ctx.require(entry.top, "alternatives, which were asked for", entry)
        # The very same logprob is a tie, and either token is right.
        ctx.require(
            abs(entry.top[0].logprob - entry.logprob) <= _SAME,
            "the greedy token to be the likeliest, with its logprob",
            entry,
        )


@check("LP9")
async def top_logprobs_has_limits(ctx: Context) -> None:
    for count in (21, -1):
        await ctx.refused(ctx.body(logprobs=True, top_logprobs=count), "top_logprobs")


@check("LP10")
async def top_logprobs_needs_logprobs(ctx: Context) -> None:
    for fields in ({}, {"logprobs": False}):
        await ctx.refused(ctx.body(top_logprobs=2, **fields), "top_logprobs", "logprobs")


@check("LP11")
async def tokens_are_text(ctx: Context) -> None:
    answer = await ctx.ask(_with_top(ctx, temperature=0, max_tokens=24))
    entries = _entries(ctx, answer.first)
    for entry in _all(entries):
        for sign in _SIGNS:
            # A model may really say the sign: then its bytes, and the text, hold it.
            is_text = sign.encode() in (entry.token_bytes or b"") and (entry not in entries or sign in answer.text)
            ctx.require(sign not in entry.token or is_text, f"no U+{ord(sign):04X} in a token", entry.token)


@check("LP12")
async def a_stream_has_the_same_entries(ctx: Context) -> None:
    body = greedy(ctx, logprobs=True)
    answer = await ctx.ask(body)
    streamed = await ctx.stream(body)
    await require_same_greedy(ctx, Baseline(body=body, answer=answer), streamed.text, "the streamed content")
    expected, seen = _entries(ctx, answer.first), _entries(ctx, streamed.first)
    ctx.equal(_tokens(seen), _tokens(expected), "the streamed tokens")
    _require_close(ctx, expected, seen, "the streamed logprob")


def _require_close(ctx: Context, expected: tuple[TokenEntry, ...], seen: tuple[TokenEntry, ...], what: str) -> None:
    for left, right in zip(expected, seen, strict=True):
        ctx.require(
            abs(left.logprob - right.logprob) <= _CLOSE, f"{what} of {left.token!r} near {left.logprob:.4f}", right
        )


@check("LP13")
async def values_do_not_depend_on_the_number_of_alternatives(ctx: Context) -> None:
    one_body, more_body = _with_top(ctx, 1, temperature=0), _with_top(ctx, temperature=0)
    more_body["messages"] = one_body["messages"]
    one, more = await ctx.ask(one_body), await ctx.ask(more_body)
    await require_same_greedy(ctx, Baseline(body=one_body, answer=one), more.text, "the content with more alternatives")
    expected, seen = _entries(ctx, one.first), _entries(ctx, more.first)
    ctx.equal(_tokens(seen), _tokens(expected), "the tokens with more alternatives")
    _require_close(ctx, expected, seen, "with more alternatives, the logprob")


@check("LP14")
async def nothing_is_told_beyond_a_stop(ctx: Context) -> None:
    base = await baseline(ctx)
    at = len(base.text) // 2
    stop = base.text[at : at + _STOP_CHARS]
    if len(stop) < _STOP_CHARS or not stop.strip() or _REPLACEMENT in stop:
        ctx.unclear(f"the baseline {base.text!r} gives no stop string")
    answer: Answer = await ctx.ask({**base.body, "logprobs": True, "stop": [stop]})
    if answer.text != base.text[: base.text.index(stop)]:
        ctx.unclear(f"the answer {answer.text!r} did not end at {stop!r}, as the baseline would")
    begins_at = sum(len(entry.token_bytes or b"") for entry in _entries(ctx, answer.first)[:-1])
    end = len((answer.text + stop).encode())
    ctx.require(begins_at < max(end, 1), f"no entry beyond the byte {end}", f"one that begins at {begins_at}")


@check("LP15")
async def they_work_with_tools_and_streams(ctx: Context) -> None:
    answer = await ctx.stream(ctx.body(logprobs=True, tools=[tool(f"t_{ctx.nonce()}")], tool_choice="auto"))
    if answer.text:
        _entries(ctx, answer.first)
    if ctx.has("tool_choice_named") and ctx.speaks("tool_choice.named"):
        name, _, given = nonce_tool(ctx)
        called = await ctx.stream(ctx.body(logprobs=True, tools=[given], tool_choice=named(name), max_tokens=64))
        if not called.calls and called.finish == "length" and not called.text.strip():
            ctx.unclear("the answer was cut short before the call began")
        ctx.equal([call.name for call in called.calls], [name], "the call, with log probabilities asked for,")


@check("LP16")
async def values_are_the_models(ctx: Context) -> None:
    body = _with_top(ctx, max_tokens=1)
    answers = [await ctx.ask({**body, "temperature": heat}) for heat in (0, 0.5, ctx.hottest)]
    if not all(answer.first.logprobs or answer.text for answer in answers):
        ctx.unclear("the rule cannot be tried: an answer ends before its first token")
    firsts = [_entries(ctx, answer.first)[0] for answer in answers]
    cool, *others = [{other.token: other.logprob for other in first.top} for first in firsts]
    for told in others:
        shared = cool.keys() & told.keys()
        apart = max((abs(cool[token] - told[token]) for token in shared), default=math.inf)
        ctx.require(apart <= _CLOSE, "the same values of the first position at every temperature", (cool, told))


@check("LP17")
async def as_many_alternatives_as_asked_for(ctx: Context) -> None:
    body = _with_top(ctx, _MOST, temperature=ctx.hottest, max_tokens=24)
    answers = [await ctx.ask(body)]
    if ctx.has("streaming") and ctx.speaks("stream"):
        answers.append(await ctx.stream(body))
    for answer in answers:
        for entry in _entries(ctx, answer.first):
            # A vocabulary may have fewer tokens: then they are all.
            are_all = sum(math.exp(min(other.logprob, 0.0)) for other in entry.top) > _ALL
            what = f"{body['top_logprobs']} alternatives, which were asked for"
            ctx.require(len(entry.top) >= body["top_logprobs"] or are_all, what, len(entry.top))


@check("LP18")
async def the_token_is_told_alike_among_the_alternatives(ctx: Context) -> None:
    for entry in await _hot_entries(ctx):
        if not entry.top or entry.logprob <= entry.top[-1].logprob + _SAME:
            continue  # it is none of the likeliest
        alike = [other for other in entry.top if abs(other.logprob - entry.logprob) <= _SAME]
        told = [(other.token, other.token_bytes) for other in alike]
        what = "the sampled token among the likeliest, with the same logprob, token and bytes"
        ctx.require((entry.token, entry.token_bytes) in told, what, entry)


def _beside(ctx: Context) -> list[Body]:
    """Fields that may stand beside log probabilities and leave them as they are, each alone."""
    fields: dict[str, object] = {
        "stop": [ctx.nonce()], "n": 2, "seed": 7, "frequency_penalty": 0.5, "presence_penalty": 0.5,
    }  # fmt: skip
    beside = [{name: value} for name, value in fields.items() if ctx.has(name) and ctx.speaks(name)]
    if ctx.has("json_schema") and ctx.speaks("response_format.json_schema"):
        beside.append({"response_format": saying(ctx.nonce())})
    return [{}, *beside]


@check("LP19")
async def they_come_whatever_stands_beside(ctx: Context) -> None:
    for fields in _beside(ctx):
        body = ctx.body(logprobs=True, **{"max_tokens": 4, **fields})
        answers = [await ctx.ask(body)]
        if ctx.has("streaming") and ctx.speaks("stream"):
            answers.append(await ctx.stream(body))
        for answer in answers:
            for choice in answer.choices:
                what = f"log probabilities beside {sorted(fields)}" + (", in a stream" if answer.deltas else "")
                ctx.require(choice.logprobs or not choice.text, what, f"none for {choice.text!r}")


@check("LP20")
async def a_token_is_the_text_of_its_bytes(ctx: Context) -> None:
    for entry in _all(await _hot_entries(ctx)):
        try:
            text = (entry.token_bytes or b"").decode()
        except UnicodeDecodeError:
            continue  # a part of a character: how that is written is nobody's rule
        if text:
            ctx.equal(entry.token, text, "the token whose bytes are whole characters")

"""RSN: reasoning."""

from __future__ import annotations

import re
from typing import NoReturn

from enginehouse_conformance.answer import Json
from enginehouse_conformance.context import Context
from enginehouse_conformance.primitives import are_apart, endless, greedy
from enginehouse_conformance.registry import check
from enginehouse_conformance.targets import Body

_MARKS = re.compile(
    r"</?(think|thinking|thought|reasoning|analysis)>|<\|/?(think|channel|START_THINKING|END_THINKING)\|>|"
    r"\[/?THINK\]|\N{WHITE LEFT-POINTING TRIANGLE}/?think\N{WHITE RIGHT-POINTING TRIANGLE}|<seed:think>",
    re.IGNORECASE,
)
_KNOWN = frozenset({"role", "content", "refusal", "tool_calls", "function_call", "audio", "annotations"})
_TOKENS = 64
_SEVERAL_TOKENS = 40  # characters that are no single token
_CHARACTERS_A_TOKEN = 8  # at most, so that the limit is within the reasoning
_PROMPT = "What is 17 times 23? Think about it step by step."


def _thoughtful(ctx: Context) -> Body:
    """A request that a model with reasoning reasons about."""
    fields: Body = {"max_tokens": _TOKENS}
    if ctx.has("reasoning_effort") and ctx.speaks("reasoning_effort"):
        fields["reasoning_effort"] = ctx.declared.reasoning_efforts[-1] if ctx.declared.reasoning_efforts else "high"
    return ctx.body(_PROMPT, **fields)


def _without_reasoning(ctx: Context) -> NoReturn:
    """No reasoning came: odd where it was declared, and nothing to judge where all of the profile is claimed."""
    if ctx.declared.features is None:
        ctx.not_in_scope("the target shows no reasoning")
    ctx.unclear(f"reasoning is declared, but none came in {_TOKENS} tokens")


@check("RSN1")
async def each_declared_effort_is_accepted(ctx: Context) -> None:
    efforts = ctx.declared.reasoning_efforts
    if not efforts:
        ctx.not_in_scope("the target declares no `reasoning_efforts`")
    for effort in efforts:
        answer = await ctx.ask(ctx.body(reasoning_effort=effort))
        ctx.require(answer.choices, f"an answer with the effort {effort}", answer.raw)


@check("RSN2")
async def an_unknown_effort_is_refused(ctx: Context) -> None:
    await ctx.refused(ctx.body(reasoning_effort=ctx.nonce()), "reasoning_effort")


@check("RSN3")
async def no_marks_of_reasoning_in_the_content(ctx: Context) -> None:
    body = _thoughtful(ctx)
    answers = [await ctx.ask(body)]
    if ctx.has("streaming") and ctx.speaks("stream"):
        answers.append(await ctx.stream(body))
    for answer in answers:
        mark = _MARKS.search(answer.text)
        ctx.require(mark is None, "no mark of reasoning in the content", mark and mark.group())
    if not any(answer.first.reasoning for answer in answers):
        ctx.note("no reasoning came: the content alone was looked at")


@check("RSN4")
async def reasoning_has_one_field_name(ctx: Context) -> None:
    body = _thoughtful(ctx)
    answer = await ctx.ask(body)
    whole = {name for entry in answer.raw["choices"] for name in _names(entry["message"])}
    streamed = set[str]()
    for entry in (await ctx.trace(body)).entries():
        streamed |= _names(entry.get("delta") or {})
    if not whole and not streamed:
        _without_reasoning(ctx)
    ctx.equal(sorted(streamed), sorted(whole), "in a stream, the field of reasoning")


def _names(message: Json) -> set[str]:
    """The fields of a message that carry text and are none of the documented others."""
    return {name for name, value in message.items() if name not in _KNOWN and isinstance(value, str) and value}


@check("RSN5")
async def usage_tells_the_tokens_of_reasoning(ctx: Context) -> None:
    body = _thoughtful(ctx)
    answers = [await ctx.ask(body)]
    if ctx.has("streaming") and ctx.speaks("stream", "stream_options"):
        answers.append(await ctx.stream({**body, "stream_options": {"include_usage": True}}))
    for answer in answers:
        told = answer.usage.reasoning_tokens if answer.usage else None
        if not answer.first.reasoning and not told:
            _without_reasoning(ctx)
        ctx.require(told, "usage.completion_tokens_details.reasoning_tokens above 0", told)
        ctx.require(
            (told or 0) <= answer.completion_tokens, f"no more than the {answer.completion_tokens} completion", told
        )


@check("RSN6")
async def the_effort_reaches_the_model(ctx: Context) -> None:
    if ctx.declared.features is None:
        ctx.not_in_scope("the target does not say that its model has efforts")
    efforts = ctx.declared.reasoning_efforts or ("low", "high")
    bodies = [greedy(ctx, _PROMPT, reasoning_effort=effort, max_tokens=_TOKENS) for effort in (efforts[0], efforts[-1])]
    told = [await ctx.ask(body) for body in bodies]
    counts = [(answer.prompt_tokens, answer.usage and answer.usage.reasoning_tokens) for answer in told]
    said = [(answer.first.reasoning, answer.text) for answer in told]
    if counts[0] == counts[1] and said[0] == said[1]:
        what = f"something else with the effort {efforts[-1]} than with {efforts[0]}"
        ctx.require(not told[0].first.reasoning and await are_apart(ctx, *bodies), what, "the same prompt and answer")


@check("RSN7")
async def reasoning_counts_as_completion(ctx: Context) -> None:
    body = {**_thoughtful(ctx), **await endless(ctx), "max_tokens": _TOKENS}
    answer = await ctx.ask(body)
    if not answer.first.reasoning:
        _without_reasoning(ctx)
    if answer.finish != "length":
        ctx.unclear(f"the answer ends by itself within {_TOKENS} tokens: how many there are is not known")
    ctx.equal(answer.completion_tokens, _TOKENS, "completion_tokens of an answer that the limit cut")
    if ctx.has("streaming") and ctx.speaks("stream", "stream_options"):
        streamed = await ctx.stream({**body, "stream_options": {"include_usage": True}})
        if streamed.finish == "length":
            ctx.equal(streamed.completion_tokens, _TOKENS, "completion_tokens of a stream that the limit cut")


@check("RSN8")
async def reasoning_that_is_cut_is_no_content(ctx: Context) -> None:
    body = {**_thoughtful(ctx), "temperature": 0}
    whole = await ctx.ask(body)
    if not whole.first.reasoning:
        _without_reasoning(ctx)
    told = whole.usage.reasoning_tokens if whole.usage else None
    limit = (told or len(whole.first.reasoning) // _CHARACTERS_A_TOKEN) // 2
    if limit < 1:
        ctx.unclear(f"the reasoning is too short to be cut: {whole.first.reasoning!r}")
    answers = [await ctx.ask({**body, "max_tokens": limit})]
    if ctx.has("streaming") and ctx.speaks("stream"):
        answers.append(await ctx.stream({**body, "max_tokens": limit}))
    for answer in answers:
        kind = "streamed " if answer.deltas else ""
        ctx.equal(answer.text, "", f"content of a {kind}answer that ends within its reasoning")
        ctx.require(answer.first.reasoning, f"the {kind}reasoning up to the limit", answer.first)
        ctx.equal(answer.finish, "length", "finish_reason")


@check("RSN9")
async def no_effort_is_no_reasoning(ctx: Context) -> None:
    if "none" not in ctx.declared.reasoning_efforts:
        ctx.not_in_scope('the target does not declare the effort "none"')
    answer = await ctx.ask(ctx.body(_PROMPT, reasoning_effort="none"))
    told = answer.usage.reasoning_tokens if answer.usage else None
    ctx.require(not answer.first.reasoning and not told, 'no reasoning with the effort "none"', answer.first)


@check("RSN10")
async def reasoning_ends_where_the_content_begins(ctx: Context) -> None:
    answer = await ctx.stream({**_thoughtful(ctx), "max_tokens": 2 * _TOKENS})
    kinds = ["reasoning" if delta.reasoning else "content" for delta in answer.deltas if delta.reasoning or delta.text]
    if "reasoning" not in kinds:
        _without_reasoning(ctx)
    if "content" not in kinds:
        ctx.unclear(f"the answer ends within its reasoning after {2 * _TOKENS} tokens")
    after = kinds[kinds.index("content") :]
    ctx.require("reasoning" not in after, "no reasoning after the content has begun", after)
    several = len(after) > 1 or len(answer.text) < _SEVERAL_TOKENS
    ctx.require(several, "the content after reasoning in several deltas", f"one of {len(answer.text)} characters")

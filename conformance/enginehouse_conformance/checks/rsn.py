"""RSN: reasoning."""

from __future__ import annotations

import re
from typing import NoReturn

from enginehouse_conformance.answer import Json
from enginehouse_conformance.context import Context
from enginehouse_conformance.registry import check
from enginehouse_conformance.targets import Body

_MARKS = re.compile(
    r"</?(think|thinking|thought|reasoning|analysis)>|<\|/?(think|channel|START_THINKING|END_THINKING)\|>|"
    r"\[/?THINK\]|\N{WHITE LEFT-POINTING TRIANGLE}/?think\N{WHITE RIGHT-POINTING TRIANGLE}|<seed:think>",
    re.IGNORECASE,
)
_KNOWN = frozenset({"role", "content", "refusal", "tool_calls", "function_call", "audio", "annotations"})
_TOKENS = 64
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
    answer = await ctx.ask(_thoughtful(ctx))
    told = answer.usage.reasoning_tokens if answer.usage else None
    if not answer.first.reasoning and not told:
        _without_reasoning(ctx)
    ctx.require(told, "usage.completion_tokens_details.reasoning_tokens above 0", told)
    ctx.require(
        (told or 0) <= answer.completion_tokens, f"no more than the {answer.completion_tokens} completion", told
    )

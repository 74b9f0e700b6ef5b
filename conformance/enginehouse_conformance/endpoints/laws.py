"""Laws: what holds of every answer of an endpoint, whole and streamed, judged on a few samples that are asked once.

    @law("RESP2")
    def object_is_response(sample: Sample) -> str | None:
        return None if sample.raw.get("object") == "response" else "an object that is no response"

A law returns what is wrong with a sample, None where nothing is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import wraps

import msgspec

from enginehouse_conformance.answer import Answer, Json
from enginehouse_conformance.context import Context
from enginehouse_conformance.registry import check
from enginehouse_conformance.rules import RULES
from enginehouse_conformance.targets import Body

from .base import Event
from .caller import Caller, readable


class Made(msgspec.Struct, frozen=True):
    """How a sample is asked for: fields over a greedy request, and the features that it needs.

    `{nonce}` in `fields` is filled in with a word of the run.
    """

    fields: Callable[[str], Body]
    features: tuple[str, ...] = ()


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One request and what came of it."""

    name: str
    body: Body
    model: str
    raw: dict[str, Json]
    answer: Answer
    events: list[Event]
    streamed: Answer


Law = Callable[[Sample], str | None]
_SAMPLES: dict[str, Mapping[str, Made]] = {}


def samples(endpoint: str, made: Mapping[str, Made]) -> None:
    """Say which samples the laws of *endpoint* look at, by name."""
    _SAMPLES[endpoint] = made


def law(rule: str, *names: str) -> Callable[[Law], Law]:
    """Register the decorated law as the check of *rule*, on the samples called *names*; none: on all."""

    def register(function: Law) -> Law:
        @wraps(function)
        async def judge(ctx: Context) -> None:
            made = _SAMPLES[RULES[rule].endpoint]
            looked_at = [name for name in names or made if ctx.has(*made[name].features)]
            for name in looked_at:
                sample = await sample_of(ctx, name)
                try:
                    problem = function(sample)
                except (LookupError, TypeError, AttributeError, ValueError) as exc:
                    problem = f"cannot be read ({type(exc).__name__}: {exc}): {str(sample.raw)[:200]}"
                ctx.require(problem is None, ctx.rule.requirement, f"{problem} (sample '{name}')")
            if not looked_at:
                ctx.not_in_scope("the target has nothing that this can be seen on")

        check(rule)(judge)
        return function

    return register


async def sample_of(ctx: Context, name: str) -> Sample:
    """The sample *name* of the endpoint of the check's rule; the first who wants it asks for it."""
    key = ("sample", ctx.rule.endpoint, name)
    found: Sample = await ctx.shared.once(key, lambda: _asked(ctx, name))
    return found


async def _asked(ctx: Context, name: str) -> Sample:
    caller = Caller(ctx)
    body = caller.body(f"Say something about the {name} of {ctx.nonce()}.")
    body |= _SAMPLES[ctx.rule.endpoint][name].fields(ctx.nonce())
    raw = await caller.raw(body)
    events = await caller.events(body)
    return Sample(
        name=name,
        body=body,
        model=ctx.target.model,
        raw=raw,
        answer=readable(caller.endpoint.answer, raw),
        events=events,
        streamed=readable(caller.endpoint.streamed, events),
    )


def first(problems: Iterable[str]) -> str | None:
    """The first of *problems*; None where there is none."""
    return next(iter(problems), None)

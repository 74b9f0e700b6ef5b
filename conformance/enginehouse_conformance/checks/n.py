"""N: several choices."""

from __future__ import annotations

from collections import Counter

from enginehouse_conformance.answer import Answer, Refusal
from enginehouse_conformance.context import Context
from enginehouse_conformance.primitives import Baseline, alphabet, endless, greedy, require_same_greedy
from enginehouse_conformance.registry import check

_CHOICES = 3
_TOKENS = 4
_WARM = 1.5
_DRAWS = 12


def _count(ctx: Context) -> int:
    """Three, or fewer where the target declares so."""
    return min(_CHOICES, ctx.declared.limits.get("n", _CHOICES))


def _require_all(ctx: Context, answer: Answer) -> None:
    """Require one choice for each index."""
    ctx.equal([choice.index for choice in answer.choices], list(range(_count(ctx))), "indices of the choices")


@check("N1")
async def each_choice_has_its_index(ctx: Context) -> None:
    _require_all(ctx, await ctx.ask(ctx.body(n=_count(ctx))))


@check("N2")
async def greedy_choices_are_equal(ctx: Context) -> None:
    body = greedy(ctx, n=_count(ctx))
    answer = await ctx.ask(body)
    _require_all(ctx, answer)
    base = Baseline(body=body, answer=answer)
    for choice in answer.choices[1:]:
        await require_same_greedy(ctx, base, choice.text, f"the greedy choice {choice.index}")


@check("N3")
async def hot_choices_differ(ctx: Context) -> None:
    seeded = ctx.has("seed") and ctx.speaks("seed")
    for fields in ({}, {"seed": ctx.random.randrange(2**31)}) if seeded else ({},):
        answer = await ctx.ask(ctx.body(n=_count(ctx), temperature=ctx.hottest, max_tokens=32, **fields))
        _require_all(ctx, answer)
        texts = {choice.text for choice in answer.choices}
        what = f"different choices at temperature {ctx.hottest:g} {fields or ''}"
        ctx.require(len(texts) > 1, what.strip(), f"all are {answer.text!r}")


@check("N4")
async def usage_counts_all_choices(ctx: Context) -> None:
    body = ctx.body(**{**await endless(ctx), "max_tokens": _TOKENS})
    one = await ctx.ask(body)
    several = await ctx.ask({**body, "n": _count(ctx)})
    _require_all(ctx, several)
    ctx.equal(several.prompt_tokens, one.prompt_tokens, "the prompt counted once:")
    cached = (several.usage.cached_tokens if several.usage else None) or 0
    ctx.require(cached <= several.prompt_tokens, f"no more than {several.prompt_tokens} tokens cached", cached)
    ends = {choice.finish for choice in several.choices}
    if ends != {"length"}:
        ctx.unclear(f"choices ended with {sorted(map(str, ends))} before {_TOKENS} tokens: their length is not known")
    ctx.equal(several.completion_tokens, _TOKENS * _count(ctx), f"completion_tokens of choices of {_TOKENS} tokens")


@check("N5")
async def each_streamed_choice_ends_once(ctx: Context) -> None:
    answer = await ctx.stream(ctx.body(n=_count(ctx)))
    ends = Counter(delta.choice for delta in answer.deltas if delta.finish is not None)
    ctx.equal(dict(sorted(ends.items())), dict.fromkeys(range(_count(ctx)), 1), "finish_reasons by index")


@check("N6")
async def no_choices_are_refused(ctx: Context) -> None:
    await ctx.refused(ctx.body(n=0), "n")


@check("N7")
async def a_million_choices_are_refused(ctx: Context) -> None:
    await ctx.refused(ctx.body(n=1_000_000, max_tokens=1), "n")


@check("N8")
async def what_is_not_offered_is_refused(ctx: Context) -> None:
    outcome = await ctx.attempt(ctx.body(n=2))
    if not isinstance(outcome, Refusal):
        ctx.fail("400 naming n: several choices are declared absent", f"{len(outcome.choices)} choice(s)")
    ctx.require(outcome.status in (400, None) and outcome.names("n"), "400 naming n", str(outcome))


@check("N9", exclusive=True)  # as SMP7
async def streamed_choices_are_those_of_the_answer(ctx: Context) -> None:
    body = greedy(ctx, n=_count(ctx))
    if ctx.has("seed") and ctx.speaks("seed"):  # then they differ from each other
        body |= {"seed": ctx.random.randrange(2**31), "temperature": min(_WARM, ctx.hottest)}
    told, streamed = await ctx.ask(body), await ctx.stream(body)
    _require_all(ctx, streamed)
    texts = [[choice.text for choice in answer.choices] for answer in (told, streamed)]
    ctx.equal(texts[1], texts[0], "the texts of the streamed choices")


@check("N10")
async def each_choice_has_its_own_end(ctx: Context) -> None:
    told, ends = await alphabet(ctx, 2)
    body = ctx.body("Go on.", n=_count(ctx), temperature=ctx.hottest, max_tokens=2, stop=[ends.text])
    can_stream = ctx.has("streaming") and ctx.speaks("stream")
    unseen = {"answer", "stream"} if can_stream else {"answer"}
    lead = 0  # of the token that goes on, so that choices end in both ways
    for _ in range(_DRAWS):
        bias = {str(told.id): 100 + min(lead, 0), str(ends.id): 100 - max(lead, 0)}
        came: set[str | None] = set()
        for kind in sorted(unseen):
            asked = {**body, "logit_bias": bias}
            answer = await (ctx.stream(asked) if kind == "stream" else ctx.ask(asked))
            _require_all(ctx, answer)
            for choice in answer.choices:
                right = "length" if choice.text == 2 * told.text else "stop"
                ctx.equal(
                    choice.finish, right, f"finish_reason of the choice {choice.index}, {choice.text!r}, of the {kind}"
                )
            seen = {choice.finish for choice in answer.choices}
            came |= seen
            unseen -= {kind} if len(seen) == 2 else set()
        if not unseen:
            return
        lead += 2 * (came == {"stop"}) - 2 * (came == {"length"})
    ctx.unclear("choices never end in both ways at once: that each has its own end cannot be told")

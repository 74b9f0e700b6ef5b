"""AUD: the sampling audit. Whether tokens are drawn as settings say, by the raw log probabilities beside them."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping

import msgspec

from enginehouse_conformance.answer import Answer, Refusal, TokenEntry
from enginehouse_conformance.audit.chances import Position, Settings, position_of
from enginehouse_conformance.audit.evidence import FALSE_ALARM, FALSE_PASS, Trial
from enginehouse_conformance.context import Context
from enginehouse_conformance.identity.measure import distance, line, mean
from enginehouse_conformance.identity.taking import TOP, top_of
from enginehouse_conformance.primitives.greedy import TIE_GAP
from enginehouse_conformance.registry import check
from enginehouse_conformance.targets import Body

_TOKENS = 32
_MOST_TOKENS = 1024
_LIMIT_S = 3600.0
_FEWER = (10, 5)
"""So many of the likeliest tokens are asked for where a target refuses to give `TOP`: mlx_lm's server gives 11."""
_RAW = 0.15
"""Log probabilities that are farther than that from those without a setting are not the raw ones."""
_PROMPTS = 8
_PENALTY = 1.5
_ENOUGH_AGAIN = 16
"""So many greedy tokens that come again are no accident where repetition is penalised."""
_SEEDS = 3

_GREEDY = Settings(temperature=0)
_ADDED = {
    "temperature 0": _GREEDY,
    "temperature 0.7": Settings(temperature=0.7),
    "temperature 1.5": Settings(temperature=1.5),
    "top_p 0.5": Settings(top_p=0.5),
    "top_p 0.9": Settings(top_p=0.9),
    "top_k 10": Settings(top_k=10),
    "top_k 40": Settings(top_k=40),
    "min_p 0.05": Settings(min_p=0.05),
}
_IGNORED = "nothing"
_NONE = Settings()


def _open(ctx: Context, **fields: object) -> Body:
    """A request whose tokens are open, each with the likeliest."""
    prompt = f"Write a very long list of random words and names, none of them usual. The first is {ctx.nonce(6)}."
    plain = {"temperature": 1, "top_p": 1, "max_tokens": _TOKENS, "logprobs": True, "top_logprobs": TOP}
    return ctx.body(prompt, **{**plain, **fields})


async def _told(ctx: Context, body: Body) -> tuple[Answer, int]:
    """The answer to *body*, and how many of the likeliest tokens it tells surely.

    A field that is refused ends the check, as this is about what is accepted.
    """
    top = TOP
    outcome = await ctx.attempt(body)
    for fewer in _FEWER:
        if not (isinstance(outcome, Refusal) and "top_logprobs" in str(outcome)):
            break
        top = fewer
        outcome = await ctx.attempt({**body, "top_logprobs": top})
    if isinstance(outcome, Refusal):
        ctx.not_in_scope(f"not audited, because it is refused: {outcome}")
    if not any(entry.top for entry in outcome.first.logprobs or ()):
        ctx.unclear("nothing can be said without log probabilities and their alternatives")
    if not _is_spelt(outcome):
        ctx.unclear(
            "the tokens beside the log probabilities do not spell the answer: they are not those that were drawn"
        )
    return outcome, top - 1  # vLLM's own server tells the drawn token in place of the last of them


def _is_spelt(answer: Answer) -> bool:
    """Whether the tokens that are told make the text; tokens may be written as in a vocabulary of bytes."""
    pieces = b"".join(
        entry.token.encode() if entry.token_bytes is None else entry.token_bytes for entry in answer.logprobs
    )
    told, text = pieces.decode(errors="replace").replace("Ġ", " ").replace("Ċ", "\n").strip(), answer.text.strip()
    return "\ufffd" in told + text or told.startswith(text)  # the last token may be no text


async def _require_raw(ctx: Context, **fields: object) -> None:
    """End with `inconclusive` where log probabilities are another with *fields*: they are those after it, not raw."""
    pairs = []
    for _ in range(3):
        body = _open(ctx, max_tokens=1)
        answers = [await _told(ctx, {**body, **more}) for more in ({}, fields)]
        first, other = (answer.logprobs[0] for answer, _ in answers)
        pairs.append((top_of(first.top), top_of(other.top)))
    apart = mean([distance(*pair) for pair in pairs])
    if apart > _RAW:
        found = line(pairs)
        slope = f" (slope {found.slope:.2f})" if found else ""
        ctx.unclear(
            f"log probabilities with {_named(fields)} are {apart:.2f} from those without{slope}: they are not the raw "
            "ones, which this audit needs. It has an effect on them, and so is not ignored"
        )


def _named(fields: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in fields.items())


async def _drawn(ctx: Context, **fields: object) -> AsyncIterator[Position | None]:
    """Drawn tokens, prompt by prompt, up to the bound; None where an answer ended by itself."""
    for _ in range(_MOST_TOKENS // _TOKENS):
        answer, known = await _told(ctx, _open(ctx, **fields))
        for entry in answer.logprobs:
            if (position := position_of(entry, known)) is not None:
                yield position
        if answer.finish != "length":
            yield None


async def _judge(ctx: Context, asked: Settings, others: Mapping[str, Settings], **fields: object) -> None:
    """Draw until it is settled whether tokens are drawn by *asked*, which *fields* ask for."""
    what = _named(fields) or "temperature 1"
    trial, ends = Trial(asked, others), 0
    async for position in _drawn(ctx, **fields):
        if position is None:
            ends += 1
            trial.end_early()
        else:
            trial.add(position)
        if trial.is_settled:
            break
    if trial.is_refuted:
        is_ignored = trial.likeliest == _IGNORED
        ctx.fail(
            f"tokens drawn by {what} (a right target fails with a chance of {FALSE_ALARM:g})",
            f"it is {'ignored' if is_ignored else 'altered'}: after {trial.tokens} tokens they are "
            f"e^{trial.evidence:.0f} times likelier otherwise; of what was tried the likeliest is "
            + ("that it is not there" if is_ignored else trial.likeliest),
        )
    out = trial.ruled_out
    left = [name for name in others if name not in out]
    ended = f", {ends} answers ended by themselves" if ends else ""
    if (_IGNORED in others and _IGNORED in left) or not out:
        ctx.unclear(f"{trial.tokens} tokens{ended} do not tell {what} from {', '.join(left)}")
    ctx.note(
        f"{what}: honoured, by {trial.tokens} tokens{ended}; ruled out at {FALSE_PASS:g}: {', '.join(out)}"
        + (f"; not told from: {', '.join(left)}" if left else "")
    )


@check("AUD1", time_limit_s=_LIMIT_S)
async def nothing_is_added_at_temperature_1(ctx: Context) -> None:
    await _judge(ctx, _NONE, _ADDED)


async def _judge_setting(ctx: Context, field: str, asked: float, *others: float) -> None:
    """Judge whether *field* is as *asked*, or ignored, or one of *others*."""

    def settings(value: float) -> Settings:
        return msgspec.structs.replace(_NONE, **{field: value})

    await _require_raw(ctx, **{field: asked})
    altered = {f"{field} {value:g}": settings(value) for value in others}
    await _judge(ctx, settings(asked), {_IGNORED: _NONE, "temperature 0": _GREEDY, **altered}, **{field: asked})


@check("AUD2", time_limit_s=_LIMIT_S)
async def a_low_temperature_is_what_it_says(ctx: Context) -> None:
    await _judge_setting(ctx, "temperature", 0.3, 0.6, 0.15)


@check("AUD3", time_limit_s=_LIMIT_S)
async def top_p_is_what_it_says(ctx: Context) -> None:
    await _judge_setting(ctx, "top_p", 0.5, 0.8, 0.25)


@check("AUD4", time_limit_s=_LIMIT_S)
async def top_k_is_what_it_says(ctx: Context) -> None:
    await _judge_setting(ctx, "top_k", 3, 2, 10)


@check("AUD5", time_limit_s=_LIMIT_S)
async def min_p_is_what_it_says(ctx: Context) -> None:
    await _judge_setting(ctx, "min_p", 0.3, 0.1, 0.6)


# ---- repetition_penalty: greedy answers ----


class _Greedy(msgspec.Struct, frozen=True, kw_only=True):
    """Greedy answers by the likeliest tokens: how many tokens, how often the likeliest came again, and each that was
    passed over, with what came and whether it had come before, in the prompt or the answer."""

    tokens: int
    again: int
    passed_over: list[tuple[str, str, bool]]


async def _greedy(ctx: Context, **fields: object) -> _Greedy:
    tokens, again, found = 0, 0, []
    for _ in range(_PROMPTS):
        body = _open(ctx, temperature=0, **fields)
        prompt, seen = str(body["messages"][0]["content"]), set[str]()
        for entry in (await _told(ctx, body))[0].logprobs:
            tokens += 1
            if entry.top:
                likeliest = max(entry.top, key=lambda other: other.logprob)
                if entry.logprob < likeliest.logprob - TIE_GAP:
                    was_seen = likeliest.token in seen or likeliest.token.strip() in prompt
                    found.append((likeliest.token, entry.token, was_seen))
                again += entry.token == likeliest.token and likeliest.token in seen
            seen.add(entry.token)
    return _Greedy(tokens=tokens, again=again, passed_over=found)


@check("AUD6", time_limit_s=_LIMIT_S)
async def repetition_is_penalised_as_asked(ctx: Context) -> None:
    plain = await _greedy(ctx)
    if plain.passed_over:
        likeliest, came, _ = plain.passed_over[0]
        repeated = sum(was_seen for *_, was_seen in plain.passed_over)
        ctx.fail(
            f"the likeliest token at temperature 0 (those within {TIE_GAP:g} of it count as ties)",
            f"a penalty is added: {len(plain.passed_over)} of {plain.tokens} tokens are others, {repeated} of them "
            f"where the likeliest had come before; first {came!r} in place of {likeliest!r}",
        )
    ctx.note(f"without repetition_penalty: nothing is added, by {plain.tokens} greedy tokens")
    asked = await _greedy(ctx, repetition_penalty=_PENALTY)
    found = asked.passed_over
    if not found and asked.again < _ENOUGH_AGAIN:
        ctx.unclear(f"of {asked.tokens} greedy tokens {asked.again} come again: there is nothing to penalise")
    if not found:
        ctx.fail(
            f"tokens passed over that had come before, with repetition_penalty {_PENALTY:g}",
            f"it is ignored: {asked.tokens} greedy tokens are the likeliest by raw log probabilities, and "
            f"{asked.again} of them had come before",
        )
    fresh = [likeliest for likeliest, _, was_seen in found if not was_seen]
    if len(fresh) > len(found) / 2:
        ctx.fail(
            f"no token passed over but those that had come before, with repetition_penalty {_PENALTY:g}",
            f"it is altered: {len(fresh)} of {len(found)} that were passed over had not, as {fresh[0]!r}",
        )
    ctx.note(
        f"repetition_penalty {_PENALTY:g}: honoured, {len(found)} of {asked.tokens} greedy tokens are not the likeliest"
    )


# ---- seeds ----


def _chance(entries: tuple[TokenEntry, ...]) -> float:
    """The logarithm of the chance that the same tokens come again by luck."""
    return sum(entry.logprob for entry in entries)


def _alike(one: Answer, other: Answer) -> tuple[TokenEntry, ...]:
    """What two answers begin with alike."""
    length = 0
    for a, b in zip(one.logprobs, other.logprobs, strict=False):
        if a.token != b.token:
            break
        length += 1
    return one.logprobs[:length]


@check("AUD7", exclusive=True, time_limit_s=_LIMIT_S)  # what others do to seeds is the question of ISO5
async def seeds_repeat_and_differ(ctx: Context) -> None:
    body = _open(ctx)
    pairs = []
    for _ in range(_SEEDS):
        seeded = {**body, "seed": ctx.random.randrange(1, 2**31)}
        pairs.append(((await _told(ctx, seeded))[0], (await _told(ctx, seeded))[0]))
    luck = math.log(FALSE_ALARM)
    for one, other in ((pairs[0][0], pairs[1][0]), (pairs[0][0], pairs[2][0])):
        if one.text == other.text and _chance(one.logprobs) < luck:
            ctx.fail(
                "another answer with another seed",
                f"it is altered: the same {len(one.logprobs)} tokens, which come again by luck with a chance of "
                f"e^{_chance(one.logprobs):.0f}",
            )
    begun = [_alike(*pair) for pair in pairs]
    whole = [one.text == other.text for one, other in pairs]
    if not any(all_alike or _chance(begin) < luck for all_alike, begin in zip(whole, begun, strict=True)):
        ctx.fail(
            "the same answer with the same seed",
            f"it is ignored: answers part after {', '.join(str(len(begin)) for begin in begun)} tokens",
        )
    if all(_chance(begin) >= luck for begin in begun):
        ctx.unclear("the answers are so likely that they would be the same without a seed")
    same = f"{sum(whole)} of {_SEEDS} answers come again whole"
    more = "" if all(whole) else f", the others part after {', '.join(str(len(begin)) for begin in begun)} tokens"
    ctx.note(f"seed: honoured, {same}{more}; by luck with a chance of e^{max(map(_chance, begun)):.0f} at most")

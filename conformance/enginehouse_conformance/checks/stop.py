"""STOP: stop strings. What a target says without one tells what it must say with it."""

from __future__ import annotations

from enginehouse_conformance.answer import Answer, Refusal
from enginehouse_conformance.context import Context
from enginehouse_conformance.primitives import (
    Baseline,
    baseline,
    forced_token,
    greedy,
    only,
    require_same_greedy,
    saying,
)
from enginehouse_conformance.registry import check
from enginehouse_conformance.targets import Body

_EMOJI = "🦊"
_NEWLINE_IDS = (10, 13, 107, 108, 187, 198, 199, 201, 203, 1010)
_WITH_LINES = (
    "List ten animals, one on each line.",
    "Write a poem of short lines about the sea.",
    "Write a letter to a friend, with a greeting in a line of its own.",
    "Count to ten, each number on a new line.",
    "Give three steps for making tea as a numbered list.",
)


def _piece(ctx: Context, text: str, share: float, length: int) -> str:
    """About *length* characters of *text* from *share* of the way on, that can be sought as they are."""
    starts = range(max(1, int(len(text) * share)), len(text) - length + 1)
    pieces = (text[start : start + length] for start in starts)
    found = next((piece for piece in pieces if "\ufffd" not in piece and piece.strip() == piece), None)
    if found is None:
        ctx.unclear(f"the greedy answer is too short, or too odd, to stop within: {text!r}")
    return found


async def _require_cut(ctx: Context, base: Baseline, answer: Answer, *stops: str) -> None:
    """Require that *answer* is the baseline up to the first of *stops*, and ends with the reason `stop`."""
    cut = base.text[: min(base.text.index(stop) for stop in stops)]
    # No tie explains an answer that is the baseline with the stop strings taken out of it.
    if answer.text == _without(base.text, stops):
        ctx.equal(answer.text, cut, f"with the stop strings {stops}, content")
    if not base.text.startswith(answer.text):
        await require_same_greedy(ctx, base, answer.text, f"up to {stops}, the answer")
    ctx.equal(answer.text, cut, f"with the stop strings {stops}, content")
    ctx.equal(answer.finish, "stop", "finish_reason")


def _without(text: str, stops: tuple[str, ...]) -> str:
    for stop in stops:
        text = text.replace(stop, "")
    return text


@check("STOP1")
async def the_answer_ends_at_the_stop_string(ctx: Context) -> None:
    base = await baseline(ctx)
    stop = _piece(ctx, base.text, 0.4, 5)
    for given in (stop, [stop]):
        await _require_cut(ctx, base, await ctx.ask({**base.body, "stop": given}), stop)


@check("STOP2")
async def the_earliest_of_four_ends_it(ctx: Context) -> None:
    base = await baseline(ctx)
    later, earlier = _piece(ctx, base.text, 0.7, 4), _piece(ctx, base.text, 0.3, 4)
    body = {**base.body, "stop": [ctx.nonce(), later, earlier, ctx.nonce()]}
    await _require_cut(ctx, base, await ctx.ask(body), later, earlier)
    if ctx.has("streaming") and ctx.speaks("stream"):
        await _require_cut(ctx, base, await ctx.stream(body), later, earlier)


@check("STOP3")
async def a_stop_string_may_span_tokens(ctx: Context) -> None:
    base = await baseline(ctx)
    stop = _piece(ctx, base.text, 0.35, max(8, len(base.text) // 3))
    await _require_cut(ctx, base, await ctx.ask({**base.body, "stop": stop}), stop)


async def _starts_of_tokens(ctx: Context, base: Baseline) -> set[int]:
    """Where tokens begin in the baseline's text; without logprobs, wherever a word may begin."""
    if ctx.has("logprobs") and ctx.speaks("logprobs"):
        answer = await ctx.ask({**base.body, "logprobs": True})
        if answer.text == base.text and answer.first.logprobs:
            starts, at = set(), 0
            for entry in answer.first.logprobs:
                starts.add(at)
                at += len(entry.token)
            return starts
    return {at for at, char in enumerate(base.text) if not (char.isalpha() and base.text[at - 1 : at].isalpha())}


@check("STOP4")
async def a_stop_string_may_lie_inside_a_token(ctx: Context) -> None:
    base = await baseline(ctx)
    starts = await _starts_of_tokens(ctx, base)
    inside = [
        char
        for char in dict.fromkeys(base.text)
        if char.isalnum() and not starts & {base.text.index(char), base.text.index(char) + 1}
    ]
    if len(starts) >= len(base.text):
        ctx.not_in_scope("each token of the answer is one character, and nothing lies inside one")
    if not inside:
        ctx.unclear(f"no character is first found inside a token: {base.text!r}")
    for stop in inside[:2]:
        await _require_cut(ctx, base, await ctx.ask({**base.body, "stop": stop}), stop)


@check("STOP5")
async def no_part_of_a_stop_string_is_streamed(ctx: Context) -> None:
    base = await baseline(ctx)
    for length in (5, max(8, len(base.text) // 3)):
        stop = _piece(ctx, base.text, 0.45, length)
        await _require_cut(ctx, base, await ctx.stream({**base.body, "stop": stop}), stop)


@check("STOP6")
async def what_only_looked_like_a_stop_string_is_streamed(ctx: Context) -> None:
    base = await baseline(ctx)
    # The longest is all but the whole answer: who compares less of a stop string takes it for one that came.
    beginnings = [_piece(ctx, base.text, 0.4, 6), base.text.rstrip("\ufffd")[-6:], base.text[1:].partition("\ufffd")[0]]
    answer = await ctx.stream({**base.body, "stop": [beginning + ctx.nonce() for beginning in beginnings]})
    await require_same_greedy(ctx, base, answer.text, "the stream with stop strings of which only the beginning comes")
    ctx.equal(answer.finish, base.answer.finish, "finish_reason")


@check("STOP7")
async def five_stop_strings_are_refused(ctx: Context) -> None:
    await ctx.refused(ctx.body(stop=[ctx.nonce() for _ in range(5)]), "stop")


@check("STOP8")
async def empty_stops_are_refused_or_do_nothing(ctx: Context) -> None:
    base = await baseline(ctx)
    for stop in ("", [], [""]):
        answer = await ctx.attempt({**base.body, "stop": stop})
        if isinstance(answer, Refusal):
            ctx.equal(answer.status, 400, f"status for stop {stop!r}")
        else:
            await require_same_greedy(ctx, base, answer.text, f"the answer with stop {stop!r}")


@check("STOP9")
async def what_is_no_string_is_refused(ctx: Context) -> None:
    for stop in (7, [7], [ctx.nonce(), 7], {"a": "b"}, [[ctx.nonce()]], [None], True):
        await ctx.refused(ctx.body(stop=stop), "stop")


@check("STOP10")
async def a_newline_may_be_a_stop_string(ctx: Context) -> None:
    for prompt in _WITH_LINES:
        body = greedy(ctx, prompt, max_tokens=48)
        base = Baseline(body=body, answer=await ctx.ask(body))
        if "\n" in base.text[1:]:
            await _require_cut(ctx, base, await ctx.ask({**body, "stop": "\n"}), "\n")
            return
    token = await _newline(ctx)
    if token is None:
        ctx.unclear(
            f"no answer to {len(_WITH_LINES)} prompts has a newline, and no token is known that prints one alone"
        )
    answer = await ctx.ask(ctx.body(logit_bias={token: 100}, temperature=0, stop="\n"))
    ctx.equal(answer.text, "", "where a newline is forced and is the stop string, content")
    ctx.equal(answer.finish, "stop", "finish_reason")


async def _newline(ctx: Context) -> str | None:
    """The id of a newline, by the target's tokenizer or in one of the usual vocabularies, as a key of logit_bias."""
    if not (ctx.has("logit_bias") and ctx.speaks("logit_bias")):
        return None
    known = await ctx.hooks.tokenize("\n") if "tokenize" in ctx.hooks.names else ()
    size = ctx.declared.vocabulary_size
    for token in (*known, *(each for each in _NEWLINE_IDS if size is None or each < size)):
        body = ctx.body(logit_bias={str(token): 100}, temperature=0, max_tokens=2)
        answer = await ctx.attempt(body)
        if isinstance(answer, Answer) and answer.text == "\n\n":
            return str(token)
    return None


@check("STOP11")
async def an_emoji_may_be_a_stop_string(ctx: Context) -> None:
    value = f"{ctx.nonce()}{_EMOJI}{ctx.nonce()}"
    body = ctx.body(response_format=saying(value), temperature=0, max_tokens=64)
    whole = (await ctx.ask(body)).text
    if _EMOJI not in whole:
        ctx.unclear(f"the target writes the emoji in another way: {whole!r}")
    answer = await ctx.ask({**body, "stop": _EMOJI})
    ctx.equal(answer.text, whole[: whole.index(_EMOJI)], "content before the emoji")
    ctx.equal(answer.finish, "stop", "finish_reason")


@check("STOP12")
async def a_stop_string_that_never_comes_changes_nothing(ctx: Context) -> None:
    base = await baseline(ctx)
    answer = await ctx.ask({**base.body, "stop": [ctx.nonce()]})
    await require_same_greedy(ctx, base, answer.text, "the answer with a stop string that never comes")
    ctx.equal(answer.finish, base.answer.finish, "finish_reason")


@check("STOP13")
async def the_prompt_does_not_stop_the_answer(ctx: Context) -> None:
    word = f"{ctx.nonce(4)}-{ctx.random.randrange(1000, 9999)}"
    base = await baseline(ctx, f"Reference: {word}. Tell a story of the sea.", max_tokens=16)
    if word in base.text:
        ctx.unclear(f"the model repeats {word} from the prompt")
    answer = await ctx.ask({**base.body, "stop": [word]})
    await require_same_greedy(ctx, base, answer.text, "the answer with a stop string from the prompt")


@check("STOP15")
async def a_stop_string_is_found_in_the_last_token(ctx: Context) -> None:
    token = await forced_token(ctx)
    body = ctx.body(logit_bias=only(token), max_tokens=3)
    whole = await ctx.ask(body)
    stop = whole.text.strip()
    if whole.finish != "length" or not stop:
        ctx.unclear(f"three forced tokens cannot be had: {whole.text!r}, {whole.finish}")
    for answer in (await ctx.ask({**body, "stop": [stop]}), await _streamed(ctx, {**body, "stop": [stop]})):
        if answer is not None:
            ctx.equal(answer.text.strip(), "", f"where {stop!r} is forced and the stop string, content")
            ctx.equal(
                answer.finish, "stop", "finish_reason where the stop string ends with the last token of max_tokens"
            )


async def _streamed(ctx: Context, body: Body) -> Answer | None:
    return await ctx.stream(body) if ctx.has("streaming") and ctx.speaks("stream") else None

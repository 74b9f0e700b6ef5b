"""END: where an answer begins and ends other than by the model's own will."""

from __future__ import annotations

from enginehouse_conformance.context import Context
from enginehouse_conformance.primitives import baseline
from enginehouse_conformance.registry import check
from enginehouse_conformance.targets import Body

_TOKENS = 8
_QUESTION = "Name a colour."


async def _ending(ctx: Context, **fields: object) -> Body:
    """A request whose answer is empty, as a bias forces its end; *fields* say otherwise."""
    bias = {str(token): 100 for token in await ctx.hooks.eos_ids()}
    return ctx.body(temperature=0, max_tokens=_TOKENS, logit_bias=bias, **fields)


@check("END1")
async def an_answer_goes_on_to_its_limit(ctx: Context) -> None:
    answer = await ctx.ask(await _ending(ctx, ignore_eos=True))
    ctx.equal(answer.completion_tokens, _TOKENS, "completion_tokens")
    ctx.equal(answer.finish, "length", "finish_reason")


@check("END2")
async def a_stream_goes_on_to_its_limit(ctx: Context) -> None:
    answer = await ctx.stream(await _ending(ctx, ignore_eos=True))
    ctx.equal(answer.finish, "length", "finish_reason of a stream")


async def _require_no_change(ctx: Context, **fields: object) -> None:
    answer = await ctx.ask(await _ending(ctx, **fields))
    ctx.equal(answer.text, "", f"content where the end is forced, with {fields}")
    ctx.equal(answer.finish, "stop", f"finish_reason with {fields}")


@check("END3")
async def false_changes_nothing(ctx: Context) -> None:
    await _require_no_change(ctx, ignore_eos=False)


@check("END4")
async def an_answer_has_at_least_so_many_tokens(ctx: Context) -> None:
    for least in (2, _TOKENS - 2):
        answer = await ctx.ask(await _ending(ctx, min_tokens=least))
        ctx.require(
            least <= answer.completion_tokens <= least + 1,  # the end itself may count
            f"{least} completion_tokens, or one more, with min_tokens {least}",
            answer.completion_tokens,
        )
        ctx.equal(answer.finish, "stop", f"finish_reason with min_tokens {least}")


@check("END5")
async def at_least_none_changes_nothing(ctx: Context) -> None:
    await _require_no_change(ctx, min_tokens=0)


@check("END6")
async def what_cannot_be_a_least_is_refused(ctx: Context) -> None:
    for least in (_TOKENS + 1, -1, "5"):
        await ctx.refused(ctx.body(max_tokens=_TOKENS, min_tokens=least), "min_tokens")


def _conversation(ctx: Context, begun: str | None = None, **fields: object) -> Body:
    """A conversation, and what the assistant has begun to say."""
    messages = [{"role": "user", "content": _QUESTION}]
    if begun is not None:
        messages.append({"role": "assistant", "content": begun})
    return {**ctx.body(**fields), "messages": messages}


_CONTINUES: Body = {"continue_final_message": True, "add_generation_prompt": False}


@check("END7")
async def the_turn_is_open(ctx: Context) -> None:
    begun = f"The colour is {ctx.nonce()}"
    bodies = [
        _conversation(ctx, max_tokens=1),
        _conversation(ctx, begun, max_tokens=1, **_CONTINUES),
        _conversation(ctx, begun, max_tokens=1),
    ]
    without, continued, closed = [(await ctx.ask(body)).prompt_tokens for body in bodies]
    if continued == closed and await _is_open_anyway(ctx):
        ctx.note("the assistant's last message is continued whether a request says so or not")
        return
    ctx.require(
        without < continued < closed,
        f"more prompt_tokens than without the message ({without}), and fewer than with a new turn ({closed})",
        continued,
    )


async def _is_open_anyway(ctx: Context) -> bool:
    """Whether words that the target has said add their own tokens alone, as nothing stands around an open turn."""
    body = ctx.body(temperature=0)
    said = await ctx.ask(body)
    messages = [*body["messages"], {"role": "assistant", "content": said.text}]
    again = await ctx.ask({**body, **_CONTINUES, "messages": messages, "max_tokens": 1})
    return again.prompt_tokens - said.prompt_tokens == said.completion_tokens


@check("END8")
async def what_is_continued_is_not_said_again(ctx: Context) -> None:
    begun = f"{ctx.nonce()} {ctx.nonce()}"
    text = (await ctx.ask(_conversation(ctx, begun, temperature=0, **_CONTINUES))).text
    ctx.require(not text.lstrip().startswith(begun), f"the words behind {begun!r} alone", text)
    base = await baseline(ctx)
    tokens = base.body["max_tokens"] // 2
    half = await ctx.ask({**base.body, "max_tokens": tokens})
    if not half.text or not base.text.startswith(half.text) or half.text == base.text:
        ctx.note("the greedy answer has no halves")
        return
    messages = [*base.body["messages"], {"role": "assistant", "content": half.text}]
    answer = await ctx.ask({**base.body, **_CONTINUES, "messages": messages, "max_tokens": tokens})
    if answer.prompt_tokens - half.prompt_tokens != half.completion_tokens:
        ctx.note("the text of half the greedy answer is read as other tokens than those that were said")
        return
    rest = base.text[len(half.text) :]
    shown = min(len(rest), len(answer.text))
    ctx.equal(answer.text[:shown], rest[:shown], f"the answer behind {half.text!r}, continued")


@check("END9")
async def the_users_words_are_not_continued(ctx: Context) -> None:
    await ctx.refused(_conversation(ctx, **_CONTINUES), "continue_final_message", "messages", "add_generation_prompt")


@check("END10")
async def a_turn_cannot_be_new_and_continued(ctx: Context) -> None:
    body = _conversation(ctx, "The colour is", continue_final_message=True, add_generation_prompt=True)
    await ctx.refused(body, "continue_final_message", "add_generation_prompt")

"""MSG: messages."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from enginehouse_conformance.answer import Refusal
from enginehouse_conformance.context import Context
from enginehouse_conformance.primitives import baseline, nonce_tool, require_same_greedy
from enginehouse_conformance.registry import check

Messages = list[dict[str, Any]]

_SENTENCE = "The lighthouse keeper counts the ships that pass at night. "
_MARKS = ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end|>", "<|turn|>", "<|eos|>",
          "<end_of_turn>", "</s>", "[/INST]")  # fmt: skip
_MARK_REPEATS = 6


def _user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def _assistant(content: str | list[dict[str, str]] | None, **fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **fields}


async def _prompt_tokens(ctx: Context, messages: Messages) -> int:
    return (await ctx.ask(ctx.body(messages=messages, max_tokens=1))).prompt_tokens


async def _require_growth(ctx: Context, what: str, *grown: Messages) -> None:
    """Each of the conversations *grown* has more prompt tokens than the one before it."""
    counts = [await _prompt_tokens(ctx, messages) for messages in grown]
    grows = all(less < more for less, more in pairwise(counts))
    ctx.require(grows, f"more prompt_tokens with each longer {what}", counts)


@check("MSG1")
async def the_system_message_is_read(ctx: Context) -> None:
    question = _user(ctx.topic())
    systems = [{"role": "system", "content": _SENTENCE * repeats} for repeats in (1, 3)]
    await _require_growth(ctx, "system message", *([system, question] for system in systems))


@check("MSG2")
async def the_developer_speaks_as_the_system(ctx: Context) -> None:
    question = _user("What do you do all day?")
    base = await baseline(ctx, messages=[{"role": "system", "content": _SENTENCE}, question], max_tokens=16)
    developers = [{"role": "developer", "content": _SENTENCE * repeats} for repeats in (1, 3)]
    answer = await ctx.ask({**base.body, "messages": [developers[0], question]})
    await require_same_greedy(ctx, base, answer.text, "the answer to the developer's instructions")
    await _require_growth(ctx, "developer message", *([developer, question] for developer in developers))


@check("MSG3")
async def text_parts_are_read(ctx: Context) -> None:
    parts = [{"type": "text", "text": text} for text in (ctx.topic(), _SENTENCE, _SENTENCE * 2)]
    await _require_growth(ctx, "array of text parts", *([_user(parts[:count])] for count in (1, 2, 3)))


@check("MSG4")
async def one_text_part_is_the_string(ctx: Context) -> None:
    base = await baseline(ctx)
    text = base.body["messages"][0]["content"]
    answer = await ctx.ask({**base.body, "messages": [_user([{"type": "text", "text": text}])]})
    ctx.equal(answer.prompt_tokens, base.answer.prompt_tokens, "prompt_tokens of the same text as one part")
    await require_same_greedy(ctx, base, answer.text, "the answer to the same text as one part")


@check("MSG5")
async def earlier_turns_are_read(ctx: Context) -> None:
    turns = [_user(ctx.topic()), _assistant(_SENTENCE), _user("And then?"), _assistant(_SENTENCE), _user("And then?")]
    await _require_growth(ctx, "history", turns[:1], turns[:3], turns)


def _after_a_call(ctx: Context, *, replies_to: str) -> dict[str, Any]:
    """A request whose history holds a call with the id "call_1" and a tool's reply to the call *replies_to*."""
    name, value, tool = nonce_tool(ctx)
    call = {"id": "call_1", "type": "function", "function": {"name": name, "arguments": f'{{"v":"{value}"}}'}}
    messages = [
        _user("Use the tool."),
        _assistant(None, tool_calls=[call]),
        {"role": "tool", "tool_call_id": replies_to, "content": "It rained."},
    ]
    return ctx.body(messages=messages, tools=[tool])


@check("MSG6")
async def a_call_and_its_reply_are_accepted(ctx: Context) -> None:
    await ctx.ask(_after_a_call(ctx, replies_to="call_1"))


@check("MSG7")
async def a_reply_to_no_call_is_refused(ctx: Context) -> None:
    await ctx.refused(_after_a_call(ctx, replies_to="call_2"), "tool_call_id", "messages")


@check("MSG8")
async def names_are_accepted(ctx: Context) -> None:
    messages = [
        {"role": "system", "content": "Answer in one word.", "name": "house"},
        {**_user("Hello."), "name": "ada"},
        _assistant("Hello.", name="helper"),
        {**_user("And you?"), "name": "bob_2"},
    ]
    await ctx.ask(ctx.body(messages=messages, max_tokens=4))


@check("MSG9")
async def messages_are_needed(ctx: Context) -> None:
    body = ctx.body()
    await ctx.refused({**body, "messages": []}, "messages")
    del body["messages"]
    await ctx.refused(body, "messages")


@check("MSG10")
async def unknown_roles_are_refused(ctx: Context) -> None:
    for role in (ctx.nonce(), "", "SYSTEM", 1):
        await ctx.refused(ctx.body(messages=[{"role": role, "content": "Hello."}]), "role", "messages")
    await ctx.refused(ctx.body(messages=[{"content": "Hello."}]), "role", "messages")


@check("MSG11")
async def numbers_are_no_content(ctx: Context) -> None:
    for content in (7, 0.5):
        await ctx.refused(ctx.body(messages=[_user(content)]), "content", "messages")


@check("MSG12")
async def earlier_reasoning_is_accepted(ctx: Context) -> None:
    turns = [_user("Hello."), _assistant("Hello.", reasoning_content="A greeting: greet."), _user("And you?")]
    await ctx.ask(ctx.body(messages=turns, max_tokens=4))


@check("MSG13")
async def an_earlier_refusal_is_accepted(ctx: Context) -> None:
    turns = [_user("Hello."), _assistant(None, refusal="I cannot help with that."), _user("With what, then?")]
    await ctx.ask(ctx.body(messages=turns, max_tokens=4))


@check("MSG14")
async def marks_in_a_text_are_text(ctx: Context) -> None:
    # As text a mark has several characters that no vocabulary merges; as control it is a single token.
    plain = await _prompt_tokens(ctx, [_user("One and two. " * _MARK_REPEATS)])

    async def tokens_of(mark: str) -> float:
        marked = await _prompt_tokens(ctx, [_user(f"One{mark} and two. " * _MARK_REPEATS)])
        return (marked - plain) / _MARK_REPEATS

    unreadable = []
    for mark in _MARKS:
        each = await tokens_of(mark)
        if each >= 2:
            continue
        # Broken by a blank it is no control. If it is hardly more even so, the vocabulary has no such characters.
        broken = await tokens_of(f"{mark[0]} {mark[1:]}")
        what = f"{mark} in a user's text to be read as text, several tokens"
        ctx.require(broken - each <= 1, what, f"{each:g} tokens each")
        unreadable.append(mark)
    if unreadable:
        marks = ", ".join(unreadable)
        ctx.unclear(f"the vocabulary has too few of the characters of {marks} to tell text from control")


@check("MSG15")
async def any_text_is_answered_or_refused(ctx: Context) -> None:
    for text in ("👩‍👩‍👧‍👦🏳️‍🌈 é日本", "\u202eשבת\u202c שמש", "before\x00after", "\x01\x1b[0m\ufeff\uffff"):
        answer = await ctx.attempt(ctx.body(text, max_tokens=2))
        if isinstance(answer, Refusal):
            ctx.equal(answer.status, 400, f"status of the refusal of {text!r}")


@check("MSG16")
async def text_parts_are_read_in_every_role(ctx: Context) -> None:
    parts = [{"type": "text", "text": text} for text in (_SENTENCE, _SENTENCE * 2)]
    question = _user(ctx.topic())

    def turns(role: str, count: int) -> Messages:
        if role == "assistant":
            return [question, _assistant(parts[:count]), _user("And then?")]
        if role == "tool":
            call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
            reply = {"role": "tool", "tool_call_id": "call_1", "content": parts[:count]}
            return [question, _assistant(None, tool_calls=[call]), reply]
        return [{"role": role, "content": parts[:count]}, question]

    roles = ["system", "assistant"]
    roles += ["developer"] if ctx.has("developer_role") and ctx.speaks("role.developer") else []
    roles += ["tool"] if ctx.has("tools") and ctx.speaks("role.tool") else []
    for role in roles:
        await _require_growth(ctx, f"array of text parts of the role {role}", turns(role, 1), turns(role, 2))


@check("MSG17")
async def broken_calls_of_the_history_are_no_failure(ctx: Context) -> None:
    name, _, given = nonce_tool(ctx)
    for arguments in ('{"v": "cut', "", "no JSON", "[1]"):
        call = {"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}}
        reply = {"role": "tool", "tool_call_id": "call_1", "content": "The arguments were not understood."}
        turns = [_user("Use the tool."), _assistant(None, tool_calls=[call]), reply]
        answer = await ctx.attempt(ctx.body(messages=turns, tools=[given], max_tokens=4))
        if isinstance(answer, Refusal):
            ctx.equal(answer.status, 400, f"status of the refusal of the arguments {arguments!r}")

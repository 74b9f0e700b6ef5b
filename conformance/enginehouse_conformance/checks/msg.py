"""MSG: messages."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec

from enginehouse_conformance.answer import Refusal
from enginehouse_conformance.context import Context
from enginehouse_conformance.primitives import are_apart, baseline, nonce_tool, require_same_greedy
from enginehouse_conformance.registry import check
from enginehouse_conformance.targets import NoRoom, Refused

Messages = list[dict[str, Any]]

_SENTENCE = "The lighthouse keeper counts the ships that pass at night. "
_MARKS = ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end|>", "<|turn|>", "<|eos|>",
          "<end_of_turn>", "</s>", "[/INST]")  # fmt: skip
_MARK_REPEATS = 6
_WRITINGS = ("éüß", "日本", "шум", "🦊🎉")


def _user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def _assistant(content: str | list[dict[str, str]] | None, **fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **fields}


def _parts(count: int) -> list[dict[str, str]]:
    """So many text parts. All are alike, so that the prompt grows with each only where every one of them is read."""
    return [{"type": "text", "text": _SENTENCE}] * count


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
    answer = await ctx.ask({**base.body, "messages": [{"role": "developer", "content": _SENTENCE}, question]})
    await require_same_greedy(ctx, base, answer.text, "the answer to the developer's instructions")


@check("MSG3")
async def text_parts_are_read(ctx: Context) -> None:
    await _require_growth(ctx, "array of text parts", *([_user(_parts(count))] for count in (1, 2, 3)))


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
    if ctx.has("tools") and ctx.speaks("tools", "role.tool"):
        body = _after_a_call(ctx, replies_to="call_1")
        asked, call, *others = body["messages"]
        named = [{**asked, "name": "ada"}, {**call, "name": "helper"}, *others]
        await ctx.ask({**body, "messages": named, "max_tokens": 4})


@check("MSG9")
async def messages_are_needed(ctx: Context) -> None:
    body = ctx.body()
    await ctx.refused({**body, "messages": []}, "messages")
    del body["messages"]
    await ctx.refused(body, "messages")


@check("MSG48")
async def messages_are_an_array_of_objects(ctx: Context) -> None:
    right = _user("Hello.")
    wrong: list[Any] = ["hi", {}, right, 5, True, ["hi"], [5], [None], [[]], [right, "hi"], [right, None]]
    for messages in wrong:
        await ctx.refused(ctx.body(messages=messages), "messages")


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
    plain = await _prompt_tokens(ctx, [_user("One  and two. " * _MARK_REPEATS)])  # as where they are dropped

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
    question = _user(ctx.topic())

    def turns(role: str, count: int) -> Messages:
        if role == "assistant":
            return [question, _assistant(_parts(count)), _user("And then?")]
        if role == "tool":
            call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
            reply = {"role": "tool", "tool_call_id": "call_1", "content": _parts(count)}
            return [question, _assistant(None, tool_calls=[call]), reply]
        return [{"role": role, "content": _parts(count)}, question]

    roles = ["system", "assistant"]
    roles += ["developer"] if ctx.has("developer_role") and ctx.speaks("role.developer") else []
    roles += ["tool"] if ctx.has("tools") and ctx.speaks("role.tool") else []
    for role in roles:
        grown = [turns(role, count) for count in (1, 2, 3)]
        await _require_growth(ctx, f"array of text parts of the role {role}", *grown)


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


@check("MSG18")
async def later_instructions_are_read(ctx: Context) -> None:
    has_developer = ctx.has("developer_role") and ctx.speaks("role.developer")
    for role in ("system", "developer") if has_developer else ("system",):
        counts: list[int] = []
        for repeats in (1, 3):
            late = {"role": role, "content": _SENTENCE * repeats}
            messages = [_user("Hello."), _assistant("Hello."), late, _user(ctx.topic())]
            outcome = await ctx.attempt(ctx.body(messages=messages, max_tokens=1))
            if isinstance(outcome, Refusal):
                ctx.require(outcome.status in (400, None), f"a late {role} message, or 400", str(outcome))
                ctx.note(f"a {role} message after the first position is refused")
                break
            counts.append(outcome.prompt_tokens)
        else:
            ctx.require(counts[0] < counts[1], f"more prompt_tokens with a longer late {role} message", counts)


_GUESSED_VARIABLES = {"enable_thinking": (True, False)}


@check("MSG19")
async def variables_reach_the_template(ctx: Context) -> None:
    known = ctx.declared.template_variables
    for name, values in (known or _GUESSED_VARIABLES).items():
        body = ctx.body()
        one, two = [{**body, "chat_template_kwargs": {name: value}} for value in values]
        try:
            is_apart = await are_apart(ctx, one, two)
        except Refused:
            if known:
                raise
            is_apart = False
        if not is_apart and not known:
            ctx.unclear("no variable is known that the template reads: declare one, with two values, under "
                        "`[template_variables]`")  # fmt: skip
        ctx.require(is_apart, f"another prompt with {name} {values[0]!r} than with {values[1]!r}", "the same prompt")


@check("MSG23")
async def the_developer_message_is_read(ctx: Context) -> None:
    question = _user(ctx.topic())
    developers = [{"role": "developer", "content": _SENTENCE * repeats} for repeats in (1, 3)]
    await _require_growth(ctx, "developer message", *([developer, question] for developer in developers))


@check("MSG24")
async def every_character_is_read(ctx: Context) -> None:
    plain = await _prompt_tokens(ctx, [_user("One  and two. " * _MARK_REPEATS)])  # as where they are dropped
    unread = []
    for characters in _WRITINGS:
        marked = await _prompt_tokens(ctx, [_user(f"One {characters} and two. " * _MARK_REPEATS)])
        unread += [] if marked > plain else [characters]
    if len(unread) == len(_WRITINGS):
        ctx.unclear("the vocabulary has too few of the characters of other writings: none of them adds to the prompt")
    ctx.require(not unread, "more prompt_tokens with characters of every writing", f"no more with {unread}")


@check("MSG25")
async def each_of_several_system_messages_is_read(ctx: Context) -> None:
    systems = [{"role": "system", "content": _SENTENCE}] * 3
    counts: list[int] = []
    for count in (1, 2, 3):
        try:
            counts.append(await _prompt_tokens(ctx, [*systems[:count], _user("Hello.")]))
        except NoRoom:
            raise
        except Refused as exc:
            if count == 1 or exc.refusal.status not in (400, None):
                raise
            ctx.note("several system messages are refused")
            return
    ctx.require(counts[0] < counts[1] < counts[2], "more prompt_tokens with each system message", counts)


@check("MSG26")
async def what_is_said_beside_a_call_is_read(ctx: Context) -> None:
    body = _after_a_call(ctx, replies_to="call_1")
    grown: list[Messages] = []
    for content in (None, _SENTENCE, _SENTENCE * 2):
        asked, call, *others = body["messages"]
        grown.append([asked, {**call, "content": content}, *others])
    counts = [(await ctx.ask({**body, "messages": messages, "max_tokens": 1})).prompt_tokens for messages in grown]
    ctx.require(counts[0] < counts[1] < counts[2], "more prompt_tokens with more text beside a call", counts)


@check("MSG27")
async def messages_of_one_role_in_a_row_are_read(ctx: Context) -> None:
    for role in ("user", "assistant"):
        turns = [{"role": role, "content": _SENTENCE}] * 3
        begin, end = ([], []) if role == "user" else ([_user("Hello.")], [_user("And then?")])
        counts: list[int] = []
        for count in (1, 2, 3):
            try:
                counts.append(await _prompt_tokens(ctx, [*begin, *turns[:count], *end]))
            except NoRoom:
                raise
            except Refused as exc:
                if count == 1 or exc.refusal.status not in (400, None):
                    raise
                ctx.note(f"several {role} messages in a row are refused")
                break
        else:
            ctx.require(counts[0] < counts[1] < counts[2], f"more prompt_tokens with each {role} message", counts)


@check("MSG28")
async def each_result_of_several_calls_is_read(ctx: Context) -> None:
    ids = ("call_a", "call_b")
    calls = [{"id": one, "type": "function", "function": {"name": "look", "arguments": "{}"}} for one in ids]

    def turns(*repeats: int) -> Messages:
        results = [
            {"role": "tool", "tool_call_id": one, "content": _SENTENCE * count}
            for one, count in zip(ids, repeats, strict=True)
        ]
        return [_user("Look at the sea, and at the ships."), _assistant(None, tool_calls=calls), *results]

    await _require_growth(ctx, "result of a tool", turns(1, 1), turns(2, 1), turns(2, 2))


@check("MSG29")
async def a_call_of_the_history_is_read(ctx: Context) -> None:
    def turns(repeats: int) -> Messages:
        arguments = msgspec.json.encode({"v": _SENTENCE * repeats + '"C:\\notes"\n'}).decode()
        call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": arguments}}
        reply = {"role": "tool", "tool_call_id": "call_1", "content": "It is calm."}
        return [_user("Look at the sea."), _assistant(None, tool_calls=[call]), reply]

    await _require_growth(ctx, "argument of an earlier call", turns(1), turns(3))


@check("MSG30")
async def empty_content_is_answered_or_refused(ctx: Context) -> None:
    for content in ("", " ", "\n\n", [], [{"type": "text", "text": ""}]):
        answer = await ctx.attempt(ctx.body(messages=[_user(content)], max_tokens=2))
        if isinstance(answer, Refusal):
            ctx.equal(answer.status, 400, f"status of the refusal of the content {content!r}")


@check("MSG31")
async def later_instructions_are_accepted(ctx: Context) -> None:
    late = {"role": "system", "content": "Be brief."}
    await ctx.ask(ctx.body(messages=[_user("Hello."), _assistant("Hello."), late, _user("And you?")], max_tokens=1))

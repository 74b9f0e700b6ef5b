"""MSG: messages that are long, whose characters matter one by one, or that stand beside other fields."""

from __future__ import annotations

from typing import Any

from enginehouse_conformance.answer import Refusal
from enginehouse_conformance.context import Context
from enginehouse_conformance.primitives import are_apart, ask_with_room, nonce_tool, saying, tool
from enginehouse_conformance.registry import check
from enginehouse_conformance.targets import Body

_SENTENCE = "The lighthouse keeper counts the ships that pass at night. "
_OTHER = "The sea is calm, and no ship is seen."
_FEW, _SOME, _MANY = 1, 4, 24
_NEARLY = 0.9  # a sentence may be one token less where it follows another
_REPEATS = 6
_TURNS = 50
_LOOK_ALIKE = (
    ("fi", "\ufb01"), ("A", "\uff21"), ("2", "\u00b2"), (" ", "\u00a0"), ('"', "\u201c"), ("-", "\u2013"),
    ("&", "&amp;"), ("\n", "\\n"), ("\U0001f469\U0001f469", "\U0001f469\u200d\U0001f469"),
)  # fmt: skip
_ESCAPED = 0.7  # of the tokens that an escape has, a character has fewer
_COMPOSED = (("\u00e9", "e\u0301"), ("\ud55c", "\u1112\u1161\u11ab"))
_UNLIKE = (
    ("\u00e9", "\u00f1"), ("\u0436", "\u044f"), ("\u65e5", "\u6c34"), ("\U0001f600", "\U0001f388"),
    ("\U00020021", "\U00020043"),
)  # fmt: skip
_ESCAPABLE = ("<", "&", '"', "'", "\\", "%", "*", "\n", "\u00e9", "\U0001f600")
_RUN = 48
_AT_THE_EDGES = 4  # tokens that the text beside a run may have more because of it
_CODE = (
    "<script>alert(document.cookie)</script>", "' OR 1=1; DROP TABLE users; --", "1 UNION SELECT password FROM users",
    "../../../../etc/passwd", "$(cat /etc/shadow)", "${jndi:ldap://localhost/a}", "{{ 7 * 7 }}{% raw %}",
    '<!ENTITY x SYSTEM "file:///etc/passwd">',
)  # fmt: skip
_NO_SUCH_PLACE = "what the rule needs cannot be tried: the model's first token does not depend on such a place at all"
_JOINTS = ("\n\n", "\n", " ", "")
_BLANKS = (("\n", "\r\n"), (" ", "\t"), (" ", "  "), ("\n", "\n\n"))


def _user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def _with_long(ctx: Context, role: str, sentences: int) -> Body:
    """A talk in which the message of *role* has so many sentences."""
    text = _SENTENCE * sentences
    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    talks: dict[str, list[dict[str, Any]]] = {
        "system": [{"role": "system", "content": text}, _user("Hello.")],
        "assistant": [_user("Hello."), {"role": "assistant", "content": text}, _user("And now?")],
        "tool": [
            _user("Look at the sea."),
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": text},
        ],
    }
    return ctx.body(messages=talks[role], max_tokens=1)


@check("MSG32")
async def a_long_message_of_any_role_is_read_whole(ctx: Context) -> None:
    roles = ["system", "assistant"]
    if ctx.has("tools") and ctx.speaks("role.tool"):
        roles.append("tool")
    for role in roles:
        few, some = [(await ctx.ask(_with_long(ctx, role, count))).prompt_tokens for count in (_FEW, _SOME)]
        each = (some - few) / (_SOME - _FEW)
        ctx.require(each > 0, f"more prompt_tokens with more sentences of role {role}", (few, some))
        context = ctx.declared.context_tokens
        many = _MANY if context is None else min(_MANY, int((context - some) / each) + _SOME - 1)
        if many <= _SOME:
            ctx.unclear(f"a long message has no room in the context of {context} tokens")
        longest = await ask_with_room(ctx, _with_long(ctx, role, many), context, "a long message")
        wanted, added = _NEARLY * each * (many - _SOME), longest.prompt_tokens - some
        grown = f"at least {wanted:.0f} prompt_tokens more with {many - _SOME} more sentences of role {role}"
        ctx.require(added >= wanted, grown, added)


async def _require_told_apart(ctx: Context, pairs: tuple[tuple[str, str], ...]) -> None:
    """Require that a text with the second of a pair is another prompt than one with the first."""

    async def is_told(plain: str, other: str) -> bool:
        return await are_apart(ctx, *(ctx.body(messages=[_user(f"one{one}two." * _REPEATS)]) for one in (plain, other)))

    untold = [other for plain, other in pairs if not await is_told(plain, other)]
    # A small vocabulary may not have such characters: then they are as good as absent.
    unknown = [other for other in untold if not await is_told("", other[0])]
    if untold and untold == unknown:
        ctx.unclear(f"the vocabulary has too few of the characters: {untold} is the same as nothing")
    if untold and not await is_told(" ", "x"):
        ctx.unclear(_NO_SUCH_PLACE)
    wanted = f"another prompt with each of {[other for _, other in pairs]}"
    ctx.require(not untold, wanted, f"the same with {untold} as with what looks like it")


@check("MSG33")
async def blanks_and_line_ends_are_read_as_they_are(ctx: Context) -> None:
    await _require_told_apart(ctx, _BLANKS)


@check("MSG36")
async def characters_that_look_alike_are_told_apart(ctx: Context) -> None:
    await _require_told_apart(ctx, _LOOK_ALIKE)


def _saying(ctx: Context, place: str, text: str) -> Body:
    """A request with *text* at *place*."""
    if place == "the description of a tool":
        return ctx.body("Look at the sea.", tools=[tool("look", description=text)])
    if place == "a system message":
        return ctx.body(messages=[_system(text), _user("Look at the sea.")])
    content: Any = [{"type": "text", "text": text}] if place == "a text part" else text
    return ctx.body(messages=[_user(content)])


async def _require_as_tokenized(ctx: Context, pairs: tuple[tuple[str, str], ...]) -> None:
    """Require that characters of a pair are apart in messages, where the tokenizer is seen to tell them apart."""

    async def is_told(place: str, pair: tuple[str, str]) -> bool:
        return await are_apart(ctx, *(_saying(ctx, place, f"one{one}two. " * _REPEATS) for one in pair))

    async def is_told_beside_messages(pair: tuple[str, str]) -> bool | None:
        if "tokenize" in ctx.hooks.names:
            one, other = [await ctx.hooks.tokenize(text) for text in pair]
            return one != other
        place = "the description of a tool"
        if not (ctx.has("tools") and ctx.speaks("tools")) or not await is_told(place, pair):
            return None
        # A template that writes tools as JSON with escapes shows the tokenizer no such character at all.
        texts = ("", pair[0] * _REPEATS, ascii(pair[0])[1:-1] * _REPEATS)
        none, plain, escaped = [
            (await ctx.ask({**_saying(ctx, place, text), "max_tokens": 1})).prompt_tokens for text in texts
        ]
        return (plain - none < _ESCAPED * (escaped - none)) or None

    places = ["a user message", *(["a text part"] if ctx.speaks("content.parts") else [])]
    for pair in pairs:
        told = {place: await is_told(place, pair) for place in places}
        if all(told.values()):
            continue
        lost = " and in ".join(place for place, is_apart in told.items() if not is_apart)
        is_known = any(told.values()) or await is_told_beside_messages(pair)
        if is_known is False:
            ctx.not_in_scope(f"the model's own tokenizer takes {pair[1]!r} for {pair[0]!r}")
        if is_known is None:
            ctx.unclear(f"{pair[1]!r} is {pair[0]!r} wherever it stands: the server cannot be told from the tokenizer")
        wanted = f"another prompt with {pair[1]!a} than with {pair[0]!a} in {lost}, as the tokenizer has it"
        ctx.fail(wanted, "the same prompt")


@check("MSG40")
async def composed_characters_are_those_that_were_written(ctx: Context) -> None:
    await _require_as_tokenized(ctx, _COMPOSED)


@check("MSG45")
async def no_character_stands_for_another(ctx: Context) -> None:
    await _require_as_tokenized(ctx, _UNLIKE)


@check("MSG44")
async def nothing_is_escaped(ctx: Context) -> None:
    async def count(place: str, text: str) -> int:
        return (await ctx.ask({**_saying(ctx, place, text), "max_tokens": 1})).prompt_tokens

    added: list[int] = []
    for place in ("a user message", "a system message", *(["a text part"] if ctx.speaks("content.parts") else [])):
        bare = await count(place, "one two")
        for char in _ESCAPABLE:
            # No tokenizer has more tokens of a character than it has bytes, and an escape has several times as many.
            most = _RUN * len(char.encode()) + _AT_THE_EDGES
            added.append(await count(place, f"one{char * _RUN} two") - bare)
            wanted = f"at most {most} prompt_tokens more with {_RUN} times {char!a} in {place}, as it has so many bytes"
            ctx.require(added[-1] <= most, wanted, added[-1])
    if max(added) <= 0:
        ctx.unclear("the vocabulary has none of the characters: none of them adds to the prompt")


@check("MSG46")
async def code_in_a_text_is_text(ctx: Context) -> None:
    for code in _CODE:
        outcome = await ctx.attempt(ctx.body(f"Explain what this does: {code}", max_tokens=1))
        if isinstance(outcome, Refusal):
            ctx.fail(f"an answer to a text that has {code} in it", str(outcome))


@check("MSG47")
async def an_empty_message_is_a_message(ctx: Context) -> None:
    talk = [{"role": "assistant", "content": "Good day."}, _user("And you?")]
    with_it, without = [ctx.body(messages=[*first, *talk], max_tokens=1) for first in ([_user("")], [])]
    outcomes = [await ctx.attempt(body) for body in (with_it, without)]
    for outcome in outcomes:
        if isinstance(outcome, Refusal):
            ctx.require(outcome.status in (400, None), "an answer, or 400", str(outcome))
            ctx.note(str(outcome))
            return
    is_apart = await are_apart(ctx, with_it, without)
    ctx.require(is_apart, "another prompt with an empty message of the user than without it", "the same prompt")


@check("MSG41")
async def messages_of_one_role_stay_apart(ctx: Context) -> None:
    if ctx.declared.template_merges is True:
        ctx.not_in_scope("the model's template makes one of messages in a row, as is declared")
    for role in ("user", "assistant"):
        begin, end = ([], []) if role == "user" else ([_user("Hello.")], [_user("And then?")])

        def talk(*texts: str, role: str = role, around: tuple[Any, Any] = (begin, end)) -> Body:
            said = [{"role": role, "content": text} for text in texts]
            return ctx.body(messages=[*around[0], *said, *around[1]], max_tokens=1)

        parted = await ctx.attempt(talk(_SENTENCE, _OTHER))
        if isinstance(parted, Refusal):
            ctx.require(parted.status in (400, None), "an answer, or 400", str(parted))
            ctx.note(f"several {role} messages in a row are refused")
            continue
        for joint in _JOINTS:
            joined = talk(f"{_SENTENCE}{joint}{_OTHER}")
            is_apart = await are_apart(ctx, talk(_SENTENCE, _OTHER), joined)
            if (
                not is_apart
                and joint
                and not await are_apart(ctx, joined, talk(f"{_SENTENCE}{'x' * len(joint)}{_OTHER}"))
            ):
                ctx.unclear(_NO_SUCH_PLACE)
            merges = "the server merges them, or the model's own template does (then declare `template_merges = true`)"
            wanted = f"another prompt with two {role} messages in a row than with one of both texts"
            ctx.require(is_apart, wanted, f"that with {joint!r} between them: {merges}")


@check("MSG43")
async def later_instructions_stay_where_they_are(ctx: Context) -> None:
    if ctx.declared.template_hoists is True:
        ctx.not_in_scope("the model's template shows all system messages first, as is declared")

    def talk(*systems: str, late: str = "", said: tuple[str, str] = ("Hello.", "Good day.")) -> Body:
        earlier = [_user(said[0]), {"role": "assistant", "content": said[1]}]
        first, later = [[_system(text) for text in texts if text] for texts in (systems, (late,))]
        return ctx.body(messages=[*first, *earlier, *later, _user("And you?")], max_tokens=1)

    refusal = await ctx.attempt(talk(late=_OTHER))
    if isinstance(refusal, Refusal):
        ctx.require(refusal.status in (400, None), "an answer, or 400", str(refusal))
        ctx.note(f"a system message after the first position is refused (MSG31): {refusal}")
        return
    kept = {"alone": talk(late=_OTHER), "after a first one": talk(_SENTENCE, late=_OTHER)}
    moved = {
        "alone": [talk(_OTHER)],
        "after a first one": [talk(_SENTENCE, _OTHER), *(talk(f"{_SENTENCE}{joint}{_OTHER}") for joint in _JOINTS)],
    }
    for where, late in kept.items():
        for first in moved[where]:
            if await are_apart(ctx, late, first):
                continue
            if not await are_apart(ctx, first, talk(*_systems(first), said=("Good day.", "Hello."))):
                ctx.unclear(_NO_SUCH_PLACE)
            hoists = "the server moves it, or the model's own template does (then declare `template_hoists = true`)"
            wanted = f"another prompt with a late system message, {where}, than with it in front"
            ctx.fail(wanted, f"that of {[message['content'] for message in first['messages']]}: {hoists}")


def _system(content: str) -> dict[str, Any]:
    return {"role": "system", "content": content}


def _systems(body: Body) -> list[str]:
    return [message["content"] for message in body["messages"] if message["role"] == "system"]


def _long_talk(ctx: Context, longer: int | None) -> Body:
    """A talk of a hundred messages and one, of which that at *longer* says more."""
    said = ["Go on." if at % 2 == 0 else "Yes." for at in range(2 * _TURNS + 1)]
    if longer is not None:
        said[longer] = _SENTENCE * _SOME
    roles = ("user", "assistant")
    messages = [{"role": roles[at % 2], "content": text} for at, text in enumerate(said)]
    return ctx.body(messages=messages, max_tokens=1)


@check("MSG34")
async def a_long_talk_is_read_whole(ctx: Context) -> None:
    plain = await ctx.attempt(_long_talk(ctx, None))
    if isinstance(plain, Refusal):
        ctx.require(plain.status in (400, None), "an answer, or 400", str(plain))
        ctx.unclear(f"a talk of {2 * _TURNS + 1} messages is refused: {plain}")
    for at in (0, 1, _TURNS):
        longer = (await ctx.ask(_long_talk(ctx, at))).prompt_tokens
        what = f"more than {plain.prompt_tokens} prompt_tokens where message {at} of {2 * _TURNS + 1} is longer"
        ctx.require(longer > plain.prompt_tokens, what, longer)


def _fields_beside(ctx: Context) -> list[Body]:
    """Fields that may stand beside messages, each alone; none changes what is said."""
    fields: list[Body] = [{}]
    if ctx.has("tools") and ctx.speaks("tools"):
        fields.append({"tools": [nonce_tool(ctx)[2]]})
    if ctx.has("json_schema") and ctx.speaks("response_format.json_schema"):
        fields.append({"response_format": saying(ctx.nonce())})
    single: Body = {"n": 2, "logprobs": True, "stop": [ctx.nonce()], "seed": 7}
    fields += [{name: value} for name, value in single.items() if ctx.has(name) and ctx.speaks(name)]
    return fields


@check("MSG35")
async def messages_count_whatever_stands_beside_them(ctx: Context) -> None:
    def talk(system: int, history: int) -> list[dict[str, Any]]:
        earlier = [_user("Hello."), {"role": "assistant", "content": _SENTENCE * history}]
        return [{"role": "system", "content": _SENTENCE * system}, *earlier, _user("And now?")]

    for fields in _fields_beside(ctx):
        talks = [talk(1, 1), talk(_SOME, 1), talk(1, _SOME)]
        plain, *longer = [
            (await ctx.ask(ctx.body(messages=messages, max_tokens=1, **fields))).prompt_tokens for messages in talks
        ]
        what = f"more than {plain} prompt_tokens with a longer system message, and with a longer answer in the history"
        beside = f", beside {' '.join(fields)}" if fields else ""
        ctx.require(min(longer) > plain, f"{what}{beside}", longer)

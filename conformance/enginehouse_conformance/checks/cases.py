"""The checks of all rules that are data: what is refused, does no harm, is given back, is as on chat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from enginehouse_conformance.answer import Answer, Call, Json
from enginehouse_conformance.context import Context
from enginehouse_conformance.endpoints.caller import Caller
from enginehouse_conformance.registry import CheckFunction, check
from enginehouse_conformance.rules import RULES
from enginehouse_conformance.rules.cases import Case, Echoed, Harmless, LikeChat, Refused
from enginehouse_conformance.targets import Body

_C = TypeVar("_C")

NULL = "@null"
"""What stands for null in rules, because TOML has none."""
_UNTOLD_CONTEXT = 200_000


async def is_refused_by_name(ctx: Context) -> None:
    case = _case(ctx, Refused)
    caller = Caller(ctx)
    words = Words(ctx)
    for fields in case.bodies:
        await caller.refused(over(caller.body(words.prompt), words.filled(fields)), *case.names, status=case.status)
    for name in case.lacks:
        right = {"model": ctx.target.model, **caller.body(words.prompt)}
        data = msgspec.json.encode({field: value for field, value in right.items() if field != name})
        await caller.refused(data, *case.names, status=case.status)


async def does_no_harm(ctx: Context) -> None:
    case = _case(ctx, Harmless)
    caller = Caller(ctx)
    words = Words(ctx)
    base = caller.body(words.prompt)
    plain = await caller.ask(base)
    for fields in case.bodies:
        answer = await caller.ask(over(base, words.filled(fields)))
        await require_same(ctx, answer, plain, lambda: caller.ask(base), f"the answer with {', '.join(fields)}")


async def is_given_back(ctx: Context) -> None:
    case = _case(ctx, Echoed)
    caller = Caller(ctx)
    words = Words(ctx)
    raw = await caller.raw(over(caller.body(words.prompt), words.filled(case.fields)))
    for name, wanted in words.filled(case.shown or case.fields).items():
        ctx.require(holds(raw.get(name), wanted), f"`{name}` {wanted!r} in the answer", raw.get(name))


async def is_as_on_chat(ctx: Context) -> None:
    case = _case(ctx, LikeChat)
    caller = Caller(ctx)
    words = Words(ctx)
    plain = ctx.body(words.prompt, temperature=0)
    chat = over(plain, words.filled(case.chat))
    expected = await ctx.ask(chat)
    asked = over(caller.body(words.prompt), words.filled(case.fields))
    answer = await (caller.stream(asked) if case.streamed else caller.ask(asked))
    await require_same(ctx, answer, expected, lambda: ctx.ask(chat), "the answer")
    if case.shows and essence(await ctx.ask(plain)) == essence(expected):
        ctx.unclear("what is asked for changes nothing on chat, so that nothing can be seen of it here")


_CHECKS: Mapping[type[Case], CheckFunction] = {
    Refused: is_refused_by_name,
    Harmless: does_no_harm,
    Echoed: is_given_back,
    LikeChat: is_as_on_chat,
}
for _rule in RULES.values():
    if _rule.case is not None:
        check(_rule.id)(_CHECKS[type(_rule.case)])


# ---- what they are made of ----


class Words:
    """The words that a case leaves open: one prompt and one nonce for a check."""

    def __init__(self, ctx: Context) -> None:
        self._tokens = ctx.declared.context_tokens or _UNTOLD_CONTEXT
        self.prompt = ctx.topic()
        self.nonce = ctx.nonce()

    def filled(self, value: Any) -> Any:
        """*value* with `{prompt}`, `{nonce}` and `{long}` filled in, which is more than the context holds."""
        if isinstance(value, dict):
            return {self.filled(name): self.filled(each) for name, each in value.items()}
        if isinstance(value, list):
            return [self.filled(each) for each in value]
        if value == NULL:
            return None
        if isinstance(value, str):
            long = "so " * self._tokens if "{long}" in value else ""
            return value.replace("{prompt}", self.prompt).replace("{nonce}", self.nonce).replace("{long}", long)
        return value


def over(body: Body, fields: Body) -> Body:
    """*body* with *fields* over it; objects that both have are merged."""
    merged = dict(body)
    for name, value in fields.items():
        before = body.get(name)
        merged[name] = over(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return merged


def holds(seen: Json, wanted: Json) -> bool:
    """Whether *seen* has all that *wanted* has; objects may have more."""
    if isinstance(wanted, dict) and isinstance(seen, dict):
        return all(holds(seen.get(name), value) for name, value in wanted.items())
    if isinstance(wanted, list) and isinstance(seen, list) and len(seen) == len(wanted):
        return all(holds(one, other) for one, other in zip(seen, wanted, strict=True))
    return bool(seen == wanted) and isinstance(seen, bool) is isinstance(wanted, bool)


def essence(answer: Answer) -> tuple[Any, ...]:
    """What two greedy answers to the same must have in common, whatever the endpoint."""
    # What the limit cut inside a call each endpoint tells in its own way, or not at all.
    calls = [(call.name, decoded) for call in answer.calls if (decoded := _decoded(call)) is not None]
    # A call that was asked for by name ends with `stop` on chat, and elsewhere as any other.
    finish = "tool_calls" if calls and answer.finish == "stop" else answer.finish
    return answer.text, calls, finish, answer.prompt_tokens, answer.completion_tokens


def _decoded(call: Call) -> Json:
    """The arguments of *call*; None where they are cut off, which Messages tells as invalid JSON."""
    try:
        arguments = call.decoded()
    except ValueError:
        return None
    return None if not isinstance(arguments, dict) or "INVALID_JSON" in arguments else arguments


async def require_same(ctx: Context, answer: Answer, expected: Answer, again: Any, what: str) -> None:
    """Require that *answer* is *expected*, by text, calls, reason and counts; *again* asks for that once more.

    Where it comes out otherwise then, the target's greedy answers are not stable, and nothing can be said.
    """
    if essence(answer) == essence(expected):
        return
    if essence(await again()) != essence(expected):
        ctx.unclear("the same greedy request has different answers")
    ctx.fail(f"{what} to be {essence(expected)!r}", repr(essence(answer)))


def _case(ctx: Context, kind: type[_C]) -> _C:
    case = ctx.rule.case
    if not isinstance(case, kind):
        raise TypeError(f"{ctx.rule.id} is no {kind.__name__}")
    return case

"""What the checks of several endpoints have in common."""

from __future__ import annotations

from collections.abc import Callable

from enginehouse_conformance.answer import Json
from enginehouse_conformance.context import Context
from enginehouse_conformance.endpoints import Event
from enginehouse_conformance.endpoints.caller import Caller
from enginehouse_conformance.targets.replies import read_refusal

from .cases import over

_DRAWS = 6


async def ids_differ(ctx: Context, id_of: Callable[[Event], Json]) -> None:
    """Require that each answer has an id of its own, in a stream the same wherever *id_of* finds one."""
    caller = Caller(ctx)
    body = caller.body()
    ids = [(await caller.raw(body)).get("id") for _ in range(2)]
    for _ in range(2):
        held = {found for event in await caller.events(body) if (found := id_of(event)) is not None}
        ctx.equal(len(held), 1, "ids in one stream")
        ids += held
    ctx.require(all(isinstance(value, str) and value for value in ids), "ids that are non-empty strings", ids)
    ctx.equal(len(set(ids)), len(ids), "different ids")


async def broken_bodies_are_refused(ctx: Context) -> None:
    """Require that what is no JSON object is refused."""
    caller = Caller(ctx)
    for data in (b'{"model": ', b"", b"[]", b'"text"'):
        await caller.refused(data)


async def unknown_field_is_told(ctx: Context) -> None:
    """Require that a field of which no document knows is refused by name, or named in the header for it."""
    field = f"x_{ctx.nonce()}"
    caller = Caller(ctx)
    reply = await caller.post(caller.body() | {field: 1})
    told = reply.head.get(ctx.declared.ignored_header) or ""
    if reply.status == 200 and ctx.declared.unknown_fields == "ignore":
        ctx.note("the target declares that it ignores unknown fields")
        return
    if reply.status == 200:
        ctx.require(field in told, f"400, or {ctx.declared.ignored_header} naming {field}", f"200 and {told!r}")
        return
    ctx.equal(reply.status, 400, "status")
    refusal = read_refusal(reply.status, reply.json(), "")
    ctx.require(refusal.names(field), f"a refusal that names {field}", str(refusal))


async def a_hot_answer_differs(ctx: Context, **fields: Json) -> None:
    """Require at least two texts of several answers with *fields*."""
    caller = Caller(ctx)
    body = {**caller.body(), **fields}
    texts = {(await caller.ask(body)).text for _ in range(_DRAWS)}
    ctx.require(len(texts) > 1, f"at least two texts of {_DRAWS} with {fields}", texts)


async def a_stop_string_ends_the_text(ctx: Context, asked: Callable[[str], Json]) -> None:
    """Require that an answer with what *asked* makes of a stop string ends before it, whole and streamed."""
    caller = Caller(ctx)
    base = caller.body()
    text = (await caller.ask(base)).text
    if len(text) < 4:
        ctx.unclear(f"the greedy answer {text!r} is too short to stop within")
    stop = text[len(text) // 2 :][:3]
    for answer in (await caller.ask(over(base, asked(stop))), await caller.stream(over(base, asked(stop)))):
        ctx.equal(answer.text, text[: text.find(stop)], "the text before the stop string")
        ctx.equal(answer.finish, "stop", "the reason")

"""RESP, kept responses: getting, deleting, listing and going on."""

from __future__ import annotations

import asyncio
from typing import Any

from enginehouse_conformance.answer import Json
from enginehouse_conformance.context import Context
from enginehouse_conformance.endpoints.caller import Caller, readable
from enginehouse_conformance.registry import check
from enginehouse_conformance.targets.base import now_s

from .cases import essence, require_same

_BACKGROUND_S = 20.0
_POLL_S = 0.05


async def _got(caller: Caller, response_id: str, below: str = "") -> dict[str, Json]:
    reply = await caller.send("GET", f"/{response_id}{below}")
    caller.ctx.equal(reply.status, 200, f"status of GET …/{{id}}{below}")
    return reply.json()


async def _require_gone(caller: Caller, response_id: str) -> None:
    reply = await caller.send("GET", f"/{response_id}")
    caller.ctx.equal(reply.status, 404, "status of a response that is not kept")


@check("RESP104")
async def a_kept_response_can_be_got(ctx: Context) -> None:
    caller = Caller(ctx)
    made = await caller.raw(caller.body(store=True))
    got = await _got(caller, made["id"])
    for name in ("id", "object", "status", "output", "usage", "model", "metadata"):
        ctx.equal(got.get(name), made.get(name), f"`{name}` of the kept response")


@check("RESP105")
async def a_response_that_was_not_to_be_kept_is_not(ctx: Context) -> None:
    caller = Caller(ctx)
    made = await caller.raw(caller.body(store=False))
    await _require_gone(caller, made["id"])


@check("RESP106")
async def a_deleted_response_is_gone(ctx: Context) -> None:
    caller = Caller(ctx)
    made = await caller.raw(caller.body(store=True))
    reply = await caller.send("DELETE", f"/{made['id']}")
    ctx.equal(reply.status, 200, "status of DELETE")
    told = {name: reply.json().get(name) for name in ("id", "deleted")}
    ctx.equal(told, {"id": made["id"], "deleted": True}, "the answer to DELETE")
    await _require_gone(caller, made["id"])


@check("RESP107")
async def an_unknown_id_is_not_found(ctx: Context) -> None:
    caller = Caller(ctx)
    for method in ("GET", "DELETE"):
        reply = await caller.send(method, f"/resp_{ctx.nonce()}")
        ctx.equal(reply.status, 404, f"status of {method} with an unknown id")


@check("RESP108")
async def input_items_are_listed(ctx: Context) -> None:
    caller = Caller(ctx)
    words = [ctx.nonce() for _ in range(3)]
    roles = ("user", "assistant", "user")
    items = [{"role": role, "content": word} for role, word in zip(roles, words, strict=True)]
    made = await caller.raw(caller.body() | {"input": items, "store": True})
    for query, expected in (("", words[::-1]), ("?order=asc", words)):
        listed = await _got(caller, made["id"], f"/input_items{query}")
        ctx.equal(listed.get("object"), "list", "`object`")
        ctx.equal([_text(item) for item in listed["data"]], expected, f"the items of input_items{query}")


def _text(item: dict[str, Any]) -> str:
    content = item["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


@check("RESP109")
async def a_conversation_goes_on(ctx: Context) -> None:
    caller = Caller(ctx)
    opening = caller.body(store=True)
    made = await caller.raw(opening)
    said = readable(caller.endpoint.answer, made).text
    question = f"And what of {ctx.nonce()}?"
    turns = [("user", opening["input"]), ("assistant", said), ("user", question)]
    whole = caller.body() | {"input": [{"role": role, "content": text} for role, text in turns]}
    answer = await caller.ask(caller.body(question, previous_response_id=made["id"]))
    await require_same(ctx, answer, await caller.ask(whole), lambda: caller.ask(whole), "the answer that goes on")


@check("RESP110")
async def instructions_are_not_carried_over(ctx: Context) -> None:
    caller = Caller(ctx)
    opening = caller.body()
    question = f"And what of {ctx.nonce()}?"
    # Once the greedy answers are known, the turns are the same but for the instructions.
    first = await caller.raw(opening | {"store": True, "instructions": f"Speak of {ctx.nonce()} and nothing else."})
    said = readable(caller.endpoint.answer, first).text
    turns = [("user", opening["input"]), ("assistant", said), ("user", question)]
    whole = caller.body() | {"input": [{"role": role, "content": text} for role, text in turns]}
    answer = await caller.ask(caller.body(question, previous_response_id=first["id"]))
    expected = await caller.ask(whole)
    ctx.equal(answer.prompt_tokens, expected.prompt_tokens, "tokens of a conversation without the instructions")
    ctx.require(essence(answer)[0] == expected.text, f"the text {expected.text!r}", answer.text)


@check("RESP111")
async def a_background_response_gets_completed(ctx: Context) -> None:
    caller = Caller(ctx)
    body = caller.body(store=True)
    expected = await caller.ask(body)
    begun = await caller.raw(body | {"background": True})
    ctx.require(begun.get("status") in ("queued", "in_progress"), "status queued or in_progress", begun.get("status"))
    got = begun
    until = now_s() + ctx.time_for(_BACKGROUND_S)
    while now_s() < until:
        got = await _got(caller, begun["id"])
        if got["status"] not in ("queued", "in_progress"):
            answer = readable(caller.endpoint.answer, got)
            await require_same(ctx, answer, expected, lambda: caller.ask(body), "the answer in the background")
            return
        await asyncio.sleep(_POLL_S)
    ctx.fail("a response that ends", got["status"])

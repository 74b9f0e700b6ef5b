"""ERR: errors and the models routes."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from enginehouse_conformance.answer import Json
from enginehouse_conformance.context import Context
from enginehouse_conformance.primitives import require_error_form
from enginehouse_conformance.registry import check
from enginehouse_conformance.targets import Reply
from enginehouse_conformance.targets.replies import read_refusal
from enginehouse_conformance.wire.client import Request
from enginehouse_conformance.wire.faults import Unreachable

_TRACE = re.compile(
    r"Traceback \(most recent|File \"[^\"]+\", line \d+|^\s+at .+\(.+:\d+:\d+\)|goroutine \d+ \[|"
    r"/site-packages/|/node_modules/|panicked at|\bat 0x[0-9a-f]{8,}",
    re.MULTILINE,
)
_MAX_BODY_BYTES = 17 * 2**20
_DEPTH = 10_000
_MOST_MODELS = 4  # of a list that may be long, each of which may have to be loaded
_FITTING = {
    402: (402, 429, 500, 502, 503),
    429: (429, 503),
    500: (500, 502, 503),
    503: (500, 502, 503),
}


async def _bad_requests(ctx: Context) -> list[Reply]:
    """Replies to requests that are wrong in different ways, at different depths of a server."""
    bodies = (
        msgspec.json.encode({"model": ctx.url.model}),
        ctx.url.encode(ctx.body(temperature="hot")),
        ctx.url.encode(ctx.body(messages=[{"role": "user", "content": {"a": 1}}])),
        b'{"model": ',
    )
    return [await ctx.post_raw(body) for body in bodies]


async def _require_health(ctx: Context) -> None:
    """The next ordinary request is answered."""
    reply = await ctx.post(ctx.body(max_tokens=1))
    ctx.require(reply.status == 200, "the next request to be answered", f"status {reply.status}")


_MOST_MODELS = 4  # of a list that may be long, each of which may have to be loaded


@check("ERR1")
async def errors_have_the_documented_form(ctx: Context) -> None:
    for reply in await _bad_requests(ctx):
        ctx.require(400 <= reply.status < 500, "a bad request to be refused with 4xx", f"status {reply.status}")
        require_error_form(ctx, reply)


@check("ERR2")
async def code_is_a_string_or_null(ctx: Context) -> None:
    for reply in await _bad_requests(ctx):
        error = reply.json().get("error")
        code = error.get("code") if isinstance(error, dict) else error
        ctx.require(isinstance(error, dict) and (code is None or isinstance(code, str)), "a string or null", code)


@check("ERR3")
async def malformed_bodies_are_refused(ctx: Context) -> None:
    valid = ctx.url.encode(ctx.body())
    for data in (valid[:-1], b"", b"[]", b'"text"', b"null", b"{'model': 1}", valid + b"}"):
        reply = await ctx.post_raw(data)
        ctx.require(reply.status == 400, f"400 for the body {data[:40]!r}", f"status {reply.status}")


@check("ERR4")
async def bodies_that_are_not_utf8_are_refused(ctx: Context) -> None:
    marker = ctx.nonce()
    data = ctx.url.encode(ctx.body(marker))
    for bad in (b"\xff\xfe", b"\xc3\x28", b"\xed\xa0\x80"):
        reply = await ctx.post_raw(data.replace(marker.encode(), bad))
        ctx.require(reply.status == 400, f"400 for the bytes {bad!r}", f"status {reply.status}")


@check("ERR5")
async def deep_bodies_are_refused(ctx: Context) -> None:
    nested = b"[" * _DEPTH + b"]" * _DEPTH
    reply = await ctx.post_raw(b'{"model":"%b","messages":%b}' % (ctx.url.model.encode(), nested))
    ctx.require(reply.status == 400, f"400 for a body {_DEPTH} deep", f"status {reply.status}")
    await _require_health(ctx)


@check("ERR6", exclusive=True)
async def oversize_bodies_are_refused(ctx: Context) -> None:
    limit = ctx.declared.max_body_bytes or _MAX_BODY_BYTES
    try:
        reply = await ctx.post(ctx.body("x" * (limit + 1)))
    except Unreachable as exc:
        ctx.note(f"the connection broke before an answer could be read: {exc}")
        await _require_health(ctx)
        ctx.unclear("the target closed the connection on an oversize body; whether it answered cannot be told")
    ctx.require(reply.status in (413, 400), "413 or 400", f"status {reply.status}")
    await _require_health(ctx)


@check("ERR7")
async def a_wrong_key_is_refused(ctx: Context) -> None:
    target = ctx.url
    if ctx.declared.keys is False:
        ctx.not_in_scope("the target declares that it takes no keys")
    bare = tuple(header for header in target.headers(with_key=False) if header[0] != "authorization")
    wrong = (*bare, ("authorization", f"Bearer sk-{ctx.nonce(20)}"))
    request = target.chat_request(ctx.body(max_tokens=1))
    statuses = []
    for headers in (wrong, bare):
        asked = Request(method="POST", url=request.url, headers=headers, body=request.body)
        reply = await target.exchange(asked, ctx.recording)
        statuses.append(reply.status)
    if statuses == [200, 200] and ctx.declared.keys is None and target.key is None:
        ctx.not_in_scope("the target answers without a key")
    ctx.equal(statuses, [401, 401], "with a wrong key and without one, the statuses")


@check("ERR8")
async def an_unknown_model_is_refused(ctx: Context) -> None:
    name = f"no-such-model-{ctx.nonce()}"
    reply = await ctx.post(ctx.body(model=name))
    ctx.require(reply.status in (404, 400), f"404 or 400 for the model {name}", f"status {reply.status}")


@check("ERR9")
async def faults_behind_the_target_come_through(ctx: Context) -> None:
    for status, fitting in _FITTING.items():
        mark = ctx.nonce()
        await ctx.hooks.fault(mark, status=status)
        reply = await ctx.post(ctx.body(f"Say {mark}."))
        ctx.require(reply.status in fitting, f"one of {fitting} for a fault {status}", f"status {reply.status}")
        require_error_form(ctx, reply)


@check("ERR10")
async def retry_after_is_kept(ctx: Context) -> None:
    for status in (429, 503):
        mark = ctx.nonce()
        await ctx.hooks.fault(mark, status=status, retry_after_s=7)
        reply = await ctx.post(ctx.body(f"Say {mark}."))
        ctx.equal(reply.head.get("retry-after"), "7", f"Retry-After of a fault {status}")


@check("ERR11")
async def errors_tell_no_stack_trace(ctx: Context) -> None:
    replies = await _bad_requests(ctx)
    replies.append(await ctx.get(f"/{ctx.nonce()}"))
    replies.append(await ctx.post(ctx.body(tools=[{"type": "function", "function": []}])))
    for reply in replies:
        found = _TRACE.search(reply.body.decode("utf-8", "replace"))
        ctx.require(found is None, "no stack trace in an error", found and found.group())


@check("ERR12")
async def models_are_listed_and_usable(ctx: Context) -> None:
    reply = await ctx.get("/models")
    ctx.equal(reply.status, 200, "status")
    listing = reply.json()
    ctx.equal(listing.get("object"), "list", "`object`")
    models: Json = listing.get("data")
    ctx.require(isinstance(models, list) and models, "`data` with at least one model", models)
    for model in models:
        ctx.require(isinstance(model, dict) and isinstance(model.get("id"), str), "each model with an id", model)
        ctx.equal(model.get("object"), "model", "`object` of a model")
    ids = [model["id"] for model in models]
    ctx.require(len(set(ids)) == len(ids), "each id once", ids)
    chosen = ctx.url.model if ctx.url.model in ids else ids[0]
    answered = await ctx.post(ctx.body(model=chosen, max_tokens=1))
    ctx.equal(answered.status, 200, f"a request to the listed model {chosen!r} answered with status")
    others = [name for name in ids if name != chosen]
    for name in ctx.random.sample(others, min(len(others), _MOST_MODELS)):
        # What a model of another kind, or one that cannot be loaded now, says to a chat is its own matter.
        told = (await ctx.post(ctx.body(model=name, max_tokens=1))).status
        ctx.require(told != 404, f"the listed model {name!r} to be known", f"status {told}")


@check("ERR13")
async def the_list_of_models_is_an_array(ctx: Context) -> None:
    listing = (await ctx.get("/models")).json()
    ctx.require(isinstance(listing, dict) and isinstance(listing.get("data"), list), "`data`, an array", listing)


@check("ERR14")
async def an_unknown_models_route_is_404(ctx: Context) -> None:
    reply = await ctx.get(f"/models/no-such-model-{ctx.nonce()}")
    ctx.equal(reply.status, 404, "status")
    require_error_form(ctx, reply)


@check("ERR15")
async def what_is_not_there_is_told(ctx: Context) -> None:
    for path, allowed in ((f"/{ctx.nonce()}", (404,)), ("/chat/completions", (404, 405))):
        reply = await ctx.get(path)
        ctx.require(reply.status in allowed, f"status {' or '.join(map(str, allowed))} for GET {path}", reply.status)


@check("ERR16")
async def a_model_of_the_list_is_whole(ctx: Context) -> None:
    listing = (await ctx.get("/models")).json()
    listed = listing.get("data") if isinstance(listing, dict) else None
    if not isinstance(listed, list):
        ctx.unclear("`data` is no array, which ERR13 is about")
    for model in listed:
        ctx.require(isinstance(model, dict), "a model, an object", model)
        ctx.require(type(model.get("created")) is int, "`created` of a model, an integer", model)
        ctx.require(isinstance(model.get("owned_by"), str), "`owned_by` of a model, a string", model)


@check("ERR17")
async def param_is_the_field(ctx: Context) -> None:
    fields: dict[str, Any] = {"temperature": 99, "top_p": 1.5, "messages": [{"role": "nobody", "content": "Say OK."}]}
    replies = {field: await ctx.post(ctx.body(**{field: wrong})) for field, wrong in fields.items()}
    refusals = {field: reply for field, reply in replies.items() if reply.status == 400}
    if not refusals:
        ctx.unclear("a temperature of 99, a top_p of 1.5 and an unknown role are not refused, which other rules judge")
    for field, reply in refusals.items():
        param = read_refusal(reply.status, reply.json(), "").param  # the form is ERR1's business
        is_field = isinstance(param, str) and re.split(r"[.\[]", param)[0] == field
        ctx.require(is_field, f"`param` to be {field}, which the error is about", param)

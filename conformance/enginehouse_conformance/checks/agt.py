"""AGT: the agent endpoint, whose query must say agent=true."""

from __future__ import annotations

from enginehouse_conformance.context import Context
from enginehouse_conformance.registry import check
from enginehouse_conformance.targets import Body, Reply
from enginehouse_conformance.targets.replies import read_refusal
from enginehouse_conformance.wire.client import Request


def _request(ctx: Context, body: Body, agent: str | None) -> Request:
    """A chat request whose query says *agent*, or nothing of it."""
    target = ctx.url
    query = {name: value for name, value in target.query.items() if name != "agent"}
    if agent is not None:
        query["agent"] = agent
    url = target.url("/chat/completions", query)
    return Request(method="POST", url=url, headers=target.headers(), body=target.encode(body))


async def _post(ctx: Context, agent: str | None) -> Reply:
    return await ctx.url.exchange(_request(ctx, ctx.body(max_tokens=4), agent), ctx.recording)


async def _require_refused(ctx: Context, agent: str | None) -> None:
    what = "without agent" if agent is None else f"with agent={agent}"
    reply = await _post(ctx, agent)
    ctx.equal(reply.status, 400, f"{what}, the status")
    refusal = read_refusal(reply.status, reply.json(), "")
    ctx.require(refusal.names("agent"), f"{what}, a refusal that names agent", str(refusal))


@check("AGT1")
async def an_agent_keeps_the_form_of_answers(ctx: Context) -> None:
    reply = await _post(ctx, "true")
    ctx.equal(reply.status, 200, "with agent=true, the status")
    answer = reply.json()
    missing = [name for name in ("id", "object", "created", "model", "choices", "usage") if name not in answer]
    ctx.require(not missing, f"an answer with {', '.join(missing)}", sorted(answer))
    ctx.equal(answer["object"], "chat.completion", "`object`")
    trace = await ctx.url.trace(_request(ctx, ctx.body(stream=True), "true"), ctx.recording)
    ctx.equal(trace.head.status, 200, "of a stream with agent=true, the status")
    ctx.require(not trace.problems and not trace.bad_data, "well-formed events", trace.problems or trace.bad_data[:2])
    ctx.equal({chunk.get("object") for chunk in trace.chunks}, {"chat.completion.chunk"}, "`object` of the chunks")
    ctx.equal(trace.done_count, 1, "the number of [DONE]")


@check("AGT2")
async def agent_must_be_true(ctx: Context) -> None:
    await _require_refused(ctx, None)
    await _require_refused(ctx, "false")


@check("AGT3")
async def agent_must_be_a_boolean(ctx: Context) -> None:
    await _require_refused(ctx, "bogus")

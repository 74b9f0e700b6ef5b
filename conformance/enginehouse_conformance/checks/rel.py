"""REL: what endpoints have in common, where it is no data of a rule."""

from __future__ import annotations

import asyncio

from enginehouse_conformance.context import Context
from enginehouse_conformance.endpoints.caller import Caller
from enginehouse_conformance.registry import check

from .cases import essence


@check("REL13")
async def endpoints_do_not_mix(ctx: Context) -> None:
    prompts = [f"Say {ctx.nonce()}." for _ in range(2)]
    callers = [Caller(ctx, name) for name in ("responses", "messages", "ollama")]
    alone = [essence(await ctx.ask(ctx.body(prompt, temperature=0))) for prompt in prompts]
    together = await asyncio.gather(
        *(ctx.ask(ctx.body(prompt, temperature=0)) for prompt in prompts),
        *(caller.ask(caller.body(prompt)) for caller in callers for prompt in prompts),
    )
    again = [essence(await ctx.ask(ctx.body(prompt, temperature=0))) for prompt in prompts]
    if again != alone:
        ctx.unclear("the same greedy request has different answers")
    ctx.equal([essence(answer) for answer in together], alone * 4, "answers at once")

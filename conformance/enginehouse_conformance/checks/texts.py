"""RF, STOP, ENV: text and numbers arrive as they were written, and a string means its characters."""

from __future__ import annotations

import json

from enginehouse_conformance.context import Context
from enginehouse_conformance.primitives import baseline, constrained, greedy, object_of, require_same_greedy
from enginehouse_conformance.registry import check

TEXT = ' <b>"é" & &lt;日本</b> \\n \\ / \t\n👩‍👩‍👧 '
"""What is changed where text is escaped, trimmed, normalised, or cut by bytes."""
_TOKENS = 200
_BIG = 2**53 + 1  # the first integer that a float does not hold
_PATTERNS = (".+", "[a-z ]+", r"\w", "%", "^")


@check("RF26")
async def keys_come_in_the_schemas_order(ctx: Context) -> None:
    values = {key: ctx.nonce(4) for key in ("zeta", "alpha", "mid", "beta")}
    schema = object_of(**{key: {"type": "string", "const": value} for key, value in values.items()})
    answer = await constrained(ctx, schema)
    ctx.equal(list(answer) if isinstance(answer, dict) else answer, list(values), "the keys, in their order,")


@check("RF27")
async def integers_keep_all_digits(ctx: Context) -> None:
    big = ctx.random.randrange(_BIG, 2**63, 2)
    schema = object_of(v={"type": "integer", "const": _BIG}, w={"type": "integer", "enum": [-big]})
    ctx.equal(await constrained(ctx, schema), {"v": _BIG, "w": -big}, "the answer")


@check("RF28")
async def strings_keep_their_text(ctx: Context) -> None:
    value = TEXT + ctx.nonce(4)
    schema = object_of(v={"type": "string", "const": value})
    can_stream = ctx.has("streaming") and ctx.speaks("stream")
    for is_streamed in (False, True) if can_stream else (False,):
        what = "the streamed answer" if is_streamed else "the answer"
        ctx.equal(await constrained(ctx, schema, max_tokens=_TOKENS, stream=is_streamed), {"v": value}, what)


@check("STOP14")
async def a_stop_string_is_no_pattern(ctx: Context) -> None:
    base = await baseline(ctx)
    words = [word for word in base.text.split() if word.isalpha() and word.swapcase() not in base.text]
    stops = [*(word.swapcase() for word in words[:1]), *(given for given in _PATTERNS if given not in base.text)]
    answer = await ctx.ask({**base.body, "stop": stops[:4]})
    await require_same_greedy(ctx, base, answer.text, f"the answer with the stop strings {stops[:4]}")
    ctx.equal(answer.finish, base.answer.finish, "finish_reason")


@check("ENV15")
async def escaped_characters_are_the_characters(ctx: Context) -> None:
    body = greedy(ctx, f"{ctx.topic()} é日本🦊 " * 3)
    expected = (await ctx.ask(body)).prompt_tokens
    reply = await ctx.post_raw(json.dumps(json.loads(ctx.url.encode(body)), ensure_ascii=True).encode())
    ctx.require(reply.status == 200, "200, however characters are written", f"{reply.status}: {reply.body[:200]!r}")
    seen = ((reply.json() or {}).get("usage") or {}).get("prompt_tokens")
    ctx.equal(seen, expected, "prompt_tokens where characters are escaped")

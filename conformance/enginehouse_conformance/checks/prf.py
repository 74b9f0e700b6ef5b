"""PRF: the document of the profile, row by row."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from enginehouse_conformance.answer import Answer, Refusal
from enginehouse_conformance.context import Context
from enginehouse_conformance.documented import Row, beyond, documented, incomplete, taken, unlisted
from enginehouse_conformance.registry import check
from enginehouse_conformance.wire.client import Request
from enginehouse_plugin import Profile

_FAULTS = (402, 429, 500, 503)
_MOST_TOKENS = 2


def _document(ctx: Context) -> Profile:
    return documented(ctx.profile.name)


def _asked(ctx: Context, rows: Iterable[Row]) -> list[Row]:
    """Those of *rows* that the target has the features for; a note tells of the others."""
    rows = list(rows)
    lacking = sorted({row.field for row in rows if not ctx.has(*row.needs)})
    if lacking:
        ctx.note(f"not asked, for want of a feature: {', '.join(lacking)}")
    asked = [row for row in rows if ctx.has(*row.needs)]
    if not asked:
        ctx.not_in_scope("the document has no row that could be asked")
    return asked


@check("PRF1")
async def what_is_documented_is_taken(ctx: Context) -> None:
    for row in _asked(ctx, taken(_document(ctx))):
        reply = await ctx.post(ctx.body(**{"max_tokens": _MOST_TOKENS, **row.fields}))
        shown = {name: value for name, value in row.fields.items() if name != "tools"}
        ctx.require(
            reply.status == 200, f"{row.field} to be taken: {shown}", f"status {reply.status}: {reply.body[:300]!r}"
        )


@check("PRF2")
async def what_is_beyond_a_bound_is_refused(ctx: Context) -> None:
    for row in _asked(ctx, beyond(_document(ctx))):
        await ctx.refused(ctx.body(**row.fields), row.field)


@check("PRF3")
async def what_is_not_listed_is_refused(ctx: Context) -> None:
    for row in _asked(ctx, unlisted(_document(ctx))):
        await ctx.refused(ctx.body(**row.fields), row.field, *(["messages"] if row.field == "role" else []))


@check("PRF4")
async def what_is_required_is_missed(ctx: Context) -> None:
    for row in _asked(ctx, incomplete(_document(ctx))):
        body = {"model": ctx.url.model, **ctx.body(**row.fields)}
        sent = {name: value for name, value in body.items() if value is not None}
        reply = await ctx.post_raw(msgspec.json.encode(sent))
        ctx.require(reply.status == 400, f"400 without {row.field}", f"status {reply.status}: {reply.body[:300]!r}")
        roots = ("messages", "tools")
        ctx.require(
            any(name in reply.body.decode("utf-8", "replace") for name in (row.field, *roots)),
            f"a refusal that names {row.field}",
            reply.body[:300],
        )


@check("PRF5")
async def documented_defaults_hold(ctx: Context) -> None:
    document = _document(ctx)
    body = ctx.body()
    limit = document.fields["max_tokens"].default if "max_tokens" in document.fields else None
    if limit is not None:
        del body["max_tokens"]
    reply = await ctx.post(body)
    ctx.equal(reply.status, 200, "status")
    answer = reply.json()
    ctx.equal(answer.get("object"), "chat.completion", "without `stream`, the object")
    ctx.equal(len(answer["choices"]), 1, "without `n`, the number of choices")
    if limit is not None:
        count = answer["usage"]["completion_tokens"]
        ctx.require(count <= limit, f"at most {limit} tokens without max_tokens", f"{count} tokens")
        if answer["choices"][0]["finish_reason"] == "length":
            ctx.equal(count, limit, "tokens of an answer that its length has ended")
    await _require_default_temperature(ctx, document)


async def _require_default_temperature(ctx: Context, document: Profile) -> None:
    """Seeds tell which temperature a request has that does not say: where they repeat what is said with it.

    Where more than one can be read in the document, it is one of these, each time the same.
    """
    field = document.fields.get("temperature")
    if field is None or field.default is None or not ctx.has("seed"):
        return
    possible = [field.default, *field.other_defaults]
    for _ in range(2):
        seed = ctx.random.randrange(2**31)
        silent = ctx.body(f"Write a list of random words. The first is {ctx.nonce(6)}.", max_tokens=24, seed=seed)
        texts = {}
        for temperature in possible:
            said = {**silent, "temperature": temperature}
            twice = [_text(await ctx.attempt(said)) for _ in range(2)]
            if twice[0] is None or twice[0] != twice[1]:
                ctx.note("seeds do not repeat answers here, so that the default temperature cannot be told")
                return
            texts[temperature] = twice[0]
        text = (await ctx.ask(silent)).text
        allowed = " or ".join(f"{temperature}: {texts[temperature]!r}" for temperature in possible)
        possible = [temperature for temperature in possible if texts[temperature] == text]
        ctx.require(possible, f"without a temperature, what is said with {allowed}", repr(text))


def _text(outcome: Answer | Refusal) -> str | None:
    return outcome.text if isinstance(outcome, Answer) else None


@check("PRF6")
async def answers_have_what_the_document_shows(ctx: Context) -> None:
    shown = _document(ctx).answer
    if not shown:
        ctx.not_in_scope("the document shows no answer")
    reply = await ctx.post(ctx.body(max_tokens=_MOST_TOKENS))
    ctx.equal(reply.status, 200, "status")
    answer = reply.json()
    for place, kind in shown.items():
        seen = _at(answer, place.replace("[]", ".0").split("."))
        ctx.require(_is(seen, kind), f"{place}, {kind}", repr(seen))


def _at(value: Any, steps: list[str]) -> Any:  # JSON
    for step in steps:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def _is(value: Any, kind: str) -> bool:  # JSON
    kinds: dict[str, type] = {"string": str, "integer": int, "object": dict, "array": list}
    return isinstance(value, kinds[kind]) and not isinstance(value, bool)


@check("PRF7")
async def documented_examples_are_answered(ctx: Context) -> None:
    examples = _document(ctx).examples
    if not examples:
        ctx.not_in_scope("the document shows no request")
    for example in examples:
        body = {**msgspec.json.decode(example), "model": ctx.url.model}
        if body.get("stream"):
            await ctx.trace(body)
            continue
        reply = await ctx.post(body)
        seen = f"status {reply.status}: {reply.body[:300]!r}"
        ctx.require(reply.status == 200, f"an answer to {example[:200]}", seen)


@check("PRF8")
async def refusals_have_documented_statuses(ctx: Context) -> None:
    listed = set(_document(ctx).errors)
    if not listed:
        ctx.not_in_scope("the document lists no statuses")
    url, target = ctx.url.url("/chat/completions"), ctx.url
    body = target.encode(ctx.body(max_tokens=1))
    plain = tuple((name, "text/plain" if name == "content-type" else value) for name, value in target.headers())
    asked = {
        "a bad value": target.chat_request(ctx.body(temperature="hot")),
        "an unknown model": target.chat_request(ctx.body(model=f"no-such-model-{ctx.nonce()}")),
        "another method": Request(method="PUT", url=url, headers=target.headers(), body=body),
        "another media type": Request(method="POST", url=url, headers=plain, body=body),
    }
    for what, request in asked.items():
        reply = await target.exchange(request, ctx.recording, is_refusal=True)
        allowed = reply.status == 200 or reply.status in listed
        ctx.require(allowed, f"for {what} one of {sorted(listed)}", f"status {reply.status}")


def _require_words(ctx: Context, status: int, message: object) -> None:
    words = _document(ctx).errors[status].words.rstrip(".")
    ctx.require(isinstance(message, str) and words in message, f"{words!r} in a message of {status}", message)


@check("PRF9")
async def errors_say_what_the_document_says(ctx: Context) -> None:
    if 400 not in _document(ctx).errors:
        ctx.not_in_scope("the document has no words for 400")
    reply = await ctx.refused(ctx.body(temperature="hot"), "temperature")
    _require_words(ctx, 400, reply.json()["error"]["message"])
    if 401 not in _document(ctx).errors or ctx.declared.keys is False:
        return
    bare = tuple(header for header in ctx.url.headers(with_key=False) if header[0] != "authorization")
    asked = ctx.url.chat_request(ctx.body(max_tokens=1))
    wrong = Request(
        method="POST", url=asked.url, headers=(*bare, ("authorization", f"Bearer {ctx.nonce(20)}")), body=asked.body
    )
    stranger = await ctx.url.exchange(wrong, ctx.recording, is_refusal=True)
    if stranger.status == 200:
        ctx.note("a wrong key is let in, so that nothing is said of one")
        return
    ctx.equal(stranger.status, 401, "with a wrong key, the status")
    _require_words(ctx, 401, stranger.json()["error"]["message"])


@check("PRF10")
async def faults_keep_documented_statuses(ctx: Context) -> None:
    document = _document(ctx)
    listed = [status for status in _FAULTS if status in document.errors]
    if not listed:
        ctx.not_in_scope("the document lists no status of a fault")
    for status in listed:
        mark = ctx.nonce()
        await ctx.hooks.fault(mark, status=status, retry_after_s=7)
        reply = await ctx.post(ctx.body(f"Say {mark}."))
        told = reply.status
        ctx.require(told in listed, f"of a fault {status} a status of {listed}", f"status {told}")
        _require_words(ctx, told, reply.json()["error"]["message"])
        if told in document.retry_after:
            ctx.require(reply.head.get("retry-after"), f"Retry-After with {told}", reply.head.get("retry-after"))


@check("PRF11")
async def a_run_has_one_budget(ctx: Context) -> None:
    if not ctx.has("n"):
        ctx.not_in_scope("the target gives one choice alone")
    body = ctx.body(n=2, max_completion_tokens=8)
    del body["max_tokens"]
    answer = await ctx.ask(body)
    count = answer.usage.completion_tokens if answer.usage is not None else None
    ctx.require(count is not None and count <= 8, "at most 8 tokens of two choices together", f"{count} tokens")

"""ENV: the envelope of an answer."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from enginehouse_conformance.answer import Json
from enginehouse_conformance.context import Context
from enginehouse_conformance.primitives import baseline, require_same_greedy
from enginehouse_conformance.registry import check
from enginehouse_conformance.results import REPEATS
from enginehouse_conformance.targets.replies import read_refusal
from enginehouse_conformance.wire.client import Request
from enginehouse_plugin import FEATURES

_KEYS = ("id", "object", "created", "model", "choices", "usage")
_REASONS = ("stop", "length", "tool_calls", "content_filter", "function_call")
_CLOCK_SKEW_S = 3600
_NULLABLE = ("frequency_penalty", "presence_penalty", "logit_bias", "logprobs", "top_logprobs", "n", "seed", "stop",
             "stream", "stream_options", "top_p", "tools", "tool_choice", "response_format", "user", "metadata",
             "reasoning_effort", "parallel_tool_calls", "max_completion_tokens")  # fmt: skip

_DEFAULTS: dict[str, Any] = {
    "stream": False, "logprobs": False, "n": 1, "top_p": 1, "frequency_penalty": 0, "presence_penalty": 0,
    "logit_bias": {}, "metadata": {},
}  # fmt: skip


_CONTENT_TYPES = ("application/json; charset=utf-8", "application/json;charset=UTF-8", "Application/JSON")
_MAY_BE_NULL = ("content", "refusal", "audio", "function_call")
_MISTYPED: dict[str, Any] = {
    "temperature": "1", "top_p": "1", "n": "1", "seed": "7", "stream": "yes", "max_tokens": 2.5,
    "presence_penalty": "0", "frequency_penalty": "0", "logprobs": "yes", "logit_bias": [], "tools": {"a": 1},
    "user": 7, "metadata": "x", "parallel_tool_calls": "no",
}  # fmt: skip


@check("ENV1")
async def minimal_request_is_answered(ctx: Context) -> None:
    reply = await ctx.post({"messages": [{"role": "user", "content": "Say hello."}]})
    ctx.equal(reply.status, 200, "status")
    answer = reply.json()
    ctx.require(isinstance(answer, dict), "a JSON object", answer)
    missing = [key for key in _KEYS if key not in answer]
    ctx.require(not missing, f"an answer with {', '.join(_KEYS)}", f"without {', '.join(missing)}")


@check("ENV2")
async def object_is_chat_completion(ctx: Context) -> None:
    answer = await ctx.ask(ctx.body())
    ctx.equal(answer.raw.get("object"), "chat.completion", "`object`")


@check("ENV3")
async def ids_differ(ctx: Context) -> None:
    body = ctx.body()
    answers = [await ctx.ask(body) for _ in range(2)]
    ids = [answer.raw.get("id") for answer in answers]
    if answers[0].raw == answers[1].raw:
        ctx.note(REPEATS)
    if ctx.has("streaming") and ctx.speaks("stream"):
        ids += [(await ctx.trace(body)).chunks[0].get("id") for _ in range(2)]
    ctx.require(all(isinstance(value, str) and value for value in ids), "ids that are non-empty strings", ids)
    ctx.require(len(set(ids)) == len(ids), "another id for each call", ids)


@check("ENV4")
async def created_is_now(ctx: Context) -> None:
    told = [(await ctx.ask(ctx.body())).raw.get("created")]
    if ctx.has("streaming") and ctx.speaks("stream"):
        told += [chunk.get("created") for chunk in (await ctx.trace(ctx.body())).chunks]
    for created in told:
        ctx.require(type(created) is int, "`created`, an integer", created)
        ctx.require(abs(created - time.time()) < _CLOCK_SKEW_S, f"`created` near {int(time.time())}", created)


@check("ENV5")
async def choices_have_their_keys(ctx: Context) -> None:
    choices = (await ctx.ask(ctx.body())).raw["choices"]
    ctx.require(choices, "at least one choice", choices)
    for choice in choices:
        missing = [key for key in ("index", "message", "finish_reason") if key not in choice]
        ctx.require(not missing, "a choice with index, message, finish_reason", f"without {', '.join(missing)}")
        ctx.require(type(choice["index"]) is int, "`index`, an integer", choice["index"])
        ctx.require(choice["finish_reason"] in _REASONS, f"one of {', '.join(_REASONS)}", choice["finish_reason"])


@check("ENV6")
async def message_is_the_assistants(ctx: Context) -> None:
    message = (await ctx.ask(ctx.body())).raw["choices"][0]["message"]
    ctx.equal(message.get("role"), "assistant", "`message.role`")
    ctx.require("content" in message, "`message.content`, be it null", message)
    ctx.require(message["content"] is None or isinstance(message["content"], str), "a string or null", message)


@check("ENV7")
async def model_is_an_advertised_id(ctx: Context) -> None:
    reply = await ctx.get("/models")
    ctx.equal(reply.status, 200, "status of the models route")
    models: Json = reply.json().get("data")
    ctx.require(isinstance(models, list), "`data`, an array of models", models)
    ids = [entry.get("id") for entry in models if isinstance(entry, dict)]
    answer = await ctx.ask(ctx.body())
    ctx.require(answer.model in ids, f"`model` to be one of {ids}", answer.raw.get("model"))
    if ctx.has("streaming") and ctx.speaks("stream"):
        streamed = (await ctx.trace(ctx.body())).chunks[0].get("model")
        ctx.equal(streamed, answer.model, "`model` in a stream")


@check("ENV8")
async def chunked_body_is_read(ctx: Context) -> None:
    data = ctx.url.encode(ctx.body())
    half = len(data) // 2
    reply = await ctx.post_raw(b"", chunks=(data[:half], data[half:]))
    ctx.require(reply.status == 200, "200 for a body in chunked coding", f"{reply.status}: {reply.body[:200]!r}")


@check("ENV9")
async def null_means_absent(ctx: Context) -> None:
    base = await baseline(ctx)
    known = {name.split(".")[0] for name in ctx.profile.parameters}
    nulls = {name: None for name in _NULLABLE if name in known}
    answer = await ctx.ask({**base.body, **nulls})
    await require_same_greedy(ctx, base, answer.text, "the answer with null for every optional field")


@check("ENV10")
async def unknown_field_by_declared_policy(ctx: Context) -> None:
    name = f"x_{ctx.nonce()}"
    reply = await ctx.post(ctx.body(**{name: 1}))
    policy = ctx.declared.unknown_fields
    if policy == "refuse":
        ctx.require(reply.status == 400, f"400 naming {name}: unknown fields are refused", f"status {reply.status}")
        refusal = read_refusal(400, reply.json(), "")
        ctx.require(refusal.names(name), f"a refusal that names {name}", str(refusal))
        return
    ctx.require(reply.status == 200, f"200: unknown fields are {policy}ed", f"status {reply.status}")
    if policy == "report":
        header = reply.head.get(ctx.declared.ignored_header) or ""
        ctx.require(name in header, f"{name} in the header {ctx.declared.ignored_header}", header)


@check("ENV11")
async def user_and_metadata_change_nothing(ctx: Context) -> None:
    base = await baseline(ctx)
    fields: dict[str, object] = {"user": ctx.nonce()}
    if ctx.speaks("metadata"):
        fields["metadata"] = {ctx.nonce(): ctx.nonce()}
    answer = await ctx.ask({**base.body, **fields})
    await require_same_greedy(ctx, base, answer.text, f"the answer with {' and '.join(fields)}")


@check("ENV12")
async def metadata_has_limits(ctx: Context) -> None:
    too_much = (
        {f"k{number}": "v" for number in range(17)},
        {"k" * 65: "v"},
        {"k": "v" * 513},
    )
    for metadata in too_much:
        await ctx.refused(ctx.body(metadata=metadata), "metadata")
    allowed = {f"{number:02}" + "k" * 62: "v" * 512 for number in range(16)}
    reply = await ctx.post(ctx.body(metadata=allowed))
    ctx.require(
        reply.status == 200,
        "metadata at its limits to be accepted",
        f"{reply.status}: {msgspec.json.encode(reply.json())[:200]!r}",
    )


@check("ENV13")
async def a_default_said_aloud_is_the_default(ctx: Context) -> None:
    base = await baseline(ctx)
    said = {
        name: default
        for name, default in _DEFAULTS.items()
        if ctx.speaks(name) and (name not in FEATURES or ctx.has(name))
    }
    answer = await ctx.ask({**base.body, **said})
    await require_same_greedy(ctx, base, answer.text, f"the answer with {said}")
    ctx.require(answer.first.logprobs is None, "no log probabilities with `logprobs: false`", answer.first.logprobs)
    ctx.equal(len(answer.choices), 1, "the number of choices")


@check("ENV14")
async def a_value_of_another_type_is_refused(ctx: Context) -> None:
    for name, value in _MISTYPED.items():
        if ctx.speaks(name):
            await ctx.refused(ctx.body(**{"max_tokens": 1, name: value}), name)


@check("ENV16")
async def what_a_message_has_not_is_left_out(ctx: Context) -> None:
    body = ctx.body()
    messages = [choice["message"] for choice in (await ctx.ask(body)).raw["choices"]]
    if ctx.has("streaming") and ctx.speaks("stream"):
        messages += [entry["delta"] for entry in (await ctx.trace(body)).entries()]
    for message in messages:
        calls = message.get("tool_calls", "absent")
        ctx.require(calls == "absent" or calls, "no `tool_calls` where there is no call", message)
        nulls = [name for name, value in message.items() if value is None and name not in _MAY_BE_NULL]
        ctx.require(not nulls, "fields that are not used left out", nulls)


@check("ENV17")
async def json_is_told_as_json(ctx: Context) -> None:
    replies = {
        "an answer": await ctx.post(ctx.body()),
        "an error": await ctx.post(ctx.body(temperature="warm")),
        "the list of models": await ctx.get("/models"),
    }
    for what, reply in replies.items():
        kind = (reply.head.get("content-type") or "").partition(";")[0].strip().lower()
        ctx.equal(kind, "application/json", f"content-type of {what} (status {reply.status})")


@check("ENV18")
async def a_content_type_may_name_its_charset(ctx: Context) -> None:
    url, body = ctx.url, ctx.body(max_tokens=1)
    others = tuple(header for header in url.headers() if header[0] != "content-type")
    for kind in _CONTENT_TYPES:
        request = Request(
            method="POST",
            url=url.url("/chat/completions"),
            headers=(("content-type", kind), *others),
            body=url.encode(body),
        )
        reply = await url.exchange(request, ctx.recording)
        ctx.require(reply.status == 200, f"200 with the content type {kind}", f"{reply.status}: {reply.body[:200]!r}")

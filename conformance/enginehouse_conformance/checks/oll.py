"""OLL: Ollama's routes, what is no data of a rule."""

from __future__ import annotations

import time
from datetime import datetime

from enginehouse_conformance.answer import Json
from enginehouse_conformance.context import Context
from enginehouse_conformance.endpoints.caller import Caller
from enginehouse_conformance.endpoints.laws import Made, Sample, first, law, samples
from enginehouse_conformance.registry import check

from .endpoint_parts import a_stop_string_ends_the_text, broken_bodies_are_refused, unknown_field_is_told

_KEYS = ("model", "created_at", "message", "done", "done_reason", "prompt_eval_count", "eval_count")
_DURATIONS = ("load_duration", "prompt_eval_duration", "eval_duration")
_CLOCK_SKEW_S = 3600
_DRAWS = 6


def _options(**options: Json) -> Json:
    return {"options": {"temperature": 0, "repeat_penalty": 1, **options}}


def _word(nonce: str) -> Json:
    return {"type": "object", "properties": {"v": {"const": nonce}}, "required": ["v"], "additionalProperties": False}


samples("ollama", {
    "end": Made(lambda _nonce: _options(num_predict=12)),
    "word": Made(lambda nonce: {**_options(num_predict=64), "format": _word(nonce)}, ("json_schema",)),
})  # fmt: skip


@check("OLL1")
async def minimal_request_is_answered(ctx: Context) -> None:
    body = {"messages": [{"role": "user", "content": "Say hello."}], "stream": False, "options": {"num_predict": 8}}
    reply = await Caller(ctx).post(body)
    ctx.equal(reply.status, 200, "status")
    missing = [key for key in _KEYS if key not in reply.json()]
    ctx.require(not missing, f"an answer with {', '.join(_KEYS)}", f"without {', '.join(missing)}")
    ctx.equal(reply.json()["done"], True, "`done`")


@law("OLL2")
def the_model_is_named(sample: Sample) -> str | None:
    return None if sample.raw.get("model") == sample.model else f"model is {sample.raw.get('model')!r}"


@law("OLL3")
def created_near_now(sample: Sample) -> str | None:
    told = sample.raw["created_at"]
    created = datetime.fromisoformat(told.replace("Z", "+00:00"))
    good = created.tzinfo is not None and abs(time.time() - created.timestamp()) < _CLOCK_SKEW_S
    return None if good else f"created_at is {told!r}"


@law("OLL4")
def a_message_has_its_form(sample: Sample) -> str | None:
    message = sample.raw["message"]
    good = message.get("role") == "assistant" and isinstance(message.get("content"), str)
    return None if good else f"message is {str(message)[:200]}"


@law("OLL5")
def the_reason_is_told(sample: Sample) -> str | None:
    is_cut = sample.answer.completion_tokens >= sample.body["options"]["num_predict"]
    expected = "length" if is_cut else "stop"
    return None if sample.raw.get("done_reason") == expected else f"done_reason is {sample.raw.get('done_reason')!r}"


@law("OLL6")
def counts_are_told(sample: Sample) -> str | None:
    prompt, count = sample.raw["prompt_eval_count"], sample.raw["eval_count"]
    limit = sample.body["options"]["num_predict"]
    good = type(prompt) is int and type(count) is int and prompt > 0 and 0 < count <= limit
    return None if good else f"prompt_eval_count is {prompt!r}, eval_count {count!r} of at most {limit}"


@law("OLL7")
def durations_are_told(sample: Sample) -> str | None:
    parts = [sample.raw.get(name) for name in _DURATIONS]
    total = sample.raw.get("total_duration")
    told = [each for each in parts if isinstance(each, int) and each >= 0]
    good = isinstance(total, int) and len(told) == len(parts) and total >= sum(told)
    return None if good else f"total_duration is {total!r}, {', '.join(_DURATIONS)} {parts}"


@check("OLL16")
async def broken_bodies(ctx: Context) -> None:
    await broken_bodies_are_refused(ctx)


@check("OLL17")
async def an_unknown_field_is_told(ctx: Context) -> None:
    await unknown_field_is_told(ctx)


@check("OLL18")
async def errors_have_their_form(ctx: Context) -> None:
    caller = Caller(ctx)
    raw = (await caller.post(caller.body(messages="Hi"))).json()
    ctx.require(list(raw) == ["error"] and isinstance(raw["error"], str), '{"error": text}', raw)


@check("OLL25")
async def calls_and_results_are_read(ctx: Context) -> None:
    caller = Caller(ctx)
    asked = caller.body()["messages"]

    def history(given: str, result: str) -> list[Json]:
        call = {"function": {"name": "look_up", "arguments": {"q": given}}}
        result_message = {"role": "tool", "tool_name": "look_up", "content": result}
        return [*asked, {"role": "assistant", "content": "", "tool_calls": [call]}, result_message]

    word = ctx.nonce()
    plain = await caller.ask(caller.body() | {"messages": history("a", "b")})
    for what, given in (("arguments", (word, "b")), ("a result", ("a", word))):
        answer = await caller.ask(caller.body() | {"messages": history(*given)})
        ctx.require(answer.prompt_tokens > plain.prompt_tokens, f"more tokens with {what} of ten letters", "as many")


@check("OLL28")
async def seed_and_temperature_are_read(ctx: Context) -> None:
    caller = Caller(ctx)
    body = caller.body(options={"temperature": 1, "seed": 7, "num_predict": 16})
    one, other = await caller.ask(body), await caller.ask(body)
    ctx.equal(other.text, one.text, "the text with the same seed")
    hot = caller.body(options={"temperature": 2, "num_predict": 16})
    texts = {(await caller.ask(hot)).text for _ in range(_DRAWS)}
    ctx.require(len(texts) > 1, f"at least two texts of {_DRAWS} at temperature 2", texts)


@check("OLL29")
async def a_stop_string_ends_it(ctx: Context) -> None:
    await a_stop_string_ends_the_text(ctx, lambda stop: {"options": {"stop": ["\u2603\u2603", stop]}})


@check("OLL30")
async def an_answer_is_streamed_unless_it_is_not_to_be(ctx: Context) -> None:
    caller = Caller(ctx)
    body = caller.body()
    del body["stream"]
    reply = await caller.post(body)
    kind = (reply.head.get("content-type") or "").partition(";")[0]
    ctx.equal(kind, "application/x-ndjson", "content-type")
    ctx.require(len(caller.endpoint.events(reply)) > 1, "more than one line", reply.body[:200])


@law("OLL31")
def only_the_last_line_is_done(sample: Sample) -> str | None:
    lines = [event.data for event in sample.events]
    done = [line.get("done") for line in lines]
    if done != [False] * (len(lines) - 1) + [True]:
        return f"`done` of the lines is {done}"
    lacking = first(
        f"a line is {str(line)[:200]}" for line in lines if not {"model", "created_at", "message"} <= line.keys()
    )
    early = first("counts come early" for line in lines[:-1] if line.keys() & {"eval_count", "done_reason"})
    return lacking or early or (None if set(_KEYS) <= lines[-1].keys() else f"the last line is {str(lines[-1])[:200]}")


@law("OLL32")
def streamed_is_whole(sample: Sample) -> str | None:
    seen, whole = [
        (answer.text, answer.finish, answer.prompt_tokens, answer.completion_tokens)
        for answer in (sample.streamed, sample.answer)
    ]
    return None if seen == whole else f"streamed: {seen}, whole: {whole}"


@check("OLL33")
async def the_version_is_told(ctx: Context) -> None:
    reply = await Caller(ctx).at("GET", "/api/version")
    ctx.equal(reply.status, 200, "status")
    version = reply.json().get("version")
    ctx.require(isinstance(version, str) and version, "`version`, a text", version)


@check("OLL34")
async def the_model_is_listed(ctx: Context) -> None:
    reply = await Caller(ctx).at("GET", "/api/tags")
    ctx.equal(reply.status, 200, "status")
    model = ctx.target.model
    found = [each for each in reply.json()["models"] if each.get("name") in (model, f"{model}:latest")]
    ctx.equal(len(found), 1, f"models with the name {model}")
    missing = [name for name in ("model", "size", "details") if name not in found[0]]
    ctx.require(not missing, "model, size and details", f"without {missing}")


@check("OLL35")
async def a_model_is_shown(ctx: Context) -> None:
    caller = Caller(ctx)
    shown = await caller.at("POST", "/api/show", {"model": ctx.target.model})
    ctx.equal(shown.status, 200, "status")
    ctx.require(isinstance(shown.json().get("details"), dict), "`details`, an object", shown.body[:200])
    unknown = await caller.at("POST", "/api/show", {"model": f"no-{ctx.nonce()}"})
    ctx.equal(unknown.status, 404, "status for a model that is not there")

"""ANT: Messages, what is no data of a rule."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from enginehouse_conformance.answer import Json
from enginehouse_conformance.context import Context
from enginehouse_conformance.endpoints import Event
from enginehouse_conformance.endpoints.caller import Caller
from enginehouse_conformance.endpoints.laws import Made, Sample, first, law, samples
from enginehouse_conformance.endpoints.messages import folded
from enginehouse_conformance.registry import check
from enginehouse_conformance.targets import Body, Reply

from .endpoint_parts import a_hot_answer_differs, broken_bodies_are_refused, ids_differ, unknown_field_is_told

_KEYS = ("id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage")
_DELTAS = {"text": "text_delta", "tool_use": "input_json_delta", "thinking": "thinking_delta"}


def tool(nonce: str) -> Json:
    """A tool whose only input holds *nonce*."""
    properties = {"q": {"type": "string", "enum": [nonce]}}
    schema = {"type": "object", "properties": properties, "required": ["q"], "additionalProperties": False}
    return {"name": f"look_up_{nonce}", "description": "Looks up.", "input_schema": schema}


def word(nonce: str) -> Json:
    """A form of output whose only value holds *nonce*."""
    schema = {"type": "object", "properties": {"v": {"const": nonce}}, "required": ["v"], "additionalProperties": False}
    return {"format": {"type": "json_schema", "schema": schema}}


samples("messages", {
    "end": Made(lambda nonce: {"max_tokens": 12, "system": f"Speak of {nonce}."}),
    "word": Made(lambda nonce: {"output_config": word(nonce), "max_tokens": 64}, ("json_schema",)),
    "call": Made(
        lambda nonce: {
            "tools": [tool(nonce)], "tool_choice": {"type": "any", "disable_parallel_tool_use": True}, "max_tokens": 96,
        },
        ("tools", "tool_choice_required", "parallel_tool_calls"),
    ),
})  # fmt: skip

# ---- the envelope ----


@check("ANT1")
async def minimal_request_is_answered(ctx: Context) -> None:
    reply = await Caller(ctx).post({"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 8})
    ctx.equal(reply.status, 200, "status")
    missing = [key for key in _KEYS if key not in reply.json()]
    ctx.require(not missing, f"a message with {', '.join(_KEYS)}", f"without {', '.join(missing)}")


@law("ANT2")
def it_is_a_message(sample: Sample) -> str | None:
    seen = [sample.raw.get(name) for name in ("type", "role")]
    return None if seen == ["message", "assistant"] else f"type and role are {seen}"


@check("ANT3")
async def ids_are_different(ctx: Context) -> None:
    await ids_differ(ctx, lambda event: (event.data.get("message") or {}).get("id"))


@law("ANT4")
def the_model_is_named(sample: Sample) -> str | None:
    return None if sample.raw.get("model") == sample.model else f"model is {sample.raw.get('model')!r}"


@law("ANT5", "end", "word")
def text_comes_in_blocks(sample: Sample) -> str | None:
    texts = [block for block in sample.raw["content"] if block.get("type") == "text"]
    good = texts and all(isinstance(block.get("text"), str) and block["text"] for block in texts)
    return None if good else f"content is {str(sample.raw['content'])[:200]}"


@law("ANT6", "word")
def a_whole_answer_ends_its_turn(sample: Sample) -> str | None:
    seen = [sample.raw.get(name) for name in ("stop_reason", "stop_sequence")]
    return None if seen == ["end_turn", None] else f"stop_reason and stop_sequence are {seen}"


@law("ANT7", "end")
def a_cut_answer_says_so(sample: Sample) -> str | None:
    is_cut = sample.answer.completion_tokens >= sample.body["max_tokens"]
    expected = "max_tokens" if is_cut else "end_turn"
    return None if sample.raw.get("stop_reason") == expected else f"stop_reason is {sample.raw.get('stop_reason')!r}"


@law("ANT8")
def counts_are_told(sample: Sample) -> str | None:
    usage = sample.raw["usage"]
    counts = [usage.get(name) for name in ("input_tokens", "output_tokens")]
    good = all(isinstance(count, int) and count >= 0 for count in counts) and counts[1] > 0
    return None if good else f"usage is {usage}"


@law("ANT9")
def cached_counts_are_told(sample: Sample) -> str | None:
    usage = sample.raw["usage"]
    counts = [usage.get(f"cache_{name}_input_tokens") for name in ("read", "creation")]
    return None if all(isinstance(count, int) and count >= 0 for count in counts) else f"usage is {usage}"


@law("ANT10")
def the_limit_holds(sample: Sample) -> str | None:
    count, limit = sample.answer.completion_tokens, sample.body["max_tokens"]
    holds = count == limit if sample.raw.get("stop_reason") == "max_tokens" else count <= limit
    return None if holds else f"{count} tokens of at most {limit}, stop_reason {sample.raw.get('stop_reason')!r}"


@law("ANT11", "call")
def a_call_has_its_form(sample: Sample) -> str | None:
    names = {each["name"] for each in sample.body["tools"]}
    calls = [block for block in sample.raw["content"] if block.get("type") == "tool_use"]
    bad = [each for each in calls if not each.get("id") or each.get("name") not in names]
    bad += [each for each in calls if not isinstance(each.get("input"), dict)]
    return None if calls and not bad else f"content is {str(sample.raw['content'])[:200]}"


@law("ANT12", "call")
def a_call_is_the_reason(sample: Sample) -> str | None:
    return None if sample.raw.get("stop_reason") == "tool_use" else f"stop_reason is {sample.raw.get('stop_reason')!r}"


# ---- errors ----


@check("ANT47")
async def broken_bodies(ctx: Context) -> None:
    await broken_bodies_are_refused(ctx)


@check("ANT48")
async def an_unknown_field_is_told(ctx: Context) -> None:
    await unknown_field_is_told(ctx)


def _require_error(ctx: Context, reply: Reply, status: int, kind: str) -> None:
    ctx.equal(reply.status, status, "status")
    raw = reply.json()
    error = raw.get("error")
    is_error = raw.get("type") == "error" and isinstance(error, dict) and isinstance(error.get("message"), str)
    ctx.require(is_error, '{"type": "error", "error": {type, message}}', reply.body[:300])
    ctx.equal(raw["error"].get("type"), kind, "error.type")


@check("ANT49")
async def errors_have_their_form(ctx: Context) -> None:
    caller = Caller(ctx)
    _require_error(ctx, await caller.post(caller.body(temperature="hot")), 400, "invalid_request_error")


@check("ANT50")
async def an_unknown_model_is_not_found(ctx: Context) -> None:
    caller = Caller(ctx)
    _require_error(ctx, await caller.post(caller.body(model=f"no-{ctx.nonce()}")), 404, "not_found_error")


@check("ANT51")
async def keys_come_in_their_own_header(ctx: Context) -> None:
    url = ctx.url
    if not ctx.declared.keys or url.key is None:
        ctx.not_in_scope("the target does not say that it has keys, or none is given")
    caller = Caller(ctx)
    body = url.encode(caller.body())
    bare = tuple(pair for pair in url.headers(with_key=False) if pair[0] != "authorization")
    wrong = await caller.send("POST", "", body, headers=(*bare, ("x-api-key", f"no-{ctx.nonce()}")))
    _require_error(ctx, wrong, 401, "authentication_error")
    right = await caller.send("POST", "", body, headers=(*bare, ("x-api-key", url.key)))
    ctx.equal(right.status, 200, "status with the right key in x-api-key")


# ---- effects ----


@check("ANT69")
async def hot_answers_differ(ctx: Context) -> None:
    await a_hot_answer_differs(ctx, temperature=1)


@check("ANT70")
async def a_stop_sequence_ends_the_answer(ctx: Context) -> None:
    caller = Caller(ctx)
    base = caller.body()
    text = (await caller.ask(base)).text
    if len(text) < 4:
        ctx.unclear(f"the greedy answer {text!r} is too short to stop within")
    stop = text[len(text) // 2 :][:3]
    for answer in (
        await caller.ask({**base, "stop_sequences": ["\u2603\u2603", stop]}),
        await caller.stream({**base, "stop_sequences": [stop]}),
    ):
        ctx.equal(answer.text, text[: text.find(stop)], "the text before the stop sequence")
        seen = [answer.raw.get(name) for name in ("stop_reason", "stop_sequence")]
        ctx.equal(seen, ["stop_sequence", stop], "stop_reason and stop_sequence")


# ---- streams ----


def _of(sample: Sample, *types: str) -> list[Event]:
    return [event for event in sample.events if event.type in types]


@law("ANT71")
def names_are_types(sample: Sample) -> str | None:
    return first(f"event {event.name!r} has type {event.type!r}" for event in sample.events if event.name != event.type)


@law("ANT72")
def a_stream_begins(sample: Sample) -> str | None:
    begun = sample.events[0]
    message = begun.data.get("message") or {}
    is_empty = message.get("content") == [] and message.get("stop_reason") is None
    if begun.type != "message_start" or not is_empty or not isinstance(message["usage"].get("input_tokens"), int):
        return f"the first event is {str(begun.data)[:200]}"
    return None if len(_of(sample, "message_start")) == 1 else "message_start comes more than once"


@law("ANT73")
def a_stream_ends(sample: Sample) -> str | None:
    types = [event.type for event in sample.events if event.type != "ping"]
    if types[-2:] != ["message_delta", "message_stop"] or types.count("message_delta") != 1:
        return f"the last events are {types[-3:]}"
    reason = _of(sample, "message_delta")[0].data["delta"].get("stop_reason")
    return None if reason else "message_delta has no stop_reason"


@law("ANT74")
def blocks_nest(sample: Sample) -> str | None:
    return first(_problems_of_blocks(sample))


def _problems_of_blocks(sample: Sample) -> Iterator[str]:
    opened: int | None = None
    count = 0
    for event in _of(sample, "content_block_start", "content_block_delta", "content_block_stop"):
        at = event.data.get("index")
        if event.type == "content_block_start":
            if opened is not None or at != count:
                yield f"block {at!r} begins where block {count} should, {opened!r} being open"
            opened, count = at, count + 1
        elif at != opened:
            yield f"{event.type} of block {at!r} while {opened!r} is open"
        elif event.type == "content_block_stop":
            opened = None
    if opened is not None or not count:
        yield f"of {count} blocks the last does not end"


@law("ANT75")
def deltas_are_of_their_block(sample: Sample) -> str | None:
    kinds = {e.data["index"]: e.data["content_block"]["type"] for e in _of(sample, "content_block_start")}
    return first(
        f"a {event.data['delta'].get('type')} in a block of {kinds[event.data['index']]}"
        for event in _of(sample, "content_block_delta")
        if event.data["delta"].get("type") not in (_DELTAS.get(kinds[event.data["index"]]), "signature_delta")
    )


@law("ANT76")
def blocks_begin_empty(sample: Sample) -> str | None:
    begun = [event.data["content_block"] for event in _of(sample, "content_block_start")]
    return first(f"a block begins as {str(each)[:200]}" for each in begun if not _is_empty(each))


def _is_empty(block: Json) -> bool:
    if block.get("type") == "tool_use":
        return bool(block.get("id") and block.get("name")) and block.get("input") == {}
    return not block.get("text") and not block.get("thinking")


@law("ANT77")
def streamed_is_whole(sample: Sample) -> str | None:
    message, blocks, _ = folded(sample.events)
    whole = _essence(sample.raw, sample.raw["content"])
    streamed = _essence(message, blocks)
    return None if whole == streamed else f"whole: {str(whole)[:300]}, streamed: {str(streamed)[:300]}"


def _essence(message: Json, blocks: Json) -> Json:
    dropped = ("id", "signature")
    plain = [{k: v for k, v in block.items() if k not in dropped and v is not None} for block in blocks]
    return message.get("stop_reason"), message.get("stop_sequence"), plain


@law("ANT78")
def streamed_counts_are_the_whole_answers(sample: Sample) -> str | None:
    told = _of(sample, "message_delta")[0].data["usage"].get("output_tokens")
    whole = sample.answer.completion_tokens
    prompt = sample.streamed.prompt_tokens
    same = told == whole and prompt == sample.answer.prompt_tokens
    return None if same else f"message_delta tells {told} of {whole}; the prompt has {prompt} tokens streamed"


@law("ANT79", "call")
def pieces_make_up_json(sample: Sample) -> str | None:
    pieces = [event.data["delta"].get("partial_json", "") for event in _of(sample, "content_block_delta")]
    given = msgspec.json.decode("".join(pieces))
    inputs = [block["input"] for block in sample.raw["content"] if block.get("type") == "tool_use"]
    return None if [given] == inputs else f"the pieces make up {given!r}, the whole answer has {inputs}"


@check("ANT80")
async def nothing_follows_the_last_event(ctx: Context) -> None:
    caller = Caller(ctx)
    reply = await caller.post(caller.body(stream=True))
    ctx.equal(reply.status, 200, "status")
    ctx.require(b"[DONE]" not in reply.body, "a stream without [DONE]", reply.body[-80:])


@check("ANT81")
async def an_error_before_the_stream_has_its_status(ctx: Context) -> None:
    caller = Caller(ctx)
    _require_error(ctx, await caller.post(caller.body(stream=True, temperature=7)), 400, "invalid_request_error")


# ---- counting ----


async def _require_counted(ctx: Context, **fields: Json) -> None:
    caller = Caller(ctx)
    body = caller.body(**fields)
    asked = {name: value for name, value in body.items() if name not in ("max_tokens", "temperature")}
    reply = await caller.send("POST", "/count_tokens", ctx.url.encode(asked))
    ctx.equal(reply.status, 200, "status of count_tokens")
    answer = await caller.ask(body)
    ctx.equal(reply.json(), {"input_tokens": answer.prompt_tokens}, "the answer of count_tokens")


@check("ANT82")
async def tokens_are_counted(ctx: Context) -> None:
    await _require_counted(ctx)


@check("ANT83")
async def system_and_tools_are_counted(ctx: Context) -> None:
    nonce = ctx.nonce()
    await _require_counted(ctx, system=f"Always speak of {nonce}.")
    if ctx.has("tools"):
        await _require_counted(ctx, tools=[tool(nonce)], tool_choice={"type": "none"})


@check("ANT84")
async def what_cannot_be_counted_is_refused(ctx: Context) -> None:
    caller = Caller(ctx)
    wrong: tuple[Body, ...] = ({}, {"messages": []}, {"messages": [{"role": "narrator", "content": "Hi"}]})
    for fields in wrong:
        reply = await caller.send("POST", "/count_tokens", ctx.url.encode(fields))
        _require_error(ctx, reply, 400, "invalid_request_error")
        told = str(reply.json()["error"]["message"])
        ctx.require("messages" in told or "role" in told, "a message that names messages", told)

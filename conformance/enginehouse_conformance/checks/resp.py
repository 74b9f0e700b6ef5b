"""RESP: what holds of every response, and what of requests is no data of a rule."""

from __future__ import annotations

import time
from collections.abc import Iterator

from enginehouse_conformance.answer import Json
from enginehouse_conformance.context import Context
from enginehouse_conformance.endpoints.caller import Caller
from enginehouse_conformance.endpoints.laws import Made, Sample, first, law, samples
from enginehouse_conformance.primitives import require_error_form
from enginehouse_conformance.registry import check

from .cases import require_same
from .endpoint_parts import a_hot_answer_differs, broken_bodies_are_refused, ids_differ, unknown_field_is_told

_KEYS = ("id", "object", "created_at", "status", "model", "output", "usage", "error", "incomplete_details")
_CLOCK_SKEW_S = 3600


def function(nonce: str) -> Json:
    """A function whose only arguments hold *nonce*."""
    properties = {"q": {"type": "string", "enum": [nonce]}}
    parameters = {"type": "object", "properties": properties, "required": ["q"], "additionalProperties": False}
    return {"type": "function", "name": f"look_up_{nonce}", "parameters": parameters, "strict": True}


def word(nonce: str) -> Json:
    """A form of text whose only value holds *nonce*."""
    schema = {"type": "object", "properties": {"v": {"const": nonce}}, "required": ["v"], "additionalProperties": False}
    return {"format": {"type": "json_schema", "name": "word", "schema": schema, "strict": True}}


samples("responses", {
    "end": Made(lambda nonce: {"max_output_tokens": 12, "instructions": f"Speak of {nonce}."}),
    "word": Made(lambda nonce: {"text": word(nonce), "max_output_tokens": 64}, ("json_schema",)),
    "call": Made(
        lambda nonce: {
            "tools": [function(nonce)], "tool_choice": "required", "parallel_tool_calls": False,
            "max_output_tokens": 96,
        },
        ("tools", "tool_choice_required", "parallel_tool_calls"),
    ),
})  # fmt: skip


def is_whole(sample: Sample) -> bool:
    """Whether the limit did not cut it."""
    return sample.raw.get("status") == "completed"


# ---- the envelope ----


@check("RESP1")
async def minimal_request_is_answered(ctx: Context) -> None:
    reply = await Caller(ctx).post({"input": "Say hello."})
    ctx.equal(reply.status, 200, "status")
    missing = [key for key in _KEYS if key not in reply.json()]
    ctx.require(not missing, f"a response with {', '.join(_KEYS)}", f"without {', '.join(missing)}")


@law("RESP2")
def object_is_response(sample: Sample) -> str | None:
    return None if sample.raw.get("object") == "response" else f"object is {sample.raw.get('object')!r}"


@check("RESP3")
async def ids_are_different(ctx: Context) -> None:
    await ids_differ(ctx, lambda event: (event.data.get("response") or {}).get("id"))


@law("RESP4")
def created_near_now(sample: Sample) -> str | None:
    created = sample.raw.get("created_at")
    if isinstance(created, bool) or not isinstance(created, int | float):
        return f"created_at is {created!r}"
    return None if abs(time.time() - created) < _CLOCK_SKEW_S else f"created_at is {created!r}"


@law("RESP5", "word", "call")
def a_whole_answer_is_completed(sample: Sample) -> str | None:
    seen = [sample.raw.get(name) for name in ("status", "error", "incomplete_details")]
    return None if seen == ["completed", None, None] else f"status, error and incomplete_details are {seen}"


@law("RESP6", "end")
def a_cut_answer_is_incomplete(sample: Sample) -> str | None:
    if is_whole(sample) and sample.answer.completion_tokens < 12:
        return None
    seen = [sample.raw.get(name) for name in ("status", "incomplete_details")]
    return None if seen == ["incomplete", {"reason": "max_output_tokens"}] else f"status and details are {seen}"


@law("RESP7", "end", "word")
def a_message_has_its_form(sample: Sample) -> str | None:
    return first(_problems_of_messages(sample.raw["output"]))


def _problems_of_messages(items: list[Json]) -> Iterator[str]:
    messages = [item for item in items if item.get("type") == "message"]
    if not messages:
        yield "no item is a message"
    for item in messages:
        if item.get("role") != "assistant" or "status" not in item or not item.get("content"):
            yield f"a message is {str(item)[:200]}"
        for part in item.get("content") or ():
            is_text = part.get("type") == "output_text" and isinstance(part.get("text"), str)
            if not is_text or not isinstance(part.get("annotations"), list):
                yield f"a part is {str(part)[:200]}"


@law("RESP8")
def items_have_their_status(sample: Sample) -> str | None:
    seen = [item.get("status") for item in sample.raw["output"]]
    last = "completed" if is_whole(sample) else "incomplete"
    expected = ["completed"] * (len(seen) - 1) + [last]
    return None if seen == expected else f"the items' status is {seen}, of the response {sample.raw.get('status')}"


@law("RESP9")
def items_have_ids(sample: Sample) -> str | None:
    ids = [item.get("id") for item in sample.raw["output"]]
    good = all(isinstance(each, str) and each for each in ids) and len(set(ids)) == len(ids)
    return None if good else f"ids of items are {ids}"


@law("RESP10")
def the_model_is_named(sample: Sample) -> str | None:
    return None if sample.raw.get("model") == sample.model else f"model is {sample.raw.get('model')!r}"


# ---- counts ----


@law("RESP11")
def the_total_is_the_sum(sample: Sample) -> str | None:
    usage = sample.raw["usage"]
    adds_up = usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] and usage["output_tokens"] > 0
    return None if adds_up else f"usage is {usage}"


@law("RESP12")
def details_are_part_of_the_counts(sample: Sample) -> str | None:
    usage = sample.answer.usage
    if usage is None:
        return "there is no usage"
    pairs = ((usage.cached_tokens, usage.prompt_tokens), (usage.reasoning_tokens, usage.completion_tokens))
    return None if all(0 <= (part or 0) <= (of or 0) for part, of in pairs) else f"usage is {sample.raw['usage']}"


@law("RESP13")
def the_limit_holds(sample: Sample) -> str | None:
    count, limit = sample.answer.completion_tokens, sample.body["max_output_tokens"]
    holds = count <= limit and (is_whole(sample) or count == limit)
    return None if holds else f"{count} tokens of at most {limit}, status {sample.raw.get('status')}"


@law("RESP14", "call")
def a_call_has_its_form(sample: Sample) -> str | None:
    (tool,) = sample.body["tools"]
    calls = [item for item in sample.raw["output"] if item.get("type") == "function_call"]
    if not calls:
        return "no item is a function_call"
    for item in calls:
        is_named = item.get("name") == tool["name"] and item.get("call_id") and item.get("id")
        if not is_named or not isinstance(item.get("arguments"), str):
            return f"a call is {str(item)[:200]}"
    return first(f"arguments are {call.arguments!r}" for call in sample.answer.calls if not _is_json(call.arguments))


def _is_json(text: str) -> bool:
    return text.startswith("{") and text.rstrip().endswith("}")


@law("RESP15")
def the_end_has_a_time(sample: Sample) -> str | None:
    created, ended = sample.raw["created_at"], sample.raw.get("completed_at")
    if sample.raw.get("status") != "completed":
        return None
    return None if isinstance(ended, int | float) and int(ended) >= int(created) else f"completed_at is {ended!r}"


# ---- requests ----


@check("RESP66")
async def broken_bodies(ctx: Context) -> None:
    await broken_bodies_are_refused(ctx)


@check("RESP67")
async def an_unknown_field_is_told(ctx: Context) -> None:
    await unknown_field_is_told(ctx)


@check("RESP68")
async def errors_have_their_form(ctx: Context) -> None:
    reply = await Caller(ctx).post({"input": 7})
    require_error_form(ctx, reply)


# ---- effects ----


@check("RESP82")
async def logprobs_are_as_on_chat(ctx: Context) -> None:
    caller = Caller(ctx)
    prompt = ctx.topic()
    body = caller.body(prompt, include=["message.output_text.logprobs"], top_logprobs=2)
    chat = ctx.body(prompt, temperature=0, logprobs=True, top_logprobs=2)
    answer, expected = await caller.ask(body), await ctx.ask(chat)
    await require_same(ctx, answer, expected, lambda: ctx.ask(chat), "the answer")
    seen = [(entry.token, len(entry.top)) for entry in answer.logprobs]
    ctx.equal(seen, [(entry.token, len(entry.top)) for entry in expected.logprobs], "tokens and alternatives")
    plain = await caller.ask(caller.body(prompt))
    ctx.require(plain.first.logprobs is None, "no log probabilities that nobody asked for", plain.first.logprobs)


@check("RESP83")
async def hot_answers_differ(ctx: Context) -> None:
    await a_hot_answer_differs(ctx, temperature=2)

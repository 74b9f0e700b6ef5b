"""RESP, streams: the grammar of events, and what they add up to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from enginehouse_conformance.answer import Json
from enginehouse_conformance.context import Context
from enginehouse_conformance.endpoints import Event
from enginehouse_conformance.endpoints.caller import Caller
from enginehouse_conformance.endpoints.laws import Sample, first, law
from enginehouse_conformance.endpoints.responses import LAST, last
from enginehouse_conformance.registry import check

_ADDED, _DONE = "response.output_item.added", "response.output_item.done"
_PART_ADDED, _PART_DONE = "response.content_part.added", "response.content_part.done"
_TEXT, _TEXT_DONE = "response.output_text.delta", "response.output_text.done"
_CALL, _CALL_DONE = "response.function_call_arguments.delta", "response.function_call_arguments.done"
_OF_PARTS = (_PART_ADDED, _TEXT, _TEXT_DONE, _PART_DONE)
_OF_ITEMS = (*_OF_PARTS, _CALL, _CALL_DONE)


def _all(events: Sequence[Event], *types: str) -> list[Event]:
    return [event for event in events if event.type in types]


@law("RESP87")
def names_are_types(sample: Sample) -> str | None:
    return first(f"event {event.name!r} has type {event.type!r}" for event in sample.events if event.name != event.type)


@law("RESP88")
def events_are_numbered(sample: Sample) -> str | None:
    numbers = [event.data.get("sequence_number") for event in sample.events]
    return None if numbers == list(range(len(numbers))) else f"sequence numbers are {numbers}"


@law("RESP89")
def a_stream_begins(sample: Sample) -> str | None:
    opening = sample.events[:2]
    types = [event.type for event in opening]
    if types != ["response.created", "response.in_progress"]:
        return f"the first events are {types}"
    states = [event.data.get("response") or {} for event in opening]
    bad = [state for state in states if (state.get("status"), state.get("output")) != ("in_progress", [])]
    return f"a response that begins is {str(bad[0])[:200]}" if bad else None


@law("RESP90")
def a_stream_ends(sample: Sample) -> str | None:
    types = [event.type for event in sample.events]
    ends = [at for at, kind in enumerate(types) if kind in LAST]
    if ends != [len(types) - 1]:
        return f"the ends among {len(types)} events are at {ends}, the last is {types[-1]!r}"
    expected = "response." + str(last(sample.events).get("status"))
    cut = sample.streamed.completion_tokens == sample.body["max_output_tokens"] and sample.name == "end"
    if cut and types[-1] != "response.incomplete":
        return f"an answer that the limit cut ends with {types[-1]!r}"
    return None if types[-1] == expected else f"{types[-1]!r} holds status {expected!r}"


@law("RESP91")
def items_nest(sample: Sample) -> str | None:
    marks = [(event.type, event.data.get("output_index")) for event in _all(sample.events, _ADDED, _DONE)]
    expected = [(kind, at) for at in range(len(marks) // 2) for kind in (_ADDED, _DONE)]
    return None if marks and marks == expected else f"items begin and end so: {marks}"


@law("RESP92", "end", "word")
def parts_nest(sample: Sample) -> str | None:
    return first(_problems_of_parts(sample.events))


def _problems_of_parts(events: Sequence[Event]) -> Iterator[str]:
    is_message = in_part = False
    parts = 0
    for event in events:
        match event.type:
            case "response.output_item.added":
                is_message = event.data["item"].get("type") == "message"
            case "response.content_part.added" if is_message:
                if in_part:
                    yield "a part begins inside another"
                in_part = True
                parts += 1
            case "response.output_text.delta" | "response.output_text.done" if not in_part:
                yield f"{event.type} stands outside a part"
            case "response.content_part.done" if is_message:
                if not in_part:
                    yield "a part ends that has not begun"
                in_part = False
            case "response.output_item.done" if is_message and in_part:
                yield "an item ends before its part"
    if not parts:
        yield "no part begins"


@law("RESP93")
def events_name_their_item(sample: Sample) -> str | None:
    ids = {event.data.get("output_index"): event.data["item"].get("id") for event in _all(sample.events, _ADDED)}
    return first(
        f"{event.type} names {event.data.get('item_id')!r} at {event.data.get('output_index')!r}, items are {ids}"
        for event in _all(sample.events, *_OF_ITEMS)
        if ids.get(event.data.get("output_index")) != event.data.get("item_id")
        or (event.type in _OF_PARTS and event.data.get("content_index") != 0)
    )


@law("RESP94", "end", "word")
def deltas_make_up_the_text(sample: Sample) -> str | None:
    text = "".join(event.data.get("delta", "") for event in _all(sample.events, _TEXT))
    told = [event.data.get("text") for event in _all(sample.events, _TEXT_DONE)]
    told += [event.data["part"].get("text") for event in _all(sample.events, _PART_DONE) if _is_text(event)]
    told += [_text_of(event.data["item"]) for event in _all(sample.events, _DONE) if _is_message(event)]
    return None if len(told) == 3 and set(told) == {text} else f"deltas make up {text!r}, ends tell {told}"


def _is_text(event: Event) -> bool:
    return bool(event.data["part"].get("type") == "output_text")


def _is_message(event: Event) -> bool:
    return bool(event.data["item"].get("type") == "message")


def _text_of(item: Json) -> str:
    return "".join(part.get("text", "") for part in item.get("content") or ())


@law("RESP95", "call")
def deltas_make_up_the_arguments(sample: Sample) -> str | None:
    made = [call.arguments for call in sample.streamed.calls]
    told = [event.data.get("arguments") for event in _all(sample.events, _CALL_DONE)]
    ended = [event.data["item"].get("arguments") for event in _calls(sample.events, _DONE)]
    return None if made and made == told == ended else f"deltas make up {made}, ends tell {told} and {ended}"


def _calls(events: Sequence[Event], kind: str) -> list[Event]:
    return [event for event in _all(events, kind) if event.data["item"].get("type") == "function_call"]


@law("RESP96", "call")
def a_call_begins_with_its_name(sample: Sample) -> str | None:
    begun = [event.data["item"] for event in _calls(sample.events, _ADDED)]
    names = {tool["name"] for tool in sample.body["tools"]}
    bad = [each for each in begun if each.get("name") not in names or not each.get("call_id") or each.get("arguments")]
    return None if begun and not bad else f"calls begin as {bad or begun}"


@law("RESP97")
def the_output_is_what_the_items_were(sample: Sample) -> str | None:
    items = [event.data["item"] for event in _all(sample.events, _DONE)]
    output = last(sample.events).get("output")
    return None if output == items else f"output is {str(output)[:300]}, the items were {str(items)[:300]}"


@law("RESP98")
def streamed_is_whole(sample: Sample) -> str | None:
    whole, streamed = _without_ids(sample.raw), _without_ids(last(sample.events))
    return None if whole == streamed else f"whole: {str(whole)[:300]}, streamed: {str(streamed)[:300]}"


def _without_ids(raw: Json) -> Json:
    dropped = ("id", "call_id", "encrypted_content")
    items = [{name: value for name, value in item.items() if name not in dropped} for item in raw["output"]]
    return raw.get("status"), raw.get("incomplete_details"), items


@law("RESP99")
def usage_comes_with_the_last_event(sample: Sample) -> str | None:
    early = [event.type for event in sample.events[:-1] if (event.data.get("response") or {}).get("usage")]
    if early:
        return f"usage comes with {early}"
    ended = sample.streamed.usage
    whole = sample.answer.usage
    if ended is None or whole is None:
        return "the last event has no usage"
    same = (ended.prompt_tokens, ended.completion_tokens) == (whole.prompt_tokens, whole.completion_tokens)
    return None if same else f"usage is {ended}, of the whole answer {whole}"


@law("RESP100")
def items_begin_empty(sample: Sample) -> str | None:
    begun = [event.data["item"] for event in _all(sample.events, _ADDED)]
    return first(
        f"an item begins as {str(item)[:200]}"
        for item in begun
        if item.get("status") != "in_progress" or item.get("content") or item.get("summary") or item.get("arguments")
    )


@check("RESP101")
async def nothing_follows_the_last_event(ctx: Context) -> None:
    caller = Caller(ctx)
    reply = await caller.post(caller.body(stream=True))
    ctx.equal(reply.status, 200, "status")
    ctx.require(b"[DONE]" not in reply.body, "a stream without [DONE]", reply.body[-80:])


@law("RESP102", "end", "word")
def events_of_text_have_logprobs(sample: Sample) -> str | None:
    texts = _all(sample.events, _TEXT, _TEXT_DONE)
    return first(f"{e.type} has logprobs {e.data.get('logprobs')!r}" for e in texts if not _is_list(e, "logprobs"))


def _is_list(event: Event, name: str) -> bool:
    return isinstance(event.data.get(name), list)


@check("RESP103")
async def an_error_before_the_stream_has_its_status(ctx: Context) -> None:
    caller = Caller(ctx)
    await caller.refused(caller.body(stream=True, temperature=7), "temperature")

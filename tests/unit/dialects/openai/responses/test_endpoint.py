"""The endpoint of Responses: from a body to a call, and what is kept for whom."""

from __future__ import annotations

import json
from typing import Any

import pytest

from enginehouse.config import ResponsesConfig
from enginehouse.dialects.endpoint import Call
from enginehouse.dialects.openai.responses import stored
from enginehouse.dialects.openai.responses.endpoint import ResponsesEndpoint
from enginehouse.dialects.openai.responses.examples import REQUESTS
from enginehouse.dialects.openai.responses.kept import Kept, KeptResponses, ResponseNotFound
from enginehouse_plugin import (
    AnyEvent,
    AssistantMessage,
    Chat,
    DeveloperMessage,
    Finished,
    NamedTool,
    Profile,
    ReasoningDelta,
    Started,
    SystemMessage,
    TextDelta,
    TextPart,
    ToolCallDelta,
    ToolMessage,
    UsageReport,
    UserMessage,
)
from enginehouse_plugin.errors import EnginehouseError, InvalidRequest, UnsupportedFeature

from .bad_requests import BAD_REQUESTS, BadRequest

PLAIN: list[AnyEvent] = [Started(7), TextDelta(0, "Hi", 1), Finished(0, "stop"), UsageReport(7, 1)]


def kept(**fields: Any) -> KeptResponses:
    return KeptResponses(ResponsesConfig(**fields))


def endpoint(**fields: Any) -> ResponsesEndpoint:
    return ResponsesEndpoint(Profile(name="openai"), **{"kept": kept(), **fields})


def called(of: ResponsesEndpoint | None = None, key: str = "k", **fields: Any) -> Call:
    body = json.dumps({"model": "m", "input": "Hi", **fields}).encode()
    return (of or endpoint()).decode(body, "req-1", {}, key)


def messages_of(call: Call) -> tuple[Any, ...]:
    assert isinstance(call.request.prompt, Chat)
    return call.request.prompt.messages


def answered(call: Call, events: list[AnyEvent] = PLAIN) -> dict[str, Any]:
    """The response to *call*, whole or at the end of its stream."""
    body = call.encoder.events(events) + call.encoder.end()
    if call.encoder.is_stream:
        *_, last = body.decode().strip().split("\n\n")
        found: dict[str, Any] = json.loads(last.split("data: ")[1])["response"]
        return found
    whole: dict[str, Any] = json.loads(body)
    return whole


@pytest.mark.parametrize("bad", BAD_REQUESTS, ids=lambda bad: bad.name)
def test_a_bad_request_is_refused_by_its_field(bad: BadRequest) -> None:
    with pytest.raises(EnginehouseError) as caught:
        endpoint().decode(bad.body, "r", {}, "k")
    reply = endpoint().errors.describe(caught.value)
    error = json.loads(reply.body)["error"]
    assert (reply.status, error["param"], error["code"]) == (400, bad.param, bad.code)
    assert error["message"]


def test_there_are_enough_bad_requests() -> None:
    assert len(BAD_REQUESTS) >= 40


@pytest.mark.parametrize("name", REQUESTS)
def test_an_example_decodes(name: str) -> None:
    endpoint().decode(json.dumps(REQUESTS[name]).encode(), "r")


# ---- what the model is asked ----


def test_instructions_and_leading_rules_are_one_system_message() -> None:
    rule = {"role": "developer", "content": "Be brief."}
    later = {"type": "message", "role": "developer", "content": "Now in French."}
    user = {"role": "user", "content": "Hi"}
    assert messages_of(called(instructions="You help.", input=[rule, user, later])) == (
        SystemMessage("You help.\n\nBe brief."),
        UserMessage("Hi"),
        DeveloperMessage("Now in French."),
    )
    assert messages_of(called(input=[rule, user])) == (DeveloperMessage("Be brief."), UserMessage("Hi"))


def test_a_turn_of_the_assistant_is_one_message() -> None:
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm"}]},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Look", "annotations": []}],
        },
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "custom_tool_call", "call_id": "c2", "name": "g", "input": "x"},
        {"type": "function_call_output", "call_id": "c1", "output": "1"},
        {"type": "custom_tool_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "2"}]},
        {"role": "assistant", "content": "Done."},
    ]
    user, turn, first, second, last = messages_of(called(input=items))
    assert user == UserMessage((TextPart("a"), TextPart("b")))
    assert isinstance(turn, AssistantMessage)
    assert (turn.content, turn.reasoning_content) == ("Look", "Hm")
    assert turn.tool_calls is not None
    assert [(call.id, call.function.arguments) for call in turn.tool_calls] == [("c1", "{}"), ("c2", '{"input":"x"}')]
    assert (first, second) == (ToolMessage("1", "c1"), ToolMessage("2", "c2"))
    assert last == AssistantMessage("Done.")


def test_fields_become_what_an_instance_is_asked() -> None:
    function = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}
    call = called(
        temperature=0,
        max_output_tokens=5,
        tools=[function, {"type": "custom", "name": "g", "format": {"type": "text"}}],
        tool_choice={"type": "custom", "name": "g"},
        parallel_tool_calls=False,
        reasoning={"effort": "low"},
        include=["message.output_text.logprobs"],
        top_logprobs=3,
        text={"format": {"type": "json_object"}},
    )
    request = call.request
    assert (request.temperature, request.max_tokens, request.top_logprobs, request.logprobs) == (0, 5, 3, True)
    assert request.tool_choice == NamedTool("g")
    assert [(tool.name, tool.strict) for tool in request.tools] == [("f", True), ("g", False)]
    assert request.reasoning_effort == "low"
    assert request.output is not None
    assert request.parallel_tool_calls is False
    assert {"temperature", "max_tokens", "tools", "logprobs"} <= set(call.said)


def test_only_allowed_tools_are_given() -> None:
    tools = [{"type": "function", "name": name, "parameters": None} for name in ("f", "g")]
    choice = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}]}
    request = called(tools=tools, tool_choice=choice).request
    assert ([tool.name for tool in request.tools], request.tool_choice) == (["g"], "required")


# ---- what is left out ----


def test_what_only_a_cloud_has_is_left_out_and_named_or_refused() -> None:
    fields: dict[str, Any] = {
        "tools": [{"type": "web_search", "filters": {"a": 1}}, {"type": "namespace", "name": "n", "tools": []}],
        "input": [{"role": "user", "content": "Hi"}, {"type": "web_search_call", "id": "ws_1", "status": "completed"}],
        "truncation": "auto",
        "service_tier": "priority",
        "reasoning": {"summary": "concise"},
        "moderation": {"model": "x"},
    }
    places = ("tools[0].web_search", "tools[1].namespace", "truncation", "service_tier", "reasoning.summary",
              "moderation", "input[].web_search_call")  # fmt: skip
    call = called(**fields)
    assert set(places) <= set(call.ignored)
    assert call.request.tools == ()
    assert call.is_lenient
    strict = endpoint(unsupported="refuse", unknown_fields="refuse")
    for name, value in fields.items():
        with pytest.raises(InvalidRequest) as caught:
            called(strict, **{name: value})
        assert (caught.value.param or "").startswith(name)
    with pytest.raises(InvalidRequest, match="made_up"):
        called(strict, made_up=1)
    assert called(made_up=1).ignored == ("made_up",)


def test_errors_name_the_fields_of_this_endpoint() -> None:
    describe = endpoint().errors.describe
    for param, own in (
        ("response_format", "text.format"),
        ("reasoning_effort", "reasoning.effort"),
        ("messages[3].content[0].type", "input"),
        ("tools[0].function.parameters", "tools[0].parameters"),
        ("max_tokens", "max_output_tokens"),
    ):
        told = json.loads(describe(UnsupportedFeature("x", param=param)).body)["error"]
        assert told["param"] == own
        assert f"'{own}'" in told["message"]


# ---- what is kept ----


def test_a_conversation_goes_on_from_a_kept_response() -> None:
    of = endpoint()
    called_f: list[AnyEvent] = [
        Started(1),
        ReasoningDelta(0, "Hm", 1),
        ToolCallDelta(0, 0, 2, "c1", "f", "{}"),
        Finished(0, "tool_calls"),
        UsageReport(1, 2),
    ]
    first = answered(called(of, instructions="Only once.", stream=True), called_f)
    result = {"type": "function_call_output", "call_id": "c1", "output": "1"}
    second = called(of, previous_response_id=first["id"], input=[result])
    user, turn, output = messages_of(second)
    assert (user, output) == (UserMessage("Hi"), ToolMessage("1", "c1"))
    assert turn.reasoning_content == "Hm"
    third = called(of, previous_response_id=answered(second)["id"])
    assert [type(message) for message in messages_of(third)] == [
        UserMessage, AssistantMessage, ToolMessage, AssistantMessage, UserMessage,
    ]  # fmt: skip
    # a reference stands for an item of a kept response
    (reasoning, call) = first["output"]
    items = [
        {"role": "user", "content": "Hi"},
        {"type": "item_reference", "id": reasoning["id"]},
        {"id": call["id"]},
        result,
    ]
    assert messages_of(called(of, input=items)) == (user, turn, output)


def test_nobody_reads_what_another_key_keeps() -> None:
    of = endpoint()
    first = answered(called(of, key="alice"))
    for fields in ({"previous_response_id": first["id"]}, {"input": [{"id": first["output"][0]["id"]}]}):
        called(of, key="alice", **fields)
        with pytest.raises(InvalidRequest):
            called(of, key="bob", **fields)


def test_nothing_is_kept_unless_it_is_wanted() -> None:
    keeps, off = kept(), kept(store="off")
    of = endpoint(kept=keeps)
    assert answered(called(of, store=False))["store"] is False
    assert len(keeps) == 0
    assert answered(called(of))["store"] is True
    assert len(keeps) == 1
    none = endpoint(kept=off)
    assert answered(called(none))["store"] is False
    assert called(none, store=True).ignored == ("store",)
    for field in ({"previous_response_id": "resp_1"}, {"background": True}):
        with pytest.raises(InvalidRequest, match="no responses are kept"):
            called(none, **field)


def test_reasoning_that_a_client_carries_is_known_again() -> None:
    of = endpoint()
    events: list[AnyEvent] = [ReasoningDelta(0, "Secret", 1), *PLAIN[1:]]
    answer = answered(called(of, store=False, include=["reasoning.encrypted_content"]), events)
    reasoning, message = answer["output"]
    carried = {"type": "reasoning", "summary": [], "encrypted_content": reasoning["encrypted_content"]}
    user = {"role": "user", "content": "And?"}
    _, turn, _ = messages_of(called(of, input=[user, carried, message, user]))
    assert turn.reasoning_content == "Secret"
    foreign = called(endpoint(), input=[user, carried, message, user])
    assert messages_of(foreign)[1].reasoning_content is None
    assert foreign.ignored == ("input[].encrypted_content",)


def test_a_response_in_the_background_is_kept_at_each_state() -> None:
    keeps = kept()
    of = endpoint(kept=keeps)
    ended: list[str] = []
    call = called(of, background=True)
    assert call.detached is not None
    begun = json.loads(call.detached(lambda: ended.append("first")))
    assert begun["status"] == "queued"
    shown = json.loads(stored.show(keeps, begun["id"], "k", b""))
    assert shown["status"] == "in_progress"
    with pytest.raises(InvalidRequest, match="not ended"):
        called(of, previous_response_id=begun["id"])
    assert answered(call)["id"] == begun["id"]
    assert json.loads(stored.cancel(keeps, begun["id"], "k"))["status"] == "completed"
    second = called(of, background=True)
    assert second.detached is not None
    other = json.loads(second.detached(lambda: ended.append("second")))
    assert json.loads(stored.cancel(keeps, other["id"], "k"))["status"] == "cancelled"
    failed = called(of, background=True)
    assert failed.detached is not None
    third = json.loads(failed.detached(lambda: ended.append("third")))
    failed.encoder.fail(RuntimeError("x"))
    assert json.loads(stored.show(keeps, third["id"], "k", b""))["status"] == "failed"
    assert ended == ["second"]


def test_what_a_response_was_made_of_is_listed_in_pages() -> None:
    keeps = kept()
    of = endpoint(kept=keeps)
    first = answered(called(of, input=[{"role": "user", "content": f"{at}"} for at in range(3)]))
    second = answered(called(of, previous_response_id=first["id"], input="4"))
    page = json.loads(stored.list_items(keeps, second["id"], "k", b"order=asc&limit=2"))
    assert [item["content"][0]["text"] for item in page["data"]] == ["0", "1"]
    assert page["has_more"]
    rest = json.loads(stored.list_items(keeps, second["id"], "k", f"order=asc&after={page['last_id']}".encode()))
    assert [item["content"][0]["text"] for item in rest["data"]] == ["2", "Hi", "4"]
    assert not rest["has_more"]
    for query in (b"limit=0", b"limit=x", b"order=up", b"after=nobody", b"page=2"):
        with pytest.raises(InvalidRequest):
            stored.list_items(keeps, second["id"], "k", query)


def test_the_store_is_bounded_in_number_bytes_and_time() -> None:
    now = [0.0]

    def entry(name: str, *items: bytes) -> Kept:
        return Kept(id=name, key="k", body=b"x" * 100, items=items, status="completed")

    store = KeptResponses(ResponsesConfig(max_responses=2, ttl_s=10), lambda: now[0])
    shared = b"y" * 1000
    store.put(entry("a", shared))
    alone = store.held_bytes
    store.put(entry("b", shared, b"z" * 10))
    assert store.held_bytes == 2 * alone - 1000 + 10  # what both hold counts once
    store.put(entry("c"))
    with pytest.raises(ResponseNotFound):
        store.get("a", "k")
    assert len(store) == 2
    now[0] = 11
    with pytest.raises(ResponseNotFound):
        store.get("c", "k")
    store.put(entry("d"))
    assert len(store) == 1
    store.delete("d", "k")
    assert (len(store), store.held_bytes) == (0, 0)
    store.follow(ResponsesConfig(max_bytes=1))
    store.put(entry("e"))
    assert (len(store), store.held_bytes) == (0, 0)

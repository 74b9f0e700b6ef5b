"""What was answered can be sent back, as it came and as clients put it together."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from openai.types.chat import ChatCompletion

from enginehouse.dialects.openai.chat.endpoint import ChatEndpoint
from enginehouse_plugin import Profile
from enginehouse_plugin import request as contract
from enginehouse_plugin.events import AnyEvent

from .test_encode import answers, assembled, streamed, whole


def replayed(message: dict[str, Any]) -> contract.AssistantMessage:
    """What an instance sees of *message* when it is sent back, each call followed by its result."""
    results = [
        {"role": "tool", "content": "ok", "tool_call_id": call["id"]} for call in message.get("tool_calls") or ()
    ]
    user = {"role": "user", "content": "Hi"}
    body = json.dumps({"model": "m", "messages": [user, message, *results, user]}).encode()
    prompt = ChatEndpoint(Profile(name="openai")).decode(body, "r").request.prompt
    assert isinstance(prompt, contract.Chat)
    handed_on = msgspec.json.encode(prompt.messages[1])
    assert all(set(call) == {"type", "id", "function"} for call in json.loads(handed_on).get("tool_calls", ()))
    return msgspec.json.decode(handed_on, type=contract.AssistantMessage)


@settings(max_examples=150, deadline=None)
@given(answers())
def test_every_answer_can_be_sent_back_whole_or_put_together_from_a_stream(answer: tuple[int, list[AnyEvent]]) -> None:
    """As it came, as the SDK's type writes it with all that is null, and as clients gather the pieces of a stream."""
    n, events = answer
    body = whole(events, n=n)
    choices = assembled(streamed(events, n=n))
    for index, choice in enumerate(body["choices"]):
        message = choice["message"]
        seen = replayed(message)
        assert (seen.content or "") == (message["content"] or "")
        assert (seen.refusal or "") == (message["refusal"] or "")
        assert (seen.reasoning_content or "") == message.get("reasoning_content", "")
        assert [(call.id, call.function.name, call.function.arguments) for call in seen.tool_calls or ()] == [
            (call["id"], call["function"]["name"], call["function"]["arguments"])
            for call in message.get("tool_calls", ())
        ]
        assert seen.content is not None or seen.refusal or seen.tool_calls
        sdk = ChatCompletion.model_validate(body).choices[index].message
        assert replayed(sdk.model_dump()) == replayed(sdk.model_dump(exclude_none=True)) == seen
        gathered = choices[index]
        calls = [
            {"index": at, "id": call["id"], "type": "function",
             "function": {"name": call["name"], "arguments": call["arguments"]}}
            for at, call in sorted(gathered["calls"].items())
        ]  # fmt: skip
        of_stream = {
            name: gathered[name] for name in ("role", "content", "refusal", "reasoning_content") if name in gathered
        }
        streamed_back = replayed({**of_stream, "annotations": [], "audio": None, "tool_calls": calls})
        assert streamed_back.tool_calls == seen.tool_calls
        for name in ("content", "refusal", "reasoning_content"):
            assert (getattr(streamed_back, name) or "") == (getattr(seen, name) or "")


@pytest.mark.parametrize(
    "silent", [{"content": None}, {}, {"content": []}, {"content": None, "reasoning_content": "hm"}]
)
def test_an_assistant_that_said_nothing_can_be_sent_back(silent: dict[str, Any]) -> None:
    """An engine is shown an empty text: most servers want one of content and calls."""
    assert replayed({"role": "assistant", **silent}).content == ""

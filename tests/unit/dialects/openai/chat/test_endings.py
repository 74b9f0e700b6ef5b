"""Where an answer begins and ends: what is refused by its field, and what an instance is asked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from enginehouse.dialects.openai.chat.decode import decode_chat
from enginehouse.dialects.openai.chat.generation import generation_request
from enginehouse.dialects.profiles import built_in
from enginehouse_plugin import GenerationRequest
from enginehouse_plugin.errors import InvalidRequest
from enginehouse_plugin.features import needs

USER = {"role": "user", "content": "Hi"}
BEGUN = {"role": "assistant", "content": "The answer"}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "f"}}
CONTINUES = {"continue_final_message": True}
BAD: list[tuple[dict[str, Any], str]] = [
    ({"min_tokens": -1}, "min_tokens"),
    ({"min_tokens": "5"}, "min_tokens"),
    ({"min_tokens": True}, "min_tokens"),
    ({"min_tokens": 1.5}, "min_tokens"),
    ({"min_tokens": 2**31}, "min_tokens"),
    ({"min_tokens": 5, "max_tokens": 4}, "min_tokens"),
    ({"min_tokens": 5, "max_completion_tokens": 4}, "min_tokens"),
    ({"min_tokens": 5, "max_completion_tokens": 9, "max_tokens": 4}, "min_tokens"),
    ({"min_tokens": 5, "tools": [TOOL]}, "min_tokens"),
    ({"min_tokens": 5, "response_format": {"type": "json_object"}}, "min_tokens"),
    ({"ignore_eos": 1}, "ignore_eos"),
    ({"ignore_eos": "true"}, "ignore_eos"),
    ({"ignore_eos": True, "tools": [TOOL], "tool_choice": "required"}, "ignore_eos"),
    ({"ignore_eos": True, "response_format": {"type": "json_object"}}, "ignore_eos"),
    ({"continue_final_message": 1, "messages": [USER, BEGUN]}, "continue_final_message"),
    (CONTINUES, "continue_final_message"),
    ({**CONTINUES, "messages": [BEGUN]}, "continue_final_message"),
    ({**CONTINUES, "messages": [USER, {**BEGUN, "content": ""}]}, "continue_final_message"),
    ({**CONTINUES, "messages": [USER, {**BEGUN, "tool_calls": [CALL]}]}, "continue_final_message"),
    ({**CONTINUES, "messages": [USER, {"role": "assistant", "refusal": "No."}]}, "continue_final_message"),
    ({**CONTINUES, "messages": [USER, {**BEGUN, "reasoning_content": "Hm."}]}, "continue_final_message"),
    ({**CONTINUES, "messages": [USER, {**BEGUN, "reasoning": "Hm."}]}, "continue_final_message"),
    ({**CONTINUES, "messages": [USER, BEGUN], "tools": [TOOL]}, "continue_final_message"),
    (
        {**CONTINUES, "messages": [USER, BEGUN], "response_format": {"type": "json_object"}},
        "continue_final_message",
    ),
    ({**CONTINUES, "messages": [USER, BEGUN], "add_generation_prompt": True}, "add_generation_prompt"),
    ({"add_generation_prompt": False}, "add_generation_prompt"),
    ({"add_generation_prompt": False, "messages": [USER, BEGUN]}, "add_generation_prompt"),
    ({"add_generation_prompt": "no"}, "add_generation_prompt"),
]


def asked(**fields: Any) -> GenerationRequest:
    chat, _ = decode_chat(json.dumps({"model": "m", "messages": [USER], **fields}).encode())
    return generation_request(chat, request_id="r", profile=built_in()["openai"])[0]


@pytest.mark.parametrize(("fields", "param"), BAD, ids=lambda value: str(value)[:60])
def test_what_does_not_go_together_is_refused_by_its_field(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        asked(**fields)
    assert refused.value.param == param
    assert f"'{param}'" in refused.value.message


def test_what_is_asked_for_needs_its_feature() -> None:
    request = asked(min_tokens=4, max_tokens=4, ignore_eos=True)
    assert (request.min_tokens, request.ignore_eos, request.continue_final_message) == (4, True, False)
    assert {need.feature for need in needs(request)} == {"min_tokens", "ignore_eos"}
    request = asked(messages=[USER, BEGUN], continue_final_message=True, add_generation_prompt=False)
    assert [(need.feature, need.param) for need in needs(request)] == [("continue_final_message",) * 2]


def test_what_is_off_asks_for_nothing_and_goes_with_all() -> None:
    off = {"min_tokens": 0, "ignore_eos": False, "continue_final_message": False, "add_generation_prompt": True}
    request = asked(**off, tools=[TOOL])
    assert {need.feature for need in needs(request)} == {"tools"}
    with_parts = [USER, {"role": "assistant", "content": [{"type": "text", "text": "The"}]}]
    assert asked(messages=with_parts, continue_final_message=True).continue_final_message
    assert asked(ignore_eos=True, tools=[TOOL], tool_choice="none").ignore_eos
    assert asked(ignore_eos=True, response_format={"type": "text"}).ignore_eos

"""Messages: what an instance is asked."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from enginehouse.config import AgentConfig
from enginehouse.dialects.anthropic.messages.endpoint import MessagesEndpoint
from enginehouse.dialects.anthropic.messages.signature import pack, recognised, sign
from enginehouse.dialects.endpoint import Named
from enginehouse_plugin import request as contract
from enginehouse_plugin.errors import InvalidRequest

from .asking import OPENAI, called, messages
from .bad_messages import CALL, CALLED, RESULT, TOOL, USER

BILLING = "x-anthropic-billing-header: cc_version=2.1.0; cch=00;"


def test_text_is_the_same_whichever_way_it_is_given() -> None:
    block = {"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}
    assert messages() == messages(messages=[{"role": "user", "content": [block]}]) == (contract.UserMessage("Hi"),)
    assert messages(system="Be brief.") == messages(system=[{"type": "text", "text": "Be brief."}])


def test_values_are_what_the_request_says() -> None:
    call = called(temperature=0, top_p=0.5, top_k=7, stop_sequences=["a"], stream=True, max_tokens=9)
    request = call.request
    assert (request.temperature, request.top_p, request.top_k, request.stop) == (0.0, 0.5, 7, ("a",))
    assert (request.max_tokens, request.stream) == (9, True)
    assert set(call.said) == {"temperature", "top_p", "top_k", "stop", "stream", "max_tokens"}


def test_calls_and_results_become_messages_of_their_own() -> None:
    assistant, failed, result, user = messages(
        messages=[
            {"role": "assistant", "content": [{"type": "text", "text": "So."}, CALL, {**CALL, "id": "c2"}]},
            {
                "role": "user",
                "content": [
                    {**RESULT, "is_error": True, "content": [{"type": "text", "text": "gone"}]},
                    {"type": "tool_result", "tool_use_id": "c2"},
                    {"type": "text", "text": "Go on."},
                ],
            },
        ]
    )
    assert isinstance(assistant, contract.AssistantMessage)
    assert assistant.content == "So."
    assert [call.id for call in assistant.tool_calls or ()] == ["c1", "c2"]
    assert failed == contract.ToolMessage(content="The tool failed: gone", tool_call_id="c1")
    assert result == contract.ToolMessage(content="", tool_call_id="c2")
    assert user == contract.UserMessage("Go on.")


def test_neighbouring_turns_of_the_user_are_one() -> None:
    (user,) = messages(messages=[USER, {"role": "user", "content": "there"}])
    assert user.content == (contract.TextPart("Hi"), contract.TextPart("there"))


def test_images_and_documents_are_parts() -> None:
    data = {"type": "base64", "media_type": "image/png", "data": "AA=="}
    text = {"type": "text", "media_type": "text/plain", "data": "words"}
    blocks = [
        {"type": "image", "source": data},
        {"type": "image", "source": {"type": "url", "url": "https://x.org/a.png"}},
        {"type": "document", "source": text, "title": "Book"},
    ]
    (user,) = messages(messages=[{"role": "user", "content": blocks}])
    assert user.content == (
        contract.ImagePart(contract.ImageURL("data:image/png;base64,AA==")),
        contract.ImagePart(contract.ImageURL("https://x.org/a.png")),
        contract.TextPart("Book\nwords"),
    )


@pytest.mark.parametrize(
    ("choice", "wanted", "parallel"),
    [
        (None, "auto", True),
        ({"type": "auto", "disable_parallel_tool_use": True}, "auto", False),
        ({"type": "any"}, "required", True),
        ({"type": "none"}, "none", True),
        ({"type": "tool", "name": "look", "disable_parallel_tool_use": True}, contract.NamedTool("look"), False),
    ],
)
def test_every_form_of_choice(choice: Any, wanted: Any, parallel: bool) -> None:
    request = called(tools=[TOOL], tool_choice=choice).request
    assert (request.tool_choice, request.parallel_tool_calls) == (wanted, parallel)
    assert request.tools == (contract.Tool(name="look", parameters={"type": "object"}),)


def test_thinking_is_asked_for_or_turned_off() -> None:
    assert called(thinking={"type": "disabled"}).request.chat_template_kwargs == {"enable_thinking": False}
    assert called(thinking={"type": "adaptive"}).request.chat_template_kwargs is None
    call = called(thinking={"type": "enabled", "budget_tokens": 1024}, max_tokens=2000)
    assert call.request.chat_template_kwargs == {"enable_thinking": True}
    assert call.ignored == ("thinking.budget_tokens",)


def test_effort_and_form_of_the_answer() -> None:
    wanted = {"type": "json_schema", "schema": {"type": "object"}}
    request = called(output_config={"effort": "low", "format": wanted}).request
    assert request.reasoning_effort == "low"
    assert request.output == called(output_format=wanted).request.output
    assert isinstance(request.output, contract.JsonSchema)


def test_own_thinking_comes_back_and_anothers_is_left_out() -> None:
    blocks = [
        {"type": "thinking", "thinking": "Hm.", "signature": sign("Hm.")},
        {"type": "thinking", "thinking": "Hm!", "signature": sign("Hm.")},
        {"type": "thinking", "thinking": "", "signature": pack(" And so.")},
        {"type": "redacted_thinking", "data": "xyz"},
        {"type": "text", "text": "Yes."},
    ]
    turns = [USER, {"role": "assistant", "content": blocks}, USER]
    call = called(messages=turns)
    assert isinstance(call.request.prompt, contract.Chat)
    answer = call.request.prompt.messages[1]
    assert isinstance(answer, contract.AssistantMessage)
    assert (answer.reasoning_content, answer.content) == ("Hm. And so.", "Yes.")
    assert call.ignored == ("messages[1].content[1].signature", "messages[1].content[3]")
    with pytest.raises(InvalidRequest, match="signature"):
        called(MessagesEndpoint(OPENAI, unsupported="refuse"), messages=turns)


@pytest.mark.parametrize("signature", ["", "ehs1.", "ehp1.x.y", "ehp1.00.////", "ehp1." + "0" * 48, "EqQBCg"])
def test_a_signature_that_is_not_ours_is_not_taken(signature: str) -> None:
    assert recognised("Hm.", signature) is None


def test_a_line_that_changes_goes_behind_what_is_stable() -> None:
    system = [{"type": "text", "text": BILLING}, {"type": "text", "text": "Be brief."}]
    call = called(system=system)
    assert isinstance(call.request.prompt, contract.Chat)
    assert call.request.prompt.messages == (
        contract.SystemMessage("Be brief."),
        contract.UserMessage(f"Hi\n\n{BILLING}"),
    )
    assert call.ignored == ("system[0].text (its first line is moved behind the messages)",)
    assert messages(system=f"{BILLING}\n\nBe brief.") == call.request.prompt.messages
    turns = [*CALLED, {"role": "user", "content": [RESULT]}]
    assert messages(system=system, messages=turns)[-1].content == f"1\n\n{BILLING}"


def test_a_profile_may_drop_such_a_line_or_keep_it() -> None:
    dropped = called(MessagesEndpoint(replace(OPENAI, changing_lines="drop")), system=f"{BILLING}\nBe brief.")
    kept = called(MessagesEndpoint(replace(OPENAI, changing_lines="keep")), system=f"{BILLING}\nBe brief.")
    assert isinstance(dropped.request.prompt, contract.Chat)
    assert isinstance(kept.request.prompt, contract.Chat)
    assert dropped.request.prompt.messages == (contract.SystemMessage("Be brief."), contract.UserMessage("Hi"))
    assert "dropped" in dropped.ignored[0]
    assert kept.request.prompt.messages[0].content == f"{BILLING}\nBe brief."
    assert kept.ignored == ()


def test_what_only_a_cloud_has_is_named_or_refused() -> None:
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
    found = {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}
    turns = [USER, {"role": "assistant", "content": [{"type": "text", "text": "Yes."}, found]}, USER]
    fields: dict[str, Any] = {"tools": [search, TOOL], "messages": turns, "context_management": {}, "unheard": 1}
    call = called(**fields)
    assert call.ignored == ("unheard", "context_management", "tools[0]", "messages[1].content[1]")
    assert [tool.name for tool in call.request.tools] == ["look"]
    for name in ("tools", "messages", "context_management"):
        with pytest.raises(InvalidRequest, match=name):
            called(MessagesEndpoint(OPENAI, unsupported="refuse"), **{name: fields[name]})
    with pytest.raises(InvalidRequest, match="unheard"):
        called(MessagesEndpoint(OPENAI, unknown_fields="refuse"), unheard=1)


def test_betas_are_recorded_and_versions_are_known() -> None:
    call = called(named={b"anthropic-beta": b"a-1,b-2", b"anthropic-version": b"2023-06-01"}, metadata={"user_id": "u"})
    assert call.recorded == {"metadata": {"user_id": "u"}, "betas": ["a-1", "b-2"]}
    assert called(named={b"anthropic-version": b"2031-01-01"}).ignored == ("anthropic-version",)


def test_an_agent_leads_and_bounds_the_tools() -> None:
    agent = AgentConfig(model="m", instructions="Be kind.", tools=("other",))
    endpoint = MessagesEndpoint(OPENAI, names={"kind": Named("m", agent)})
    call = called(endpoint, model="kind")
    assert isinstance(call.request.prompt, contract.Chat)
    assert call.request.prompt.messages[0] == contract.SystemMessage("Be kind.")
    with pytest.raises(InvalidRequest, match=r"tools\[0\]\.name"):
        called(endpoint, model="kind", tools=[TOOL])

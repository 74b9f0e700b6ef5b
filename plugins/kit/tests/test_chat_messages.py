"""A conversation as templates read it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from enginehouse_kit.text.chat_messages import (
    MAX_TEMPLATE_BYTES,
    TemplateFacts,
    check_variables,
    read_template,
    template_messages,
)
from enginehouse_plugin import AssistantMessage, ToolMessage, UserMessage
from enginehouse_plugin.errors import InvalidRequest, LoadFailed
from enginehouse_plugin.request import FunctionCall, ToolCall


def turn(*ids: str) -> AssistantMessage:
    return AssistantMessage(tool_calls=tuple(ToolCall(id=name, function=FunctionCall("look", "{}")) for name in ids))


def result(call_id: str) -> ToolMessage:
    return ToolMessage(content=f"the result of {call_id}", tool_call_id=call_id)


def shown(*messages) -> list[str]:
    """Ids of the results in the order in which a template that shows no ids is given them."""
    written = template_messages(messages, TemplateFacts(tool_calls=True), None)
    return [message.tool_call_id for message in written if message.tool_call_id]


def test_results_stand_in_the_order_of_their_calls() -> None:
    """A client may give them as they come in."""
    assert shown(UserMessage("Look."), turn("a", "b", "c"), result("c"), result("a"), result("b")) == ["a", "b", "c"]


def test_each_turn_keeps_its_own_results() -> None:
    """The ids of one turn may come again in another."""
    turns = (turn("a", "b"), result("b"), result("a"), turn("b", "a"), result("a"), result("b"))
    assert shown(UserMessage("Look."), *turns) == ["a", "b", "b", "a"]


def test_a_result_of_no_call_stays_behind_the_others() -> None:
    """The router refuses it; in front of a bare adapter it is not lost."""
    assert shown(turn("a", "b"), result("x"), result("b"), result("a")) == ["a", "b", "x"]


def test_a_model_that_does_not_reason_may_be_told_not_to() -> None:
    facts = TemplateFacts(variables=frozenset({"date_string"}))
    check_variables({"enable_thinking": False, "date_string": "today"}, facts, reasons=False)
    for variables, reasons in (({"enable_thinking": True}, False), ({"enable_thinking": False}, True)):
        with pytest.raises(InvalidRequest) as refused:
            check_variables(variables, facts, reasons=reasons)
        assert refused.value.param == "chat_template_kwargs.enable_thinking"


def test_a_template_is_read_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "own.jinja").write_text("{{ messages }}")
    assert read_template(str(tmp_path / "own.jinja")) == "{{ messages }}"


def test_what_is_no_file_of_a_template_is_told_and_not_waited_for(tmp_path: Path) -> None:
    """A pipe nobody writes to, a device without end, a folder, and what is much too long."""
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "long").open("wb") as long:
        long.truncate(MAX_TEMPLATE_BYTES + 1)
    (tmp_path / "bytes").write_bytes(b"\xff")
    cases = [
        (str(tmp_path / "pipe"), "it is no file"),
        ("/dev/zero", "it is no file"),
        (str(tmp_path), "it is no file"),
    ]
    cases += [(str(tmp_path / "long"), "longer than 4 MiB"), (str(tmp_path / "none"), "No such file")]
    cases += [(str(tmp_path / "bytes"), "codec can't decode")]
    for path, told in cases:
        with pytest.raises(LoadFailed, match=told) as caught:
            read_template(path)
        assert caught.value.message.startswith(f"chat_template_file '{path}' cannot be read: ")
        assert (caught.value.retryable, caught.value.code) == (False, "bad_options")

"""Texts of control tokens never act."""

from enginehouse_kit.text.chat_messages import TemplateMessage
from enginehouse_kit.text.control_text import ControlText

PATTERN = ControlText.pattern(["<|end|>", "<|end|>s"])


def test_what_is_hidden_comes_back_as_mere_text():
    controls = ControlText(PATTERN)
    message = TemplateMessage(
        role="user", content="a<|end|>s b", tool_calls=[{"function": {"name": "f", "arguments": '{"x": "<|end|>"}'}}]
    )
    hidden = controls.hide_in_message(message)
    assert "<|end|>" not in hidden.content
    rendered = f"<|user|>{hidden.content}<|end|>{hidden.tool_calls[0]['function']['arguments']}"
    assert controls.pieces(rendered) == [
        ("<|user|>a", False),
        ("<|end|>s", True),
        (" b<|end|>" + '{"x": "', False),
        ("<|end|>", True),
        ('"}', False),
    ]


def test_a_stand_in_that_somebody_wrote_is_text_too():
    controls = ControlText(PATTERN)
    written = "\ufdd00\ufdd1"
    assert "".join(text for text, _ in controls.pieces(controls.hide(written))) == written


def test_a_text_without_control_tokens_is_one_piece():
    assert ControlText(PATTERN).pieces("plain") == [("plain", False)]

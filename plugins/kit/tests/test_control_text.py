"""Texts of control tokens never act."""

import pytest

from enginehouse_kit.text import control_text
from enginehouse_kit.text.chat_messages import TemplateMessage
from enginehouse_kit.text.control_text import ControlFinder, ControlText

FINDER = ControlFinder(["<|end|>", "<|end|>s"])


def test_what_is_hidden_comes_back_as_mere_text():
    controls = ControlText(FINDER)
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
    controls = ControlText(FINDER)
    written = "\ufdd00\ufdd1"
    assert "".join(text for text, _ in controls.pieces(controls.hide(written))) == written


def test_a_text_without_control_tokens_is_one_piece():
    assert ControlText(FINDER).pieces("plain") == [("plain", False)]


@pytest.mark.parametrize("window", [1, 2, 7, 8, 9, 10])
def test_long_texts_are_searched_in_pieces_and_nothing_is_lost_between_them(
    window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "abc<|end|>s<|end|><|end<|end|>\ufdd0s<|end|>"
    found = [(match.start(), match.group()) for match in FINDER.found(text)]
    assert found == [(3, "<|end|>s"), (11, "<|end|>"), (23, "<|end|>"), (30, "\ufdd0"), (32, "<|end|>")]
    monkeypatch.setattr(control_text, "_WINDOW_CHARS", window)
    assert [(match.start(), match.group()) for match in FINDER.found(text)] == found
    assert [(match.start(), match.group()) for match in ControlFinder([]).found(text)] == [(30, "\ufdd0")]

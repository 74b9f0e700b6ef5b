"""Which tokens frame a text that is filled in, by the names that models give them."""

from __future__ import annotations

import pytest

from enginehouse_kit.text.filling import Filling, filling_of, opening_of

QWEN = {"<|fim_prefix|>": 1, "<|fim_middle|>": 2, "<|fim_suffix|>": 3, "<|fim_pad|>": 4, "<|file_sep|>": 5, "a": 6}
DEEPSEEK = {f"<\uff5cfim\u2581{name}\uff5c>": at for at, name in enumerate(("begin", "hole", "end"), 1)}
CODE_LLAMA = {"▁<PRE>": 1, "▁<SUF>": 2, "▁<MID>": 3, "▁<EOT>": 4}


@pytest.mark.parametrize(
    ("ids", "filling"),
    [
        (QWEN, Filling(before=1, behind=3, between=2, ends=frozenset({4, 5}))),
        (DEEPSEEK, Filling(before=1, behind=2, between=3)),
        (CODE_LLAMA, Filling(before=1, behind=2, between=3, ends=frozenset({4}))),
        ({"<fim_prefix>": 1, "<fim_suffix>": 2, "<|fim_middle|>": 3}, None),
        ({}, None),
    ],
)
def test_a_model_fills_in_whose_vocabulary_has_all_three_tokens(ids: dict[str, int], filling: Filling | None) -> None:
    assert filling_of(ids) == filling


def test_what_a_model_wants_before_each_text_stands_before_the_frame() -> None:
    opening = opening_of([0, 7, 8, 9], [7, 8])
    assert opening == [0]
    assert opening_of([7, 8], [7, 8]) == []
    assert opening_of([5], [7]) == ()
    filling = Filling(before=1, behind=2, between=3)
    assert filling.prompt(opening, [10, 11], [12]) == [0, 1, 10, 11, 2, 12, 3]

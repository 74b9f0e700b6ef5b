"""Texts that become vectors: what is cut, and what weights say."""

from __future__ import annotations

import json
from array import array
from pathlib import Path

import pytest

from enginehouse_kit.text.inputs import cut, pooling_in, unit_vector
from enginehouse_plugin.errors import InvalidRequest


def test_the_models_own_tokens_stay_around_a_text_that_is_cut() -> None:
    assert cut([1, 10, 11, 12, 2], [10, 11, 12], 4) == [1, 10, 11, 2]
    assert cut([10, 11, 12], [10, 11, 12], 2) == [10, 11]
    with pytest.raises(InvalidRequest, match="none of its own"):
        cut([1, 10, 11, 2], [10, 11], 2)


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({"pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode_lasttoken": True}, "last"),
        ({"pooling_mode": "last"}, "last"),
        ({"pooling_mode_max_tokens": True}, None),
        ([], None),
    ],
)
def test_weights_say_how_they_are_pooled(tmp_path: Path, said: object, found: str | None) -> None:
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(said))
    assert pooling_in(tmp_path) == found


def test_weights_without_such_a_file_say_nothing(tmp_path: Path) -> None:
    assert pooling_in(tmp_path) is None


def test_a_vector_is_of_length_one_unless_it_is_nothing() -> None:
    assert array("f", unit_vector([3.0, 4.0])).tolist() == pytest.approx([0.6, 0.8])
    assert array("f", unit_vector([0.0, 0.0])).tolist() == [0.0, 0.0]

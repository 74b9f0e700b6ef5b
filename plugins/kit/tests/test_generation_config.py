"""What `generation_config.json` recommends."""

from __future__ import annotations

from pathlib import Path

import pytest

from enginehouse_kit.generation_config import recommended_in
from enginehouse_plugin.errors import LoadFailed


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ('{"temperature": 0.6, "top_k": 20, "do_sample": true}', {"temperature": 0.6, "top_k": 20}),
        ('{"do_sample": false, "temperature": 0.6}', {"temperature": 0.0}),
        ('{"repetition_penalty": 1.05, "top_k": null, "max_new_tokens": 2048}', {"repetition_penalty": 1.05}),
        ('{"typical_p": 0.9, "num_beams": 1, "no_repeat_ngram_size": 0}', {"typical_p": 0.9}),
        ('{"bos_token_id": 1, "eos_token_id": [2, 3]}', {}),
    ],
)  # fmt: skip
def test_it_is_told_in_a_requests_words(tmp_path: Path, text: str, values: dict[str, float]) -> None:
    (tmp_path / "generation_config.json").write_text(text)
    assert recommended_in(tmp_path) == values


def test_weights_without_one_recommend_nothing(tmp_path: Path) -> None:
    assert recommended_in(tmp_path) == {}
    assert recommended_in(tmp_path / "model.gguf") == {}


@pytest.mark.parametrize("text", ["", "[1]", "{", "\udcff"])
def test_one_that_is_broken_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "generation_config.json"
    file.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(LoadFailed, match=r"generation_config\.json' cannot be read"):
        recommended_in(tmp_path)

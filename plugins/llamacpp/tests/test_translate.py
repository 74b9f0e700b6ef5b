"""From requests to the engine's fields, without an engine."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse_llamacpp import translate
from enginehouse_plugin import GenerationRequest, Text
from enginehouse_plugin.errors import InvalidRequest


def request(**fields: Any) -> GenerationRequest:
    return GenerationRequest(id="r", prompt=Text(""), **fields)


def body(**fields: Any) -> dict[str, Any]:
    return translate.completion_body(
        request(**fields), [1, 2], max_tokens=5, context_tokens=100, bias={}, prefix_cache=True
    )


def test_only_what_is_asked_for_is_in_the_chain_of_samplers() -> None:
    assert body()["samplers"] == ["temperature"]
    everything = {"top_p": 0.5, "top_k": 3, "min_p": 0.1, "frequency_penalty": 1.0}
    assert body(**everything)["samplers"] == ["penalties", "temperature", "min_p", "top_k", "top_p"]


def test_zero_stays_zero() -> None:
    assert body(temperature=0.0)["temperature"] == 0.0
    assert body(temperature=1e-40)["temperature"] == 0.0  # what is divided by it would be no number
    assert body(top_p=0.0)["top_p"] == 0.0


def test_penalties_look_back_over_everything() -> None:
    assert body(repetition_penalty=1.1)["repeat_last_n"] == 100
    assert body()["repeat_last_n"] == 0


def test_stop_strings_are_not_left_to_the_engine() -> None:
    assert body(stop=("x",))["stop"] == []


def test_a_seed_leaves_the_prefix_cache_alone() -> None:
    assert body()["cache_prompt"] is True
    assert body(seed=1)["cache_prompt"] is False


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_seed_is_mapped_to_what_the_engine_takes(seed: int) -> None:
    """Never to its sign for "random", also not for the last of many choices."""
    mapped = translate.engine_seed(seed)
    assert mapped == translate.engine_seed(seed)
    assert mapped >= 0
    assert mapped + translate.MAX_N < 2**32 - 1
    if 0 <= seed < 2**31:
        assert mapped == seed


def test_without_a_seed_one_is_drawn() -> None:
    assert len({translate.engine_seed(None) for _ in range(8)}) > 1


def test_a_bias_gives_back_what_the_prompt_would_cost() -> None:
    asked = request(frequency_penalty=0.5, presence_penalty=1.0, logit_bias={7: 2.0})
    assert translate.output_only(asked, [7, 8, 8]) == {7: 3.5, 8: 2.0}
    assert translate.output_only(asked, [7, 8, 8], written={8}) == {7: 3.5, 8: 1.0}


@pytest.mark.parametrize("penalty", [0.0, -1.0])
def test_a_repetition_penalty_that_divides_by_nothing_is_refused(penalty: float) -> None:
    with pytest.raises(InvalidRequest) as refused:
        translate.check(request(repetition_penalty=penalty), 10)
    assert refused.value.param == "repetition_penalty"

"""What a refused client reads."""

from __future__ import annotations

from enginehouse.fleet import ModelNotFound, QueueFull


def test_an_unknown_model_lists_those_there_are_and_the_nearest():
    error = ModelNotFound("smolm", known=["org/other", "smollm"])
    assert error.param == "model"
    assert error.code == "model_not_found"
    assert (
        error.message == "The model 'smolm' does not exist here. Did you mean 'smollm'? Models: 'org/other', 'smollm'."
    )


def test_a_long_unknown_name_and_many_models_make_no_long_message():
    error = ModelNotFound("x" * 100_000, known=[f"model-{number}" for number in range(1000)])
    assert len(error.message) < 1000
    assert "/v1/models" in error.message


def test_a_full_queue_says_when_to_come_again():
    assert QueueFull("m", limit=3, retry_after_s=5).retry_after_s == 5

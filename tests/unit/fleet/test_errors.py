"""What a refused client reads."""

from __future__ import annotations

import time

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


def test_an_unknown_name_of_megabytes_costs_no_more_than_a_short_one():
    began = time.process_time()
    assert "Did you mean" not in ModelNotFound("smo" * 5_000_000, known=["smollm", "other"]).message
    assert time.process_time() - began < 0.5


def test_a_full_queue_says_when_to_come_again():
    assert QueueFull("m", limit=3, retry_after_s=5).retry_after_s == 5

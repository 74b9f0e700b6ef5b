"""Bounds of the context and the vocabulary."""

import pytest

from enginehouse_kit.text import bounds
from enginehouse_plugin import GenerationRequest, Text
from enginehouse_plugin.errors import ContextTooLong, InvalidRequest


def request(**fields):
    return GenerationRequest(id="r", prompt=Text(""), **fields)


@pytest.mark.parametrize(
    ("prompt", "max_tokens", "room"),
    [(10, None, 90), (10, 90, 90), (10, 5, 5), (99, 1, 1), (10, 91, 90), (99, 2**31, 1)],
)
def test_room_is_what_is_asked_for_and_at_most_what_the_context_leaves(
    prompt: int, max_tokens: int | None, room: int
) -> None:
    assert bounds.room_for(request(max_tokens=max_tokens), prompt, 100) == room


@pytest.mark.parametrize(
    ("prompt", "max_tokens", "must_fit"),
    [(100, None, False), (100, 1, False), (500, 1, False), (10, 91, True), (100, None, True)],
)
def test_what_does_not_fit_is_refused_with_both_numbers(prompt: int, max_tokens: int | None, must_fit: bool) -> None:
    with pytest.raises(ContextTooLong) as refused:
        bounds.room_for(request(max_tokens=max_tokens, max_tokens_must_fit=must_fit), prompt, 100)
    assert (refused.value.prompt_tokens, refused.value.limit_tokens) == (prompt, 100)


@pytest.mark.parametrize("token_id", [-1, 10])
def test_a_token_that_does_not_exist_is_refused(token_id):
    with pytest.raises(InvalidRequest) as refused:
        bounds.check_bias(request(logit_bias={3: 1.0, token_id: 1.0}), 10)
    assert refused.value.param == "logit_bias"
    with pytest.raises(InvalidRequest) as refused:
        bounds.checked_ids((1, token_id), 10)
    assert refused.value.param == "prompt[1]"


def test_tokens_that_exist_are_taken():
    bounds.check_bias(request(logit_bias={0: 1.0, 9: -100.0}), 10)
    assert bounds.checked_ids((0, 9), 10) == [0, 9]


def test_text_that_cannot_fit_is_refused_by_its_bytes() -> None:
    """Characters of several bytes may be several tokens, and a begun token is one."""
    bounds.check_length(["é" * 10, "x" * 20], context_tokens=10, longest_token_bytes=4)
    with pytest.raises(ContextTooLong) as caught:
        bounds.check_length(["é" * 10, "x" * 21], context_tokens=10, longest_token_bytes=4)
    assert (caught.value.prompt_tokens, caught.value.limit_tokens) == (11, 10)
    assert caught.value.is_lower_bound

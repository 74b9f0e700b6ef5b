import inspect

import msgspec
import pytest

from enginehouse_kit.worker.frames import SentError, received_error, sent_error
from enginehouse_plugin import errors
from enginehouse_plugin.errors import (
    ContextTooLong,
    DoesNotFit,
    EngineDied,
    EngineFailure,
    EnginehouseError,
    EngineMissing,
    EngineOverloaded,
    InvalidRequest,
    LoadFailed,
    SourceNotFound,
    UnsupportedFeature,
)

EXAMPLES = [
    EnginehouseError("x", code="odd", param="p", retryable=True, retry_after_s=1.5),
    InvalidRequest("x", param="stop", code="too_many"),
    UnsupportedFeature("seed", param="seed"),
    ContextTooLong(prompt_tokens=9, limit_tokens=5, max_tokens=3),
    ContextTooLong(prompt_tokens=9, limit_tokens=5, is_lower_bound=True),
    ContextTooLong(limit_tokens=5),
    ContextTooLong(),
    SourceNotFound("here", fix="Pull it."),
    DoesNotFit(device="cuda:0", needed_bytes=2, free_bytes=1),
    EngineMissing("vllm", fix="pip install vllm"),
    LoadFailed("x", last_words=["a", "b"], retryable=False),
    EngineOverloaded("x", retry_after_s=3.0),
    EngineDied("x", last_words=("bye",)),
]

ALL = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, EnginehouseError)]


def test_the_tree_at_the_top_of_the_module_names_every_error():
    assert errors.__doc__ is not None
    drawn = {line.split("──")[-1].split()[0] for line in errors.__doc__.splitlines() if "──" in line}
    assert drawn | {"EnginehouseError"} == {kind.__name__ for kind in ALL}


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_has_a_code_and_says_what_it_is(kind):
    assert kind.code
    assert kind.__doc__


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_errors_cross_a_process_with_their_fields(error):
    wire = msgspec.msgpack.encode(sent_error(error))
    received = received_error(msgspec.msgpack.decode(wire, type=SentError))
    assert type(received) is type(error)
    assert str(received) == str(error)
    assert (received.code, received.retryable) == (error.code, error.retryable)
    assert {**vars(received), "code": 0, "retryable": 0} == {**vars(error), "code": 0, "retryable": 0}


def test_an_error_that_the_contract_does_not_know_crosses_as_its_nearest():
    class Custom(EngineOverloaded):
        code = "kv_cache_full"
        retryable = False

    error = Custom("full")
    error.handle = object()  # what is no plain value stays behind
    received = received_error(sent_error(error))
    assert type(received) is EngineOverloaded
    assert (received.code, received.retryable, str(received)) == ("kv_cache_full", False, "full")


def test_an_error_of_python_crosses_as_a_failure_of_the_engine():
    received = received_error(sent_error(KeyError("x")))
    assert type(received) is EngineFailure
    assert str(received) == "KeyError: 'x'"


@pytest.mark.parametrize("kind", ["NoSuchError", "Sequence", "annotations"])
def test_a_kind_that_is_none_becomes_the_base(kind):
    received = received_error(SentError(kind, "x", {"code": "c"}))
    assert type(received) is EnginehouseError
    assert received.code == "c"


def test_the_message_of_a_context_that_is_exceeded_has_both_numbers_and_the_field_at_fault():
    prompt = ContextTooLong(prompt_tokens=900, limit_tokens=512, max_tokens=10)
    assert "900" in str(prompt)
    assert "512" in str(prompt)
    assert prompt.param == "messages"
    assert "at least" not in str(prompt)
    assert "at least 900" in str(ContextTooLong(prompt_tokens=900, limit_tokens=512, is_lower_bound=True))
    assert ContextTooLong(prompt_tokens=500, limit_tokens=512, max_tokens=100).param == "max_tokens"


def test_the_message_of_a_context_that_is_exceeded_has_no_number_that_the_engine_did_not_give():
    assert not any(sign.isdigit() for sign in str(ContextTooLong()))
    assert "512" in str(ContextTooLong(limit_tokens=512))
    assert "None" not in str(ContextTooLong(limit_tokens=512)) + str(ContextTooLong(prompt_tokens=5))
    assert (ContextTooLong().param, ContextTooLong().limit_tokens) == ("messages", None)

import pytest

from enginehouse_plugin.errors import EngineFailure, EngineOverloaded, EngineUnavailable, InvalidRequest
from enginehouse_plugin.hosting.openai_schema import WireError
from enginehouse_vllm.server import Load, error_of, read_load

METRICS = """# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="tiny"} 3.0
vllm:num_requests_running{engine="1",model_name="tiny"} 2.0
vllm:num_requests_waiting{engine="0",model_name="tiny"} 7.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="tiny",reason="capacity"} 7.0
vllm:kv_cache_usage_perc{engine="0",model_name="tiny"} 0.25
"""


def test_the_load_is_read_from_the_engines_metrics() -> None:
    assert read_load(METRICS) == Load(running=5, waiting=7, cache_used=0.25)
    assert read_load("") == Load()
    assert read_load("vllm:gpu_cache_usage_perc 0.5\n").cache_used == 0.5


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (400, "token_id(s) out of vocabulary", InvalidRequest),
        (422, "bad", InvalidRequest),
        (429, "busy", EngineOverloaded),
        (503, "not now", EngineUnavailable),
        (500, "EngineCore encountered an issue", EngineFailure),
    ],
)
def test_an_error_of_the_engine_is_one_of_the_contract(status: int, message: str, kind: type[Exception]) -> None:
    found = error_of(status, WireError(message=message, param="logit_bias"))
    assert isinstance(found, kind)
    assert message in found.message


def test_a_grammar_that_the_engine_refuses_names_the_requests_field() -> None:
    found = error_of(400, WireError(message="Invalid grammar specification."), blame="tools")
    assert isinstance(found, InvalidRequest)
    assert (found.param, found.code) == ("tools", "unsupported_schema")

import pytest

from enginehouse_vllm.loading import reason_of, stage_of


@pytest.mark.parametrize(
    ("line", "stage"),
    [
        (
            "(APIServer pid=1) INFO [api_utils.py:286] non-default args: {'uds': 'x'}",
            "reading the config",
        ),
        (
            "(EngineCore pid=2) INFO [core.py:133] Initializing a V1 LLM engine (v0.32.0) with",
            "starting ",
        ),
        ("(Worker pid=3) INFO [cpu_model_runner.py:68] Starting to load model /m...", "loading weights"),
        ("Loading safetensors checkpoint shards:  50% Completed | 1/2 [00:00<00:00,  9.52it/s]", "loading weights"),
        (
            "(Worker pid=3) INFO [default_loader.py:501] Loading weights took 0.11 seconds",
            "weights loaded",
        ),
        (
            "(EngineCore pid=2) INFO [kv_cache_utils.py:2327] GPU KV cache size: 2,097,152 tokens",
            "reserv",
        ),
        ("(APIServer pid=1) INFO [entry.py:140] Starting vLLM server on unix:/x", "starting server"),
    ],
)
def test_a_line_of_the_log_tells_how_far_loading_is(line: str, stage: str) -> None:
    found = stage_of(line)
    assert found is not None
    assert found.stage.startswith(stage)
    assert found.fraction is not None
    assert 0 < found.fraction < 1


def test_shards_tell_how_many_of_the_weights_are_loaded() -> None:
    early, late = (stage_of(f"Loading safetensors checkpoint shards: {share}% Completed | 1/2") for share in (10, 90))
    assert early is not None
    assert late is not None
    assert (early.fraction or 0) < (late.fraction or 0)


def test_other_lines_tell_nothing() -> None:
    assert stage_of("(APIServer pid=1) INFO [launcher.py:195] Route: /load, Methods: GET") is None


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", "out_of_memory"),
        ("ValueError: No available memory for the cache blocks.", "out_of_memory"),
        ("ValueError: Free memory on device (3.1/79.1 GiB) is less than desired", "out_of_memory"),
        ("ValueError: To serve a request of (131072) tokens, (16.00 GiB KV cache is needed", "out_of_memory"),
        ("safetensors_rust.SafetensorError: Error while deserializing header", "bad_weights"),
        ("ValueError: There is no module or parameter named 'lm_head.x' in LlamaForCausalLM", "bad_weights"),
        ("ValueError: Model architectures ['FooForCausalLM'] are not supported for now.", "unknown_architecture"),
        ("but Transformers does not recognize this architecture. This could be because", "unknown_architecture"),
        ("RuntimeError: Found no NVIDIA driver on your system.", "driver_missing"),
        ("RuntimeError: Failed to infer device type, please set the environment variable", "driver_missing"),
        ("torch.cuda error: no kernel image is available for execution on the device", "gpu_too_old"),
        ("vllm serve: error: unrecognized arguments: --no-such-flag", "bad_options"),
        ("pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig", "bad_options"),
        ("ModuleNotFoundError: No module named 'vllm'", "engine_broken"),
    ],
)  # fmt: skip
def test_the_last_words_tell_why_loading_failed(words: str, code: str) -> None:
    found = reason_of(["INFO something before", words, "RuntimeError: Engine core initialization failed."])
    assert found is not None
    assert found.code == code
    assert found.message.endswith(".")


def test_words_that_tell_no_reason_have_none() -> None:
    assert reason_of(["RuntimeError: Engine core initialization failed. See root cause above."]) is None

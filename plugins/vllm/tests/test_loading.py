from pathlib import Path

import msgspec
import pytest

from enginehouse_plugin import LoadProgress
from enginehouse_plugin.errors import DoesNotFit, LoadFailed
from enginehouse_vllm.backend import VllmBackend
from enginehouse_vllm.loading import reason_of, stage_of

from .conftest import CPU, Place


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
        ("ValueError: Free memory on device cuda:0 (3.1/79.1 GiB) on startup is less than desired", "out_of_memory"),
        ("ValueError: To serve a request of (131072) tokens, (16.00 GiB KV cache is needed", "out_of_memory"),
        ("ValueError: max_num_seqs (128) exceeds available Mamba cache blocks (64).", "out_of_memory"),
        (("ValueError: The worker already uses 7.1 GiB (model weights and runtime), more than the 6.0 GiB of CPU "
         "memory reserved for it on node 0, leaving none for the KV cache."), "out_of_memory"),
        (("RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): "
         "{'EngineCore_DP0': -9}"), "out_of_memory"),
        (("(EngineCore pid=2) ERROR 11-21 10:00:00 [multiproc_executor.py:381] Worker proc VllmWorker-0 died "
         "unexpectedly (exit code: -9), shutting down executor."), "out_of_memory"),
        ("OSError: [Errno 28] No space left on device: '/dev/shm/psm_1'", "disk_full"),
        ("safetensors_rust.SafetensorError: Error while deserializing header", "bad_weights"),
        ("ValueError: There is no module or parameter named 'lm_head.x' in LlamaForCausalLM", "bad_weights"),
        ("RuntimeError: Cannot find any model weights with `/models/m`", "bad_weights"),
        ("ValueError: Following weights were not initialized from checkpoint: {'a'}", "bad_weights"),
        ("ValueError: Model architectures ['FooForCausalLM'] are not supported for now.", "unknown_architecture"),
        ("but Transformers does not recognize this architecture. This could be because", "unknown_architecture"),
        (("RuntimeError: Failed to load the model config. If the model is a custom model not yet available in the "
         "HuggingFace transformers library, consider setting `trust_remote_code=True` in LLM"), "needs_remote_code"),
        ("ValueError: The repository /models/m contains custom code which must be executed", "needs_remote_code"),
        ("RuntimeError: Found no NVIDIA driver on your system.", "driver_missing"),
        ("RuntimeError: Failed to infer device type, please set the environment variable", "driver_missing"),
        ("ImportError: libcuda.so.1: cannot open shared object file: No such file or directory", "driver_missing"),
        (("RuntimeError: Unexpected error from cudaGetDeviceCount(). Did you run some cuda functions before calling "
         "NumCudaDevices() that might have already set an error? Error 804: forward compatibility was attempted on non "
         "supported HW"), "driver_missing"),
        ("CUDA error: the provided PTX was compiled with an unsupported toolchain.", "driver_missing"),
        ("torch.cuda error: no kernel image is available for execution on the device", "gpu_too_old"),
        ("ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0.", "gpu_too_old"),
        (("  Value error, The quantization method fp8 is not supported for the current GPU. Minimum capability: 75. "
         "Current capability: 70."), "gpu_too_old"),
        ("  Value error, Unknown quantization method: foo. Must be one of ['awq'].", "quantization_unsupported"),
        (("  Value error, Quantization method specified in the model config (awq) does not match the quantization "
         "method specified in the `quantization` argument (fp8)."), "quantization_unsupported"),
        (("  Value error, torch.bfloat16 is not supported for quantization method gptq. Supported dtypes: "
         "[torch.float16]"), "quantization_unsupported"),
        ("ValueError: gguf quantization is currently not supported in cpu.", "quantization_unsupported"),
        ("RuntimeError: Failed to find C compiler. Please specify via CC environment variable", "compiler_missing"),
        ("torch.distributed.DistBackendError: NCCL error in: ../ProcessGroupNCCL.cpp:94", "gpus_not_connected"),
        ("vllm serve: error: unrecognized arguments: --no-such-flag", "bad_options"),
        ("  Value error, User-specified max_model_len (9) is greater than the derived max_model_len (x=8)",
         "bad_options"),
        ("  Value error, Total number of attention heads (14) must be divisible by tensor parallel size (4).",
         "bad_options"),
        ("  Value error, World size (2) is larger than the number of available GPUs (1) in this node.", "bad_options"),
        ("pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig", "bad_options"),
        ("ModuleNotFoundError: No module named 'vllm'", "engine_broken"),
        ("ImportError: libcudart.so.13: cannot open shared object file: No such file or directory", "engine_broken"),
    ],
)  # fmt: skip
def test_the_last_words_tell_why_loading_failed(words: str, code: str) -> None:
    found = reason_of(["INFO something before", words, "RuntimeError: Engine core initialization failed."])
    assert found is not None
    assert found.code == code
    assert found.message.endswith(".")


def test_words_that_tell_no_reason_have_none() -> None:
    assert reason_of(["RuntimeError: Engine core initialization failed. See root cause above."]) is None


def test_a_gpu_that_something_else_uses_needs_a_smaller_share() -> None:
    found = reason_of(["ValueError: Free memory on device cuda:0 (3.1/79.1 GiB) on startup is less than desired GPU"])
    assert found is not None
    assert "memory_share to a smaller" in found.message
    assert found.is_memory


@pytest.mark.parametrize("level", ["INFO", "WARNING", "DEBUG"])
def test_what_the_engine_only_notes_is_no_cause(level: str) -> None:
    """Its warnings have the words of failures: a model without an implementation of vLLM's own loads all the same."""
    noted = f"(Worker pid=3) {level} 11-21 10:00:00 [hpc.py:58] HPC disabled: compute capability 8.0 not in [90]."
    assert reason_of([noted]) is None
    found = reason_of([noted, "ValueError: No available memory for the cache blocks."])
    assert found is not None
    assert found.code == "out_of_memory"


# ---- a load that fails, with the engine's log recorded ----

OUT_OF_MEMORY = "(EngineCore pid=2) ERROR 11-21 10:00:00 [core.py:1] RuntimeError: [enforce fail] can't allocate memory"
KILLED = "(APIServer pid=1) RuntimeError: Engine core initialization failed. Failed core proc(s): {'EngineCore': -9}"


def a_vllm_that_says(folder: Path, *lines: str) -> str:
    """An interpreter whose vLLM writes *lines* and a long traceback, and ends."""
    (folder / "log").write_text("\n".join([*lines, *(f"  File line {at}" for at in range(60)), "RuntimeError: end"]))
    program = folder / "python"
    answer = '{"vllm": "0.32.0+cpu"}'
    program.write_text(f"#!/bin/sh\nif [ \"$1\" = -c ]; then echo '{answer}'; else cat {folder / 'log'}; exit 1; fi\n")
    program.chmod(0o755)
    return str(program)


async def test_the_cause_is_told_though_much_is_said_behind_it(placement: Place, tmp_path: Path) -> None:
    started = "(EngineCore pid=2) INFO 11-21 10:00:00 [core.py:1] Initializing a V1 LLM engine (v0.32.0)"
    python = a_vllm_that_says(tmp_path, started, OUT_OF_MEMORY)
    progress: list[LoadProgress] = []
    with pytest.raises(LoadFailed) as caught:
        await VllmBackend().load(placement(python=python), (CPU,), progress.append)
    error = caught.value
    assert (error.code, error.retryable) == ("out_of_memory", False)
    assert error.last_words[0] == OUT_OF_MEMORY
    assert error.last_words[-1] == "RuntimeError: end"
    assert "starting the engine" in [stage.stage for stage in progress]


async def test_a_load_whose_process_was_killed_may_be_tried_again(placement: Place, tmp_path: Path) -> None:
    with pytest.raises(LoadFailed) as caught:
        await VllmBackend().load(placement(python=a_vllm_that_says(tmp_path, KILLED)), (CPU,), lambda _: None)
    assert (caught.value.code, caught.value.retryable) == ("out_of_memory", True)


async def test_a_device_with_less_memory_than_the_model_needs_is_named(placement: Place, tmp_path: Path) -> None:
    small = msgspec.structs.replace(CPU, memory_bytes=1 << 30)
    with pytest.raises(DoesNotFit) as caught:
        await VllmBackend().load(placement(python=a_vllm_that_says(tmp_path, OUT_OF_MEMORY)), (small,), lambda _: None)
    assert caught.value.device == "cpu"
    assert caught.value.needed_bytes > caught.value.free_bytes

import json
from pathlib import Path
from typing import Any

import pytest

from enginehouse_plugin import Device
from enginehouse_plugin.errors import LoadFailed
from enginehouse_vllm import checkpoint as checkpoints
from enginehouse_vllm import start
from enginehouse_vllm.environment import Installed
from enginehouse_vllm.families import Parsers
from enginehouse_vllm.options import VllmOptions

from .conftest import CPU, Place

GPUS = tuple(
    Device(id=f"cuda:{at}", kind="cuda", name="gpu", memory_bytes=80 << 30, compute_capability=(9, 0)) for at in (0, 1)
)
FOR_CPU = Installed(python="/env/bin/python", vllm="0.32.0+cpu")
FOR_CUDA = Installed(python="/env/bin/python", vllm="0.32.0")


def launched(
    placement: Place,
    devices: tuple[Device, ...] = (CPU,),
    installed: Installed = FOR_CPU,
    parsers: Parsers = Parsers(),  # noqa: B008  # frozen
    **fields: Any,
) -> tuple[list[str], dict[str, str]]:
    place = placement(**fields)
    checkpoint = checkpoints.read(str(place.path))
    found = start.launch(place, devices, place.options, checkpoint, installed, parsers)
    return list(found.argv("/run/x.sock")), found.env


def value(argv: list[str], name: str) -> str:
    return argv[argv.index(name) + 1]


def test_the_command_line_says_what_the_placement_says(placement: Place, tiny: Path) -> None:
    argv, env = launched(placement)
    assert argv[:5] == ["/env/bin/python", "-m", "vllm.entrypoints.cli.main", "serve", str(tiny)]
    assert value(argv, "--uds") == "/run/x.sock"
    assert value(argv, "--served-model-name") == "tiny"
    assert value(argv, "--generation-config") == "vllm"
    assert value(argv, "--dtype") == "float32"
    assert value(argv, "--max-model-len") == "2048"
    assert value(argv, "--max-num-seqs") == "4"
    assert value(argv, "--tensor-parallel-size") == "1"
    assert json.loads(value(argv, "--structured-outputs-config")) == {"backend": "xgrammar"}
    assert {"--enable-prompt-tokens-details", "--disable-uvicorn-access-log", "--enforce-eager"} <= set(argv)
    assert not {"--enable-sleep-mode", "--trust-remote-code", "--tool-call-parser", "--reasoning-parser"} & set(argv)
    assert env["HF_HUB_OFFLINE"] == env["DO_NOT_TRACK"] == env["VLLM_NO_USAGE_STATS"] == "1"
    assert env["VLLM_CPU_KVCACHE_SPACE"] == "1"
    assert "CUDA_VISIBLE_DEVICES" not in env
    assert env["VLLM_SERVER_DEV_MODE"] == "1"
    assert "--gpu-memory-utilization" not in argv


def test_a_key_in_the_routers_environment_does_not_lock_it_out(placement: Place) -> None:
    """`VLLM_API_KEY` makes vLLM ask for it; an empty one does not."""
    _, env = launched(placement)
    assert env["VLLM_API_KEY"] == ""


def test_the_memory_share_is_told_where_no_option_is(placement: Place) -> None:
    argv, _ = launched(placement, GPUS[:1], FOR_CUDA, cache_gib=None)
    assert value(argv, "--gpu-memory-utilization") == "0.9"
    assert "--kv-cache-memory-bytes" not in argv


def test_several_gpus_share_the_layers(placement: Place) -> None:
    argv, env = launched(placement, GPUS, FOR_CUDA, memory_share=0.8)
    assert value(argv, "--tensor-parallel-size") == "2"
    assert value(argv, "--gpu-memory-utilization") == "0.8"
    assert value(argv, "--kv-cache-memory-bytes") == str(1 << 30)
    assert value(argv, "--dtype") == "auto"
    assert "--enforce-eager" not in argv
    assert env["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert "VLLM_CPU_KVCACHE_SPACE" not in env


def test_fewer_gpus_than_the_placement_has_can_be_named(placement: Place) -> None:
    argv, env = launched(placement, GPUS, FOR_CUDA, tensor_parallel=1)
    assert value(argv, "--tensor-parallel-size") == "1"
    assert env["CUDA_VISIBLE_DEVICES"] == "0"


def test_every_option_has_its_argument(placement: Place, tmp_path: Path) -> None:
    argv, env = launched(
        placement,
        GPUS,
        FOR_CUDA,
        Parsers(tool="hermes", reasoning="qwen3"),
        dtype="bfloat16",
        quantization="fp8",
        batch_tokens=512,
        cache_type="fp8",
        prefix_cache=False,
        structured_outputs="auto",
        chat_template_file="/t.jinja",
        eager=True,
        sleep=True,
        trust_remote_code=True,
        environment={"VLLM_USE_DEEP_GEMM": "1"},
        extra_arguments=("--seed", "1"),
    )
    assert value(argv, "--dtype") == "bfloat16"
    assert value(argv, "--quantization") == "fp8"
    assert value(argv, "--max-num-batched-tokens") == "512"
    assert value(argv, "--kv-cache-dtype") == "fp8"
    assert value(argv, "--chat-template") == "/t.jinja"
    assert value(argv, "--tool-call-parser") == "hermes"
    assert value(argv, "--tool-strict-level") == "parameter"
    assert value(argv, "--reasoning-parser") == "qwen3"
    assert json.loads(value(argv, "--structured-outputs-config")) == {"backend": "auto"}
    flags = {"--no-enable-prefix-caching", "--enforce-eager", "--enable-sleep-mode", "--trust-remote-code"}
    assert flags | {"--enable-auto-tool-choice"} <= set(argv)
    assert argv[-2:] == ["--seed", "1"]
    assert env["VLLM_SERVER_DEV_MODE"] == env["VLLM_USE_DEEP_GEMM"] == "1"


def test_an_older_vllm_gets_no_argument_that_it_does_not_know(placement: Place) -> None:
    older = Installed(python="p", vllm="0.25.1")
    argv, _ = launched(placement, GPUS, older, Parsers(tool="hermes"))
    assert "--tool-strict-level" not in argv
    assert "--tool-call-parser" in argv


@pytest.mark.parametrize(
    ("devices", "installed", "fields", "code"),
    [
        ((CPU,), FOR_CUDA, {}, "engine_without_cpu"),
        (GPUS, FOR_CPU, {}, "engine_without_gpu"),
        (GPUS, FOR_CUDA, {"tensor_parallel": 3}, "bad_options"),
        ((*GPUS, GPUS[0]), FOR_CUDA, {}, "bad_options"),  # two heads for three
        ((CPU,), FOR_CPU, {"sleep": True}, "bad_options"),
    ],
)
def test_a_build_or_an_option_that_does_not_suit_the_devices_is_refused(
    placement: Place, devices: tuple[Device, ...], installed: Installed, fields: dict[str, Any], code: str
) -> None:
    with pytest.raises(LoadFailed) as caught:
        launched(placement, devices, installed, **fields)
    assert caught.value.code == code
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("arguments", "instead"),
    [
        (("--max-model-len", "99"), "set context_tokens"),
        (("--max_num_seqs=4",), "set max_sequences"),
        (("-tp", "2"), "set tensor_parallel"),
        (("--no-enable-prefix-caching",), "set prefix_cache"),
        (("--structured-outputs-config.backend", "guidance"), "set structured_outputs"),
        (("--seed", "1", "--uds", "/x.sock"), "Enginehouse decides it"),
        (("--api-key", "k"), "Enginehouse decides it"),
        (("--disable-log-stats",), "Enginehouse decides it"),
        (("--enable-log-requests",), "Enginehouse decides it"),  # it logs prompts
    ],
)
def test_an_extra_argument_that_fights_the_adapters_own_is_refused(arguments: tuple[str, ...], instead: str) -> None:
    with pytest.raises(ValueError, match=f"extra_arguments cannot have .*{instead}"):
        VllmOptions(extra_arguments=arguments)


def test_every_argument_that_the_adapter_writes_is_its_own(placement: Place) -> None:
    """Given again behind, it would win."""
    fields = {"quantization": "fp8", "batch_tokens": 512, "cache_type": "fp8", "eager": True, "sleep": True}
    texts = {"chat_template": "x", "trust_remote_code": True, "prefix_cache": False}
    argv, _ = launched(placement, GPUS, FOR_CUDA, Parsers(tool="t", reasoning="r"), **fields, **texts)
    for name in {part for part in argv if part.startswith("--")}:
        with pytest.raises(ValueError, match="extra_arguments cannot have"):
            VllmOptions(extra_arguments=(name,))


def test_the_devices_of_a_placement_are_not_changed_by_its_environment() -> None:
    with pytest.raises(ValueError, match="environment cannot have CUDA_VISIBLE_DEVICES"):
        VllmOptions(environment={"CUDA_VISIBLE_DEVICES": "3"})


def test_without_a_number_the_context_is_the_models_up_to_8192(placement: Place, tiny: Path) -> None:
    checkpoint = checkpoints.read(tiny)
    assert start.context_tokens(placement(context_tokens=None), checkpoint) == 2048
    assert start.context_tokens(placement(context_tokens=100), checkpoint) == 100


def test_a_template_file_that_cannot_be_read_is_told(tiny: Path) -> None:
    with pytest.raises(LoadFailed, match=r"chat_template_file '/no/such' cannot be read"):
        start.template_text(VllmOptions(chat_template_file="/no/such"), checkpoints.read(tiny))

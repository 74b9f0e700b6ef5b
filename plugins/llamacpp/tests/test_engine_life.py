"""An instance from loading to its end, on the real engine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import stat
import sys
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from tests.asking import ask, request

from enginehouse_llamacpp import embedded
from enginehouse_llamacpp.backend import LlamaCppBackend
from enginehouse_llamacpp.instance import LlamaCppInstance
from enginehouse_plugin import Device, Inspectable, LoadProgress, Measured, Placement, Started, TextDelta
from enginehouse_plugin.errors import EngineDied, EngineMissing, EngineUnavailable, LoadFailed, SourceNotFound

from .conftest import Load

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="session")]

CPU = Device(id="cpu", kind="cpu", name="cpu", memory_bytes=8 << 30)
ENDLESS = {"max_tokens": 1500, "logit_bias": {2: -100.0, 0: -100.0}}


async def until_busy(instance: LlamaCppInstance, *, busy: bool) -> None:
    async with asyncio.timeout(20):
        while True:
            if bool(await instance.active_requests()) is busy:
                return
            await asyncio.sleep(0.005)


async def until_idle(instance: LlamaCppInstance) -> None:
    await until_busy(instance, busy=False)


async def kill_at_first_text(instance: LlamaCppInstance) -> None:
    async for event in instance.generate(request("Count.", **ENDLESS)):
        if isinstance(event, TextDelta):
            with contextlib.suppress(ProcessLookupError):  # text that was under way may follow the first
                os.kill(instance._child.pid, signal.SIGKILL)


async def test_probe_names_the_engine_without_importing_it() -> None:
    report = await LlamaCppBackend().probe()
    assert report.available
    assert report.engine == "llama.cpp"
    assert report.engine_version
    assert "xllamacpp" not in sys.modules


async def test_probe_asks_the_interpreter_that_a_placement_names(tmp_path: Path) -> None:
    backend = LlamaCppBackend()
    here = await backend.probe(sys.executable)
    assert (here.available, here.engine_version) == (True, (await backend.probe()).engine_version)
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')  # without what is installed
    bare.chmod(0o755)
    for python in (str(bare), str(tmp_path / "nowhere")):
        report = await backend.probe(python)
        assert (report.available, report.fix) == (False, f"{python} -m pip install xllamacpp")


async def test_loading_tells_its_stages_and_ends_ready(placement: Callable[..., Placement]) -> None:
    stages: list[LoadProgress] = []
    instance = await LlamaCppBackend().load(placement(context_tokens=256, slots=1), (CPU,), stages.append)
    try:
        assert [stage.stage for stage in stages][-1] == "ready"
        fractions = [stage.fraction for stage in stages if stage.fraction is not None]
        assert fractions == sorted(fractions)
        assert len(stages) >= 3
        await instance.check_ready()
    finally:
        await instance.unload()


async def test_capabilities_are_of_the_loaded_model(model: LlamaCppInstance) -> None:
    has = model.capabilities
    assert has.context_tokens == 2048
    assert (has.max_concurrent_requests, has.limits["n"]) == (4, 128)
    assert has.vocabulary_size == 49152
    assert has.features >= {
        "streaming", "n", "stop", "seed", "frequency_penalty", "presence_penalty", "repetition_penalty", "logit_bias",
        "logprobs", "json_object", "json_schema", "tools", "tool_choice_required", "tool_choice_named",
        "parallel_tool_calls", "developer_role", "top_k", "min_p", "prefix_cache",
    }  # fmt: skip
    assert isinstance(model, Measured)
    assert isinstance(model, Inspectable)


async def test_the_estimate_is_near_to_what_the_engine_takes(placement: Callable[..., Placement]) -> None:
    backend = LlamaCppBackend()
    place = placement(context_tokens=4096, slots=2)
    estimate = (await backend.fit(place, (CPU,))).footprint_bytes["cpu"]
    instance = await backend.load(place, (CPU,), lambda _: None)
    try:
        taken = psutil.Process(instance._child.pid).memory_info().rss
    finally:
        await instance.unload()
    assert 0.6 * taken < estimate < 1.6 * taken


async def test_started_comes_before_the_prompt_is_computed(model: LlamaCppInstance) -> None:
    async with aclosing(model.generate(request("word " * 1500, max_tokens=1))) as events:
        first = await anext(events)
        assert isinstance(first, Started)
        assert first.prompt_tokens > 1500


@pytest.mark.parametrize(
    "fields",
    [{}, {"n": 3, "temperature": 1.0}, {"presence_penalty": 0.5, "n": 2}, {"stop": ("x y z",), "logprobs": True}],
)
async def test_closing_a_stream_frees_its_slots(model: LlamaCppInstance, fields: dict[str, Any]) -> None:
    async with aclosing(model.generate(request("Count.", **{**ENDLESS, **fields}))) as events:
        async for event in events:
            if isinstance(event, TextDelta):
                assert await model.active_requests() >= 1
                break
    await until_idle(model)


async def test_cancelling_a_pending_read_frees_the_slot_during_the_prompt(model: LlamaCppInstance) -> None:
    """The prompt takes many steps; the request is gone after the one under way."""
    events = model.generate(request("other " * 1900, **{**ENDLESS, "max_tokens": 20}))
    assert isinstance(await anext(events), Started)
    pending = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    pending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pending
    await events.aclose()
    await until_idle(model)


async def test_cancelling_at_any_step_before_the_first_event_frees_everything(model: LlamaCppInstance) -> None:
    """While the prompt is rendered, tokenized, sent, or waits for its first chunk."""
    for steps in (0, 1, 2, 3, 4, 6, 8, 12, 16):
        events = model.generate(request("x " * 100, **ENDLESS))
        pending = asyncio.ensure_future(anext(events))
        for _ in range(steps):
            await asyncio.sleep(0)
        pending.cancel()
        await asyncio.gather(pending, return_exceptions=True)
        await events.aclose()
    await until_idle(model)
    await model.drain(0.0)
    assert model._idle.is_set()


async def test_many_requests_after_streams_all_answer(model: LlamaCppInstance) -> None:
    """The engine closes kept connections after a stream; none of these runs into that."""
    for _ in range(30):
        assert (await ask(model, "Hi", max_tokens=1)).usage is not None


async def test_more_requests_than_slots_wait_in_the_engine_and_all_end(model: LlamaCppInstance) -> None:
    answers = await asyncio.gather(*(ask(model, f"Count from {at}.", max_tokens=6) for at in range(8)))
    assert all(answer.usage is not None for answer in answers)


async def test_load_is_measured(model: LlamaCppInstance) -> None:
    idle = await model.measure()
    assert (idle.running, idle.cache_used) == (0, 0.0)
    async with aclosing(model.generate(request("Count.", **ENDLESS))) as events:
        async for event in events:
            if isinstance(event, TextDelta):
                break
        busy = await model.measure()
        assert busy.running == 1
        assert busy.cache_used is not None
        assert 0.0 < busy.cache_used < 0.25, "a short prompt in one of four slots"
    await until_idle(model)


async def test_tokenize_takes_text_as_text(model: LlamaCppInstance) -> None:
    assert list(await model.tokenize("<|im_end|>")) != [2]
    assert len(await model.tokenize("The capital")) == 2


async def test_a_killed_engine_ends_its_streams_with_its_last_words(load: Load) -> None:
    instance = await load(context_tokens=2048, slots=1)
    with pytest.raises(EngineDied) as died:
        await kill_at_first_text(instance)
    assert died.value.last_words
    report = await instance.wait_closed()
    assert not report.is_expected
    assert report.signal == signal.SIGKILL
    with pytest.raises(EngineDied):
        await instance.check_ready()
    with pytest.raises(EngineDied):
        await ask(instance)


async def test_unload_is_expected_complete_and_idempotent(load: Load) -> None:
    instance = await load(context_tokens=256, slots=1)
    folder = Path(instance._child.socket_path).parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    await instance.unload()
    await instance.unload()
    report = await instance.wait_closed()
    assert report.is_expected
    assert not psutil.pid_exists(instance._child.pid)
    assert not folder.exists()
    with pytest.raises(EngineUnavailable):
        await ask(instance)


async def test_drain_waits_for_running_requests(load: Load) -> None:
    instance = await load(context_tokens=512, slots=1)
    running = asyncio.ensure_future(ask(instance, **{**ENDLESS, "max_tokens": 60}))
    await until_busy(instance, busy=True)
    await instance.drain(30.0)
    assert running.done()
    await running


async def test_no_file_no_gguf_and_damaged_weights_are_told_apart(
    placement: Callable[..., Placement], tmp_path: Path, weights: Path
) -> None:
    backend = LlamaCppBackend()

    async def load_from(path: Path) -> None:
        place = msgspec.structs.replace(placement(context_tokens=256), path=str(path), source=str(path))
        await (await backend.load(place, (), lambda _: None)).unload()

    with pytest.raises(SourceNotFound):
        await load_from(tmp_path / "absent.gguf")
    text = tmp_path / "text.gguf"
    text.write_text("these are not weights, whatever the name says")
    with pytest.raises(LoadFailed, match="not a GGUF file") as failed:
        await load_from(text)
    assert failed.value.code == "bad_weights"
    cut = tmp_path / "cut.gguf"
    with weights.open("rb") as source:
        cut.write_bytes(source.read(20_000_000))
    with pytest.raises(LoadFailed, match="it was cut short: it has 20000000 bytes and needs") as failed:
        await load_from(cut)
    assert failed.value.code == "bad_weights"


async def test_a_gpu_that_the_build_cannot_use_fails_the_load(placement: Callable[..., Placement]) -> None:
    """The engine itself would run on the processor and say so in its log."""
    gpu = Device(id="cuda:0", kind="cuda", name="gpu", memory_bytes=8 << 30)
    with pytest.raises(LoadFailed) as failed:
        await (await LlamaCppBackend().load(placement(context_tokens=256), (gpu,), lambda _: None)).unload()
    assert failed.value.code == "engine_without_gpu"
    assert not failed.value.retryable


async def test_cancelling_a_load_leaves_no_process(placement: Callable[..., Placement]) -> None:
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    loading = asyncio.ensure_future(LlamaCppBackend().load(placement(), (), lambda _: None))
    await asyncio.sleep(0.3)
    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading
    assert {process.pid for process in psutil.Process().children(recursive=True)} <= before


async def test_a_binary_that_is_not_there_is_named(placement: Callable[..., Placement]) -> None:
    with pytest.raises(EngineMissing) as missing:
        await LlamaCppBackend().load(placement(start="binary", binary="no-such-llama-server"), (), lambda _: None)
    assert "no-such-llama-server" in missing.value.message
    assert missing.value.fix


async def test_another_interpreter_can_run_the_embedded_engine(placement: Callable[..., Placement]) -> None:
    place = msgspec.structs.replace(placement(context_tokens=256, slots=1), python=sys.executable)
    instance = await LlamaCppBackend().load(place, (), lambda _: None)
    try:
        assert (await ask(instance, max_tokens=2)).usage is not None
    finally:
        await instance.unload()


PROGRAM = """#!{python}
# The embedded engine behind the command line of llama-server: what is not one of its arguments is an error.
import argparse, runpy, sys, json

parser = argparse.ArgumentParser()
for name in (
    "model host parallel ctx-size batch-size ubatch-size gpu-layers threads-http threads flash-attn "
    "cache-type-k cache-type-v cache-ram fit chat-template load-mode"
).split():
    parser.add_argument("--" + name)
for flag in (
    "jinja metrics slots no-webui offline no-prefill-assistant no-context-shift no-kv-unified"
).split():
    parser.add_argument("--" + flag, action="store_true", required=True)
given = parser.parse_args()
settings = dict(
    model=given.model, socket=given.host, slots=int(given.parallel), batch_tokens=int(given.batch_size),
    micro_batch_tokens=int(given.ubatch_size),
    context_tokens=int(given.ctx_size) // int(given.parallel), gpu_layers=int(given.gpu_layers),
    http_threads=int(given.threads_http), threads=int(given.threads), flash=given.flash_attn.upper(),
    cache_type_k=given.cache_type_k, cache_type_v=given.cache_type_v, cache_ram_mib=int(given.cache_ram),
    memory_map=given.load_mode != "none", chat_template=given.chat_template,
    pooling=None,
)
sys.argv = ["embedded.py", json.dumps(settings)]
runpy.run_path({embedded!r}, run_name="__main__")
"""


async def test_a_program_is_started_and_answers_as_the_embedded_engine_does(
    load: Load, model: LlamaCppInstance, tmp_path: Path
) -> None:
    program = tmp_path / "llama-server"
    program.write_text(PROGRAM.format(python=sys.executable, embedded=embedded.__file__))
    program.chmod(0o755)
    instance = await load(binary=str(program), memory_map=False)
    assert instance.capabilities == model.capabilities
    assert (await ask(instance, seed=1)).text == (await ask(model, seed=1)).text


@pytest.mark.skipif(shutil.which("llama-server") is None, reason="needs a llama-server program on the PATH")
async def test_a_real_llama_server_loads_and_answers(load: Load, model: LlamaCppInstance) -> None:
    instance = await load(start="binary")
    assert instance.capabilities == model.capabilities
    assert (await ask(instance)).usage is not None

"""Loading, cancelling, unloading, crashing."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from tests.asking import ask, request

from enginehouse_kit.process.logs import LogLevel, LogLine
from enginehouse_kit.worker.backend import WorkerBackend
from enginehouse_mlx.backend import MlxBackend, log_line
from enginehouse_plugin import (
    AnyEvent,
    Device,
    Finished,
    Instance,
    LoadProgress,
    Measured,
    Placement,
    Sleepable,
    Tokens,
)
from enginehouse_plugin.errors import EngineDied, EngineUnavailable, InvalidRequest
from tests.weights import smollm2_hf

Load = Callable[..., Awaitable[Instance]]
Place = Callable[..., Placement]
on_the_loop = pytest.mark.asyncio(loop_scope="session")
CPU = Device(id="cpu", kind="cpu", name="cpu", memory_bytes=2**34)


def process_of(instance: Instance) -> psutil.Process:
    return psutil.Process(instance._link.child.pid)  # type: ignore[attr-defined]  # the worker's own


async def until_idle(instance: Instance) -> None:
    while await instance.active_requests():  # type: ignore[attr-defined]  # noqa: ASYNC110  # another process's state
        await asyncio.sleep(0.01)


def test_the_router_imports_no_engine() -> None:
    script = (
        "import asyncio, sys\n"
        "from enginehouse_mlx import enginehouse_backends\n"
        "report = asyncio.run(enginehouse_backends()[0].create().probe())\n"
        "print(report.available, report.engine_version)\n"
        "sys.exit(bool({'mlx', 'mlx.core', 'mlx_lm', 'numpy', 'transformers', 'llguidance'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("True mlx 0.")


async def test_probe_asks_the_interpreter_that_a_placement_names(tmp_path: Path) -> None:
    backend = MlxBackend()
    here = await backend.probe(sys.executable)
    assert (here.available, here.engine_version) == (True, (await backend.probe()).engine_version)
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')  # without what is installed
    bare.chmod(0o755)
    lacking = await backend.probe(str(bare))
    assert lacking.detail == "not installed: mlx, mlx-lm, llguidance"
    assert lacking.fix == f"{bare} -m pip install 'enginehouse-mlx[engine]'"
    assert not (await backend.probe(str(tmp_path / "nowhere"))).available


@on_the_loop
async def test_what_is_missing_is_told_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, placement: Place
) -> None:
    monkeypatch.setattr("enginehouse_mlx.backend._PACKAGES", ("mlx", "no-such-package"))
    report = await MlxBackend().probe()
    assert not report.available
    assert "no-such-package" in report.detail
    assert report.fix == "pip install 'enginehouse-mlx[engine]'"


@on_the_loop
async def test_loading_tells_how_far_it_is_and_the_engines_words_are_logged(
    placement: Place, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "enginehouse.engine.mlx")
    steps: list[LoadProgress] = []
    instance = await MlxBackend().load(placement(), (CPU,), steps.append)
    fractions = [step.fraction for step in steps if step.fraction is not None]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert {"loading weights", "loading tokenizer", "warming up"} <= {step.stage for step in steps}
    broken = msgspec.structs.replace(request(), prompt=Tokens(()))
    with pytest.raises(InvalidRequest):
        [event async for event in instance.generate(broken)]
    await instance.unload()
    assert {record.name for record in caplog.records} <= {"enginehouse.engine.mlx", "asyncio"}


@pytest.mark.parametrize(("level", "told"), [("error", logging.ERROR), ("warning", logging.WARNING)])
def test_lines_of_the_engine_keep_their_level(level: LogLevel, told: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "enginehouse.engine.mlx")
    log_line("my-model", LogLine(level, "words"))
    assert [(r.levelno, r.message) for r in caplog.records] == [(told, "my-model: words")]


# ---- running ----


@pytest.mark.parametrize("after", [0, 1, 4])
@on_the_loop
async def test_a_stream_that_is_left_frees_its_slot(model: Instance, after: int) -> None:
    """Before the first event, before the first token, and in the middle."""
    events = model.generate(request("word " * 300, max_tokens=1500, logit_bias={2: -100.0}))
    for _ in range(after):
        await anext(events)
    while True:  # what has come already is no event to wait for
        pending = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        if not pending.done():
            break
    pending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pending
    await events.aclose()
    await until_idle(model)
    assert (await ask(model, max_tokens=2)).reason == "length"


@on_the_loop
async def test_fifty_streams_that_are_left_harm_nobody(model: Instance) -> None:
    async def leave(number: int) -> None:
        events = model.generate(request(f"Number {number}.", max_tokens=1000, n=1 + number % 3))
        for _ in range(number % 4):
            await anext(events)
        await events.aclose()

    await asyncio.gather(*[leave(number) for number in range(50)])
    await until_idle(model)
    assert (await ask(model, max_tokens=2)).reason == "length"


@on_the_loop
async def test_one_that_sleeps_gives_its_weights_back_and_is_the_same_when_it_wakes(load: Load) -> None:
    weights = smollm2_hf()
    weights_bytes = (weights / "model.safetensors").stat().st_size
    instance = await load(weights, 512)
    assert isinstance(instance, Sleepable)
    greedy: dict[str, Any] = {"max_tokens": 12, "temperature": 0.0, "logit_bias": {2: -100.0}}
    before = await ask(instance, **greedy)
    awake_bytes = process_of(instance).memory_info().rss
    for _ in range(2):
        await instance.sleep()
        asleep_bytes = process_of(instance).memory_info().rss
        assert awake_bytes - asleep_bytes > 0.8 * weights_bytes
        with pytest.raises(EngineUnavailable, match="sleeps"):
            await ask(instance, **greedy)
        await instance.wake()
        assert process_of(instance).memory_info().rss - asleep_bytes > 0.8 * weights_bytes
        after = await ask(instance, **greedy)
        assert (after.text, after.reason) == (before.text, before.reason)
    await instance.sleep()
    await instance.unload()
    assert (await instance.wait_closed()).is_expected


@on_the_loop
async def test_the_load_is_the_engines_own(model: Instance) -> None:
    assert isinstance(model, Measured)
    idle = await model.measure()
    assert (idle.running, idle.waiting) == (0, 0)
    streams = [model.generate(request(f"Busy {n}.", max_tokens=1800, logit_bias={2: -100.0})) for n in range(6)]
    for events in streams:
        await anext(events)
    busy = await model.measure()
    assert (busy.running, busy.waiting) == (4, 2)
    assert busy.cache_used is not None
    assert 0 <= busy.cache_used <= 1
    for events in streams:
        await events.aclose()
    await until_idle(model)


@on_the_loop
async def test_no_more_than_slots_generate_also_where_a_prompt_is_read_meanwhile(load: Load) -> None:
    """Two slots: beside another request a second choice waits, though both have their prompt at the same moment."""
    instance = await load(slots=2)
    endless: dict[str, Any] = {"max_tokens": 1500, "logit_bias": {2: -100.0}}
    other = instance.generate(request("Other.", **endless))
    for _ in range(3):
        await anext(other)
    pair = instance.generate(request("Pair.", n=2, **endless))
    await anext(pair)
    assert {(await anext(pair)).choice for _ in range(30)} == {0}  # type: ignore[union-attr]  # deltas all
    await other.aclose()
    while (await anext(pair)).choice == 0:  # type: ignore[union-attr]
        pass
    await pair.aclose()
    await until_idle(instance)


@on_the_loop
async def test_draining_waits_for_what_runs_but_not_for_ever(load: Load) -> None:
    instance = await load()
    running = instance.generate(request(max_tokens=30))
    await anext(running)
    await instance.drain(600.0)
    assert await instance.active_requests() == 0  # type: ignore[attr-defined]  # it is Inspectable
    assert Finished(0, "length") in [event async for event in running]
    endless = instance.generate(request(max_tokens=1900, logit_bias={2: -100.0}))
    await anext(endless)
    await instance.drain(0.01)
    assert await instance.active_requests() == 1  # type: ignore[attr-defined]  # it is Inspectable
    await endless.aclose()


@on_the_loop
async def test_unloading_gives_the_memory_back_by_ending_the_process(load: Load) -> None:
    instance = await load()
    process = process_of(instance)
    assert process.memory_info().rss > 50 * 2**20
    running = instance.generate(request(max_tokens=1500))
    await anext(running)
    await instance.unload()
    await instance.unload()
    assert not psutil.pid_exists(process.pid) or process.status() == psutil.STATUS_ZOMBIE
    assert (await instance.wait_closed()).is_expected
    with pytest.raises((EngineDied, EngineUnavailable)):
        async for _ in running:
            pass
    with pytest.raises(EngineUnavailable):
        await ask(instance)


@on_the_loop
async def test_a_crash_is_noticed_by_everyone_who_waits(load: Load) -> None:
    instance = await load()
    running = instance.generate(request(max_tokens=1500, logit_bias={2: -100.0}))
    await anext(running)
    os.kill(process_of(instance).pid, 9)
    with pytest.raises(EngineDied):
        async for _ in running:
            pass
    report = await instance.wait_closed()
    assert (report.is_expected, report.signal) == (False, 9)
    with pytest.raises(EngineUnavailable):
        await instance.check_ready()


FAULTY = """
from enginehouse_mlx.engine.worker import MlxWorker

class FaultyWorker(MlxWorker):
    '''The first step of two sequences fails.'''
    async def load(self, *arguments):
        instance = await super().load(*arguments)
        model = instance._owner._model.model
        faults = [RuntimeError("[malloc] Unable to allocate 12 bytes.")]
        class Faulty(type(model)):
            def __call__(self, inputs, *others, **named):
                if inputs.shape[0] == 2 and faults:
                    raise faults.pop()
                return super().__call__(inputs, *others, **named)
        model.__class__ = Faulty
        return instance
"""


@on_the_loop
async def test_a_step_that_fails_is_told_to_everyone_in_it_and_the_next_request_is_served(
    placement: Place, tmp_path: Path
) -> None:
    (tmp_path / "faulty.py").write_text(FAULTY)
    backend = WorkerBackend("faulty:FaultyWorker", env={"PYTHONPATH": str(tmp_path)})
    instance = await backend.load(placement(), (CPU,), lambda _: None)
    try:
        alone = await ask(instance, seed=1)
        first = instance.generate(request(max_tokens=1500, logit_bias={2: -100.0}))
        await anext(first)
        failures = await asyncio.gather(drained(first), ask(instance), return_exceptions=True)
        assert [getattr(failure, "code", failure) for failure in failures] == ["out_of_memory"] * 2
        assert (await ask(instance, seed=1)).text == alone.text
        assert await instance.active_requests() == 0  # type: ignore[attr-defined]  # it is Inspectable
    finally:
        await instance.unload()


async def drained(events: AsyncGenerator[AnyEvent, None]) -> None:
    async for _ in events:
        pass


@on_the_loop
async def test_the_estimate_is_close_above_what_the_engine_takes(load: Load, placement: Place) -> None:
    """All slots filled to the end of their context, with everything that takes memory beside."""
    estimated = (await MlxBackend().fit(placement(context_tokens=1024), (CPU,))).footprint_bytes["cpu"]
    instance = await load(context_tokens=1024)
    fields: dict[str, Any] = {"max_tokens": None, "logit_bias": {2: -100.0}, "logprobs": True, "top_logprobs": 20}
    fields |= {"frequency_penalty": 0.5, "repetition_penalty": 1.1, "temperature": 1.0, "top_p": 0.9}
    await asyncio.gather(*[ask(instance, "word " * 940 + str(n), **fields) for n in range(4)])
    peak = _peak_bytes(process_of(instance).pid)
    assert peak <= estimated <= 2.5 * peak


def _peak_bytes(pid: int) -> int:
    if sys.platform != "linux":
        return psutil.Process(pid).memory_info().rss
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024

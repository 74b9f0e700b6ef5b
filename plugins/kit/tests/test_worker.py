import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from enginehouse_kit.worker import link
from enginehouse_kit.worker.backend import WorkerBackend
from enginehouse_plugin import (
    Device,
    Finished,
    GenerationRequest,
    Inspectable,
    JsonSchema,
    LoadProgress,
    Measured,
    Placement,
    ProbeReport,
    Sleepable,
    Started,
    Text,
    TextDelta,
    Tool,
    UsageReport,
)
from enginehouse_plugin.errors import (
    ContextTooLong,
    EngineDied,
    EngineFailure,
    EngineOverloaded,
    EngineUnavailable,
    InvalidRequest,
    LoadFailed,
    SourceNotFound,
    UnsupportedFeature,
)

GUESTS = str(Path(__file__).parent / "guests")
CPU = Device(id="cpu", kind="cpu", name="cpu", memory_bytes=1)


def backend(target="guest_engine:GuestBackend", **kwargs):
    kwargs.setdefault("env", {"PYTHONPATH": GUESTS})
    return WorkerBackend(target, **kwargs)


def placement(source="here", options=None):
    return Placement(model="m", backend="guest", source=source, options=options)


def request(text, **fields):
    return GenerationRequest(id="r", prompt=Text(text), **fields)


@pytest.fixture
async def load():
    loaded = []

    async def load(worker=None, **fields):
        instance = await (worker or backend()).load(placement(**fields), (CPU,), lambda _: None)
        loaded.append(instance)
        return instance

    yield load
    for instance in loaded:
        await instance.unload()


async def collect(events):
    return [event async for event in events]


async def until_idle(instance):
    while await instance.active_requests():  # noqa: ASYNC110  # another process's state
        await asyncio.sleep(0.01)


def lives(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_worker_loads_generates_and_unloads():
    steps = []
    instance = await backend().load(placement(), (CPU,), steps.append)
    assert LoadProgress(stage="loading", fraction=0.5) in steps
    assert instance.capabilities.context_tokens == 99
    assert instance.capabilities.features == frozenset({"streaming"})
    await instance.check_ready()
    assert await instance.count_tokens(request("four")) == 4
    assert await collect(instance.generate(request("you there"))) == [
        Started(2),
        TextDelta(0, "hello you there", 1),
        Finished(0, "stop"),
        UsageReport(2, 1),
    ]
    await instance.unload()
    await instance.unload()
    assert (await instance.wait_closed()).is_expected
    with pytest.raises(EngineUnavailable):
        await instance.check_ready()
    with pytest.raises(EngineUnavailable):
        await collect(instance.generate(request("late")))


async def test_options_arrive_in_the_type_of_the_backend(load, monkeypatch):
    monkeypatch.syspath_prepend(GUESTS)
    from guest_engine import Options

    instance = await load(backend("guest_engine:BACKEND"), options=Options(greeting="salut"))
    events = await collect(instance.generate(request("x")))
    assert events[1].text == "salut x"


async def test_only_abilities_of_the_guest_are_there(load):
    instance = await load()
    assert isinstance(instance, Measured)
    assert isinstance(instance, Inspectable)
    assert not isinstance(instance, Sleepable)
    assert (await instance.measure()).running == 0
    assert list(await instance.tokenize("ab")) == [97, 98]
    assert await instance.active_requests() == 0


async def test_probe_and_fit_ask_a_worker_that_ends_afterwards():
    report = await backend().probe()
    assert report.available
    assert not lives(int(report.detail))
    assert (await backend().fit(placement(), (CPU,))).footprint_bytes == {"cpu": 10}


async def test_a_given_probe_starts_no_worker():
    async def probe():
        return ProbeReport(available=False, engine="x")

    assert not (await backend(target="no_such_module:X", probe=probe).probe()).available


async def test_errors_cross_with_class_code_and_fields(load):
    instance = await load()
    with pytest.raises(ContextTooLong) as too_long:
        await collect(instance.generate(request("too-long")))
    assert (too_long.value.prompt_tokens, too_long.value.limit_tokens, too_long.value.param) == (7, 5, "messages")
    with pytest.raises(EngineOverloaded) as oom:  # a class that only the guest knows: its nearest in the contract
        await collect(instance.generate(request("oom")))
    assert (oom.value.code, oom.value.retryable, oom.value.retry_after_s) == ("out_of_memory", False, 2.5)
    with pytest.raises(UnsupportedFeature) as unsupported:
        await collect(instance.generate(request("x", n=3)))
    assert (unsupported.value.feature, unsupported.value.param) == ("n", "n")
    with pytest.raises(EngineFailure, match="KeyError"):
        await collect(instance.generate(request("bug")))
    await instance.check_ready()


async def test_a_load_that_is_refused_says_why():
    with pytest.raises(SourceNotFound) as missing:
        await backend().load(placement("missing"), (), lambda _: None)
    assert missing.value.fix == "Pull it."


async def test_a_crash_while_loading_gives_last_words():
    with pytest.raises(LoadFailed, match="SIGSEGV") as failed:
        await backend().load(placement("crash"), (), lambda _: None)
    assert "cannot map the weights" in failed.value.last_words


@pytest.mark.parametrize("target", ["no_such_module:X", "guest_engine:Missing", "guest_engine:NOT_A_BACKEND"])
async def test_a_target_that_is_no_backend_fails_with_last_words(target):
    with pytest.raises(LoadFailed) as failed:
        await backend(target).load(placement(), (), lambda _: None)
    assert any("Error" in line for line in failed.value.last_words)


async def test_a_cancelled_load_leaves_no_process(monkeypatch):
    pids = []
    start = link.Child.start

    async def noted(*args, **kwargs):
        child = await start(*args, **kwargs)
        pids.append(child.pid)
        return child

    monkeypatch.setattr(link.Child, "start", noted)
    is_loading = asyncio.Event()
    loading = asyncio.create_task(
        backend().load(placement("hang"), (), lambda step: is_loading.set() if step.fraction else None)
    )
    await is_loading.wait()
    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading
    assert pids
    assert not lives(pids[0])


@pytest.mark.parametrize("is_pending", [True, False])
async def test_closing_a_stream_cancels_it_in_the_guest(load, is_pending):
    instance = await load()
    events = instance.generate(request("wait here"))
    assert isinstance(await anext(events), Started)
    assert isinstance(await anext(events), TextDelta)
    assert await instance.active_requests() == 1
    if is_pending:
        pending = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        pending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pending
    await events.aclose()
    await until_idle(instance)
    assert await instance.count_tokens(request("cancelled")) == 1


async def test_streams_that_are_left_before_they_begin_leave_no_words_in_the_log():
    lines = []
    instance = await backend(on_log=lines.append).load(placement(), (CPU,), lambda _: None)
    for _ in range(50):
        events = instance.generate(request("wait here"))
        pending = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        pending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pending
        await events.aclose()
    await until_idle(instance)
    await instance.unload()
    assert not [line for line in lines if "never awaited" in line.text]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"output": JsonSchema("s", {"type": "integer", "maximum": 10**30})}, "response_format"),
        ({"tools": (Tool("f", parameters={"maximum": -(10**30)}),)}, "tools"),
        ({"chat_template_kwargs": {"size": 2**64}}, "chat_template_kwargs"),
        ({"stop": ("\ud800",)}, "stop"),
    ],
)
async def test_what_cannot_be_sent_to_the_worker_is_refused_by_its_field(load, fields, param):
    instance = await load()
    asked = request("x", **fields)
    with pytest.raises(InvalidRequest, match=param) as refused:
        await collect(instance.generate(asked))
    assert refused.value.param == param
    with pytest.raises(InvalidRequest, match=param):
        await instance.count_tokens(asked)
    assert isinstance((await collect(instance.generate(request("x"))))[-1], UsageReport)


async def test_a_slow_reader_pauses_its_own_stream_only(load):
    instance = await load()
    slow = instance.generate(request("flood 50000"))
    await anext(slow)
    fast = await collect(instance.generate(request("x")))
    assert isinstance(fast[-1], UsageReport)
    made = before = 0
    while not made or made != before:
        before, made = made, await instance.count_tokens(request("made"))
        await asyncio.sleep(0.05)
    assert made < 50000
    assert len(await collect(slow)) == 50000 + 2
    await instance.check_ready()


async def test_the_events_of_one_read_are_one_batch_and_the_end_comes_after_them(load):
    batches, over = [], asyncio.get_running_loop().create_future()

    class Heard:
        def events(self, batch):
            time.sleep(0 if batches else 1)  # nothing is read meanwhile, and the worker floods the socket
            batches.append(len(batch))

        def end(self, error):
            over.set_result(error)

    run = (await load()).start(request("flood 3000"), Heard())
    assert await over is None
    assert sum(batches) == 3000 + 3
    assert max(batches) > 1
    await run.wait_released()


async def test_a_cancelled_run_hears_nothing_more_and_waits_for_the_slot(load):
    instance = await load()
    heard = []

    class Heard:
        def events(self, batch):
            heard.extend(batch)
            run.cancel()

        def end(self, error):
            heard.append(error)

    run = instance.start(request("wait"), Heard())
    async with asyncio.timeout(5):
        await run.wait_released()
    count = len(heard)
    assert 1 <= count <= 2
    assert await instance.active_requests() == 0
    run.pause(), run.resume(), run.cancel()
    await instance.check_ready()
    assert len(heard) == count


async def test_many_streams_share_one_socket(load):
    instance = await load()
    answers = await asyncio.gather(*[collect(instance.generate(request(f"flood {n}"))) for n in range(1, 30)])
    assert [len(events) for events in answers] == [n + 3 for n in range(1, 30)]


async def test_a_crash_ends_the_streams_with_last_words(load):
    instance = await load()
    waiting = instance.generate(request("wait"))
    await anext(waiting)
    with pytest.raises(EngineDied) as died:
        await collect(instance.generate(request("die")))
    assert "engine says goodbye" in died.value.last_words
    with pytest.raises(EngineDied):
        await collect(waiting)
    report = await instance.wait_closed()
    assert (report.is_expected, report.signal) == (False, 9)
    with pytest.raises(EngineUnavailable):
        await instance.check_ready()


async def test_an_engine_that_ends_itself_is_reported_with_its_reason(load):
    instance = await load()
    with pytest.raises(EngineDied, match="had enough"):
        await collect(instance.generate(request("leave")))
    report = await instance.wait_closed()
    assert (report.is_expected, report.reason) == (False, "the engine had enough")


async def test_a_blocked_guest_stops_neither_the_router_nor_other_workers(load, monkeypatch):
    monkeypatch.setattr("enginehouse_kit.worker.backend._UNLOAD_TIMEOUT_S", 0.1)
    stuck, other = await load(), await load()
    events = stuck.generate(request("block"))
    await anext(events)
    await anext(events)
    pending = asyncio.ensure_future(anext(events))
    assert len(await collect(other.generate(request("x")))) == 4
    assert not pending.done()
    pending.cancel()  # waits for the slot, which a guest that is blocked does not give back while it lives
    async with asyncio.timeout(10):
        await stuck.unload()
        with pytest.raises(asyncio.CancelledError):
            await pending
    assert (await stuck.wait_closed()).is_expected


async def test_another_major_version_is_refused_with_the_fix(load, monkeypatch):
    monkeypatch.setattr(link, "API_VERSION", "3.0")
    with pytest.raises(LoadFailed, match=r"speaks version 2\..* this router 3\.0 .*Install") as refused:
        await load()
    assert not refused.value.retryable


async def test_another_minor_version_is_accepted(load, monkeypatch):
    monkeypatch.setattr(link, "API_VERSION", "2.7")
    await (await load()).check_ready()


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory):
    """An interpreter with msgspec and pluggy that has no enginehouse_plugin installed."""
    folder = tmp_path_factory.mktemp("engine")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for name in ("msgspec", "pluggy"):
        (site / name).symlink_to(Path(sys.modules[name].__file__).parent)
    return folder / "bin/python"


@pytest.fixture(scope="module")
def empty_python(tmp_path_factory):
    folder = tmp_path_factory.mktemp("empty")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return folder / "bin/python"


async def test_an_engine_environment_without_the_contract_gets_it(load, bare_python):
    assert len(await collect((await load(backend(python=str(bare_python)))).generate(request("x")))) == 4


async def test_an_engine_environment_without_the_plugin_gets_it(load, bare_python, monkeypatch):
    monkeypatch.syspath_prepend(GUESTS)
    assert len(await collect((await load(backend(python=str(bare_python), env={}))).generate(request("x")))) == 4


async def test_an_interpreter_without_msgspec_is_told_what_to_install(empty_python):
    with pytest.raises(LoadFailed) as failed:
        await backend(python=str(empty_python)).load(placement(), (), lambda _: None)
    assert any("pip install msgspec pluggy" in line for line in failed.value.last_words)

"""What instances with a process of their own have in common, with process and engine by script."""

import asyncio

import pytest

from enginehouse_kit.process.instance import ProcessInstance
from enginehouse_plugin import (
    Capabilities,
    ExitReport,
    Finished,
    GeneratedRun,
    GenerationRequest,
    Started,
    Text,
    TextDelta,
    UsageReport,
)
from enginehouse_plugin.errors import EngineDied, EngineFailure, EngineUnavailable, InvalidRequest, UnsupportedFeature

from .test_http_run import Heard


class FakeChild:
    def __init__(self):
        self.report = asyncio.get_running_loop().create_future()

    async def wait_closed(self):
        return await asyncio.shield(self.report)

    async def stop(self, grace_s):
        if not self.report.done():
            self.report.set_result(ExitReport(is_expected=True, reason="stopped"))


class FakeServer:
    async def is_healthy(self):
        return True

    async def close(self):
        return None


class FakeInstance(ProcessInstance):
    engine = "Fake"
    capabilities = Capabilities(context_tokens=9, max_concurrent_requests=2)

    def __init__(self):
        super().__init__(FakeChild(), FakeServer())
        self.prepared = asyncio.Event()
        self.prepared.set()
        self.is_preparing = asyncio.Event()
        self.more = asyncio.Event()
        self.left = 0
        self.failure = None

    async def prepare(self, request):
        self.is_preparing.set()
        if request.prompt.text == "bad":
            raise InvalidRequest("bad", param="prompt")
        await self.prepared.wait()
        return lambda sink: GeneratedRun(self.events(), sink)

    async def events(self):
        try:
            yield Started(1)
            yield TextDelta(0, "a", 1)
            await self.more.wait()
            if self.failure is not None:
                raise self.failure
            yield Finished(0, "stop")
            yield UsageReport(1, 1)
        except (asyncio.CancelledError, GeneratorExit):
            await asyncio.sleep(0.02)  # the engine's slot is freed a little later
            self.left += 1
            raise

    async def count_tokens(self, request):
        return 1


def request(text="x", **fields):
    return GenerationRequest(id="r", prompt=Text(text), **fields)


@pytest.fixture
async def instance():
    return FakeInstance()


async def pulled(instance):
    return [event async for event in instance.generate(request())]


async def pushed(instance):
    sink = Heard()
    run = instance.start(request(), sink)
    await sink.over.wait()
    await run.wait_released()
    if sink.ends[0] is not None:
        raise sink.ends[0]
    return sink.all


@pytest.fixture(params=[pulled, pushed])
def ask(request, instance):
    return lambda: request.param(instance)


async def test_both_ways_give_the_same_events(instance, ask):
    instance.more.set()
    assert [type(event) for event in await ask()] == [Started, TextDelta, Finished, UsageReport]


async def test_draining_waits_for_what_runs(instance, ask):
    asking = asyncio.ensure_future(ask())
    await instance.is_preparing.wait()
    draining = asyncio.ensure_future(instance.drain(30))
    await asyncio.sleep(0.01)
    assert not draining.done()
    instance.more.set()
    async with asyncio.timeout(5):
        await draining
    assert len(await asking) == 4
    await instance.drain(0)


async def test_a_failure_after_the_process_has_ended_tells_why_it_ended(instance, ask):
    instance.failure = EngineUnavailable("nobody answers")
    instance.more.set()
    report = ExitReport(is_expected=False, reason="killed by SIGKILL", last_words=("out of memory",))
    asyncio.get_running_loop().call_later(0.05, instance._child.report.set_result, report)
    with pytest.raises(EngineDied, match="SIGKILL") as died:
        await ask()
    assert died.value.last_words == ("out of memory",)
    await instance.drain(0)


async def test_a_failure_while_the_process_lives_is_told_as_it_is(instance, ask):
    instance.failure = EngineFailure("no")
    instance.more.set()
    with pytest.raises(EngineFailure, match="no"):
        await ask()


async def test_what_is_not_declared_and_an_instance_that_is_unloaded_refuse_at_once(instance):
    sink = Heard()
    with pytest.raises(UnsupportedFeature):
        instance.start(request(n=2), sink)
    await instance.unload()
    with pytest.raises(EngineUnavailable):
        instance.start(request(), sink)
    assert (sink.batches, sink.ends) == ([], [])


async def test_a_refusal_while_preparing_is_the_end(instance):
    sink = Heard()
    instance.start(request("bad"), sink)
    await sink.over.wait()
    assert isinstance(sink.ends[0], InvalidRequest)


@pytest.mark.parametrize("when", ["at once", "preparing", "running", "explaining"])
async def test_cancelling_at_any_stage_waits_for_the_slot_and_is_silent(instance, when):
    sink = Heard()
    if when in {"at once", "preparing"}:
        instance.prepared.clear()
    instance.failure = EngineFailure("no") if when == "explaining" else None
    run = instance.start(request(), sink)
    if when != "at once":
        await instance.is_preparing.wait()
    if when in {"running", "explaining"}:
        await sink.first.wait()
    if when == "explaining":
        instance.more.set()
        await asyncio.sleep(0.01)
    heard = len(sink.batches)
    run.cancel()
    run.cancel()
    async with asyncio.timeout(5):
        await run.wait_released()
    assert (instance.left, instance._running) == (1 if when == "running" else 0, 0)
    assert (len(sink.batches), sink.ends) == (heard, [])


async def test_a_run_that_is_paused_while_it_is_prepared_begins_paused(instance):
    instance.prepared.clear()
    sink = Heard()
    run = instance.start(request(), sink)
    run.pause()
    instance.prepared.set()
    await asyncio.sleep(0.01)
    assert len(sink.batches) <= 1  # what was under way
    instance.more.set()
    run.resume()
    await sink.over.wait()
    assert len(sink.all) == 4


async def test_a_request_whose_preparation_is_cancelled_under_its_hands_ends_with_a_failure():
    class Loses(FakeInstance):
        async def prepare(self, request):
            answer = asyncio.get_running_loop().create_future()
            answer.cancel()
            await answer

    sink = Heard()
    run = Loses().start(request(), sink)
    async with asyncio.timeout(5):
        await sink.over.wait()
        await run.wait_released()
    assert [type(error) for error in sink.ends] == [EngineFailure]

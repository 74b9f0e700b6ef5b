"""S, C: the plugin contract, on a backend without HTTP."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import contextmanager, suppress

from enginehouse_conformance.checks.heard import Heard
from enginehouse_conformance.context import Context
from enginehouse_conformance.primitives import endless, named, nonce_tool
from enginehouse_conformance.probes import PROBES
from enginehouse_conformance.registry import check
from enginehouse_conformance.targets import Body, Busy, Refused, ServerFailure
from enginehouse_conformance.targets.base import now_s
from enginehouse_conformance.verdicts import Ended
from enginehouse_conformance.wire.faults import WireFault
from enginehouse_plugin import (
    AnyEvent,
    Finished,
    GenerationRequest,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    UsageReport,
)
from enginehouse_plugin.errors import ContextTooLong, EnginehouseError, RequestError, UnsupportedFeature

Events = AsyncGenerator[AnyEvent, None]
_DELTAS = (TextDelta, ReasoningDelta, RefusalDelta, ToolCallDelta)
_HELD_TOKENS = 4  # the end of the turn, and tokens of a character that never became whole
_FREE_WITHIN_S = 2.0
_END_WITHIN_S = 30.0  # generous: it is long over where a cancellation has an effect at all
_LONG_TOKENS = 1000
_MOST_SLOTS = 16
_UNDER_WAY_S = 0.3  # what an engine had sent before it was paused comes within this time


@contextmanager
def _of_the_contract(ctx: Context) -> Generator[None]:
    """Fails where a backend raises what is no error of the contract: that is no mistake of the check."""
    try:
        yield
    except (Busy, Ended, EnginehouseError, Refused, ServerFailure, WireFault):
        raise
    except Exception as exc:  # noqa: BLE001  # a foreign exception is what the contract forbids
        ctx.fail("an error of enginehouse_plugin.errors", repr(exc))


async def _pulled(ctx: Context, request: GenerationRequest) -> list[AnyEvent]:
    """All events that `generate` yields for *request*."""
    events = ctx.backend.instance.generate(request)
    try:
        return [event async for event in events]
    finally:
        await events.aclose()


async def _pushed(ctx: Context, request: GenerationRequest) -> list[AnyEvent]:
    """All events that `start` pushes for *request*; raises the error that it ends with."""
    heard = Heard(ctx)
    run = heard.start(request)
    try:
        while not heard.over.is_set():  # however slow it is, it says something now and then
            async with asyncio.timeout(ctx.time_for(_END_WITHIN_S)):
                await heard.wait_for(heard.batches + 1)
    except TimeoutError:
        ctx.fail("`Sink.end` once nothing follows", f"no end after {len(heard.events_heard)} events")
    finally:
        run.cancel()
    heard.require_right()
    if heard.error is None:
        return heard.events_heard
    raise heard.error


_BOTH: tuple[Callable[[Context, GenerationRequest], Awaitable[list[AnyEvent]]], ...] = (_pulled, _pushed)


async def _answers(ctx: Context, bodies: list[Body]) -> AsyncGenerator[tuple[Body, list[AnyEvent]]]:
    """The events of each body, streamed and not, pulled and pushed."""
    for body in bodies:
        for stream in (True, False) if ctx.has("streaming") else (False,):
            for ask in _BOTH:
                with _of_the_contract(ctx):
                    events = await ask(ctx, ctx.backend.request(body, stream=stream))
                yield body, events


def _kinds(ctx: Context) -> list[Body]:
    """Requests whose events have different forms."""
    bodies = [ctx.body(), ctx.body(max_tokens=1)]
    if ctx.has("n"):
        bodies.append(ctx.body(n=2))
    if ctx.has("tools", "tool_choice_named"):
        name, _, tool = nonce_tool(ctx)
        bodies.append(ctx.body(tools=[tool], tool_choice=named(name), max_tokens=200))
    return bodies


@check("S1")
async def events_come_in_their_order(ctx: Context) -> None:
    async for body, events in _answers(ctx, _kinds(ctx)):
        ctx.require(events and isinstance(events[0], Started), "`Started` as the first event", events[:1])
        ctx.require(not any(isinstance(event, Started) for event in events[1:]), "one `Started`", events)
        finished = Counter(event.choice for event in events if isinstance(event, Finished))
        expected = dict.fromkeys(range(body.get("n", 1)), 1)
        ctx.equal(dict(finished), expected, "the number of `Finished` per choice")
        _require_nothing_after_the_end(ctx, events)


def _require_nothing_after_the_end(ctx: Context, events: list[AnyEvent]) -> None:
    ended: set[int] = set()
    for event in events:
        if isinstance(event, Finished):
            ended.add(event.choice)
        elif isinstance(event, _DELTAS):
            ctx.require(event.choice not in ended, "nothing of a choice after its `Finished`", event)


@check("S2")
async def usage_comes_last_and_agrees(ctx: Context) -> None:
    body = ctx.body(max_tokens=12, n=2 if ctx.has("n") else 1)
    async for _, events in _answers(ctx, [body]):
        usage = events[-1] if events else None
        if not isinstance(usage, UsageReport):
            ctx.fail("`UsageReport` as the last event", usage or "no event")
        ctx.equal(sum(isinstance(event, UsageReport) for event in events), 1, "the number of `UsageReport`")
        started = events[0]
        if not isinstance(started, Started):
            ctx.fail("`Started` as the first event", started)
        if started.prompt_tokens is not None:
            ctx.equal(usage.prompt_tokens, started.prompt_tokens, "prompt_tokens as `Started` has them:")
        ctx.require(usage.cached_tokens <= usage.prompt_tokens, "no more cached tokens than the prompt has", usage)
        ctx.require(usage.reasoning_tokens <= usage.completion_tokens, "reasoning within the completion", usage)
        running = _running_counts(ctx, events)
        most = sum(running.values()) + _HELD_TOKENS * body["n"]
        ctx.require(
            sum(running.values()) <= usage.completion_tokens <= min(most, body["max_tokens"] * body["n"]),
            f"completion_tokens that agree with the running counts {running}",
            usage,
        )


def _running_counts(ctx: Context, events: list[AnyEvent]) -> dict[int, int]:
    """The last running count of each choice; they never fall."""
    counts: dict[int, int] = {}
    for event in events:
        if isinstance(event, _DELTAS):
            before = counts.get(event.choice, 0)
            ctx.require(event.completion_tokens >= max(before, 1), f"a running count from {max(before, 1)} up", event)
            counts[event.choice] = event.completion_tokens
    return counts


@check("S3")
async def failures_are_errors_of_the_contract(ctx: Context) -> None:
    for feature, probe in PROBES.items():
        if not ctx.has(feature):
            request = ctx.backend.request(ctx.body(**probe.fields), stream=bool(probe.fields.get("stream")))
            await _require_unsupported(ctx, feature, request, probe.names)
    context_tokens = ctx.backend.instance.capabilities.context_tokens
    error = await _error(ctx, ctx.backend.request(ctx.body("word " * (context_tokens + 64)), stream=False))
    if not isinstance(error, ContextTooLong):
        ctx.fail("`ContextTooLong` for a prompt over the context", repr(error))
    if error.limit_tokens is not None:
        ctx.equal(error.limit_tokens, context_tokens, "limit_tokens of `ContextTooLong`")
    if ctx.has("json_schema"):
        wrong = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "banana"}}}
        error = await _error(ctx, ctx.backend.request(ctx.body(response_format=wrong), stream=False))
        ctx.require(isinstance(error, RequestError), "a `RequestError` for a schema that is none", repr(error))


async def _require_unsupported(ctx: Context, feature: str, request: GenerationRequest, names: tuple[str, ...]) -> None:
    error = await _error(ctx, request)
    if not isinstance(error, UnsupportedFeature):
        ctx.fail(f"`UnsupportedFeature` for '{feature}', which is not declared", repr(error))
    param = error.param or ""
    ctx.require(any(name in param for name in names), f"a param that names {' or '.join(names)}", repr(error.param))


async def _error(ctx: Context, request: GenerationRequest) -> EnginehouseError | None:
    """The error that *request* ends with, both ways; fails where it is not one of the contract, or the ways differ."""
    found: list[EnginehouseError | None] = []
    for ask in _BOTH:
        try:
            await ask(ctx, request)
        except EnginehouseError as exc:
            found.append(exc)
        except Ended:
            raise
        except Exception as exc:  # noqa: BLE001  # a foreign exception is what the rule forbids
            ctx.fail("an error of enginehouse_plugin.errors", repr(exc))
        else:
            found.append(None)
    pulled, pushed = found
    ctx.require(type(pulled) is type(pushed), f"from `start` what `generate` raises, {pulled!r}", repr(pushed))
    return pulled


# ---- leaving ----


async def _leave_unstarted(events: Events) -> None:
    await events.aclose()


async def _leave_before_the_first_event(events: Events) -> None:
    await _cancelled_next(events)
    await events.aclose()


async def _leave_by_closing(events: Events) -> None:
    await _take(events, 1)
    await events.aclose()


async def _leave_by_cancelling(events: Events) -> None:
    await _take(events, 2)
    await _cancelled_next(events)
    await events.aclose()


async def _take(events: Events, count: int) -> None:
    """Take *count* events, or all there are."""
    for _ in range(count):
        await anext(events, None)


async def _cancelled_next(events: Events) -> asyncio.Task[AnyEvent] | None:
    """Wait for the next event and cancel that: the task, which has ended.

    What is ready at once is taken; None where the answer ends before there was anything to wait for.
    """
    while True:
        task = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))
            return task
        if isinstance(task.exception(), StopAsyncIteration):
            return None
        task.result()


_WAYS: tuple[Callable[[Events], Awaitable[None]], ...] = (
    _leave_unstarted,
    _leave_before_the_first_event,
    _leave_by_closing,
    _leave_by_cancelling,
)


async def _long_request(ctx: Context) -> GenerationRequest:
    """A request that goes on until it is left."""
    tokens = min(_LONG_TOKENS, ctx.backend.instance.capabilities.context_tokens // 2)
    return ctx.backend.request(ctx.body(max_tokens=tokens, **await endless(ctx)), stream=ctx.has("streaming"))


@check("C1", exclusive=True)
async def leaving_frees_the_slot(ctx: Context) -> None:
    instance = ctx.backend.instance
    began = now_s()
    await ctx.ask(ctx.body(max_tokens=1))
    idle_s = now_s() - began
    request = await _long_request(ctx)
    slots = min(instance.capabilities.max_concurrent_requests, _MOST_SLOTS)
    within_s = ctx.time_for(3 * idle_s + _FREE_WITHIN_S)
    for leave in _WAYS:
        what = leave.__name__.strip("_").replace("_", " ")
        left = now_s()
        with _of_the_contract(ctx):
            try:
                for _ in range(slots + 1):
                    async with asyncio.timeout(within_s):
                        await leave(instance.generate(request))
                left = now_s()
                async with asyncio.timeout(within_s):
                    await ctx.ask(ctx.body(max_tokens=1))
            except TimeoutError:
                ctx.fail(f"another request served within {within_s:.1f} s of those left ({what})", "no answer")
            except RuntimeError as exc:  # what Python raises where a generator yields while it is closed
                ctx.fail(f"the generator to end when it is left ({what})", str(exc))
        await _require_idle(ctx, left, within_s, what)
    for after, is_paused, what in ((0, False, "at once"), (1, False, "after a batch"), (1, True, "while paused")):
        left = now_s()
        with _of_the_contract(ctx):
            try:
                for _ in range(slots + 1):
                    async with asyncio.timeout(within_s):
                        await _cancel(ctx, request, after, is_paused=is_paused)
                left = now_s()
                async with asyncio.timeout(within_s):
                    await ctx.ask(ctx.body(max_tokens=1))
            except TimeoutError:
                ctx.fail(f"a run that is cancelled {what} to release its slot within {within_s:.1f} s", "it does not")
        await _require_idle(ctx, left, within_s, what)


async def _require_idle(ctx: Context, left: float, within_s: float, what: str) -> None:
    if "active_requests" in ctx.hooks.names:
        while await ctx.hooks.active_requests():
            ctx.require(now_s() - left < within_s, f"no request left at work ({what})", "some are")
            await asyncio.sleep(0.05)


async def _cancel(ctx: Context, request: GenerationRequest, after: int, *, is_paused: bool = False) -> Heard:
    """Start *request* and cancel it after as many batches, or its end; returns once its slot is free."""
    heard = Heard(ctx)
    run = heard.start(request)
    await heard.wait_for(after)
    if is_paused:
        run.pause()
    heard.is_cancelled = True
    run.cancel()
    run.cancel()
    await run.wait_released()
    heard.require_right()
    return heard


@check("C2", exclusive=True)
async def cancellation_is_not_swallowed(ctx: Context) -> None:
    request = await _long_request(ctx)
    for taken in (0, 1, 3):
        events = ctx.backend.instance.generate(request)
        with _of_the_contract(ctx):
            try:
                await _take(events, taken)
                await _require_cancellable(ctx, events, taken)
            except BaseException:
                with suppress(RuntimeError):  # what goes on after it was cancelled cannot be closed either
                    await events.aclose()
                raise
            await _close(ctx, events)
            events = ctx.backend.instance.generate(request)
            await _take(events, taken)
            await _close(ctx, events)
            heard = await _cancel(ctx, request, taken)
        await asyncio.sleep(0.05)
        heard.require_right()


@check("C3", exclusive=True)
async def a_paused_run_waits(ctx: Context) -> None:
    heard = Heard(ctx)
    with _of_the_contract(ctx):
        run = heard.start(await _long_request(ctx))
        try:
            await heard.wait_for(1)
            run.pause()
            run.pause()
            await asyncio.sleep(ctx.time_for(_UNDER_WAY_S))
            before = len(heard.events_heard)
            if heard.over.is_set():
                ctx.note("the answer was under way as a whole: there was nothing to hold back")
            await asyncio.sleep(ctx.time_for(_UNDER_WAY_S))
            since = len(heard.events_heard) - before
            ctx.require(not since, "no more events while the run is paused", f"{since} came")
            run.resume()
            async with asyncio.timeout(ctx.time_for(_END_WITHIN_S)):
                await heard.wait_for(heard.batches + 1)
        except TimeoutError:
            ctx.fail("events to come again after `resume`", "none came")
        finally:
            heard.is_cancelled = True
            run.cancel()
    await run.wait_released()
    heard.require_right()


async def _require_cancellable(ctx: Context, events: Events, taken: int) -> None:
    """Cancel the next of *events*, of which *taken* came: that raises CancelledError, and no more come."""
    try:
        async with asyncio.timeout(ctx.time_for(_END_WITHIN_S)):
            task = await _cancelled_next(events)
    except TimeoutError:
        ctx.fail("the cancelled `__anext__` to end", "it does not")
    if task is None:
        ctx.note(f"after {taken} events the engine never waits: there was nothing to cancel")
    elif not task.cancelled():
        ctx.fail("the cancelled `__anext__` to raise CancelledError", _outcome(task))
    after = [event async for event in events]
    ctx.require(not after, "no event after the cancellation", after)


def _outcome(task: asyncio.Task[AnyEvent]) -> str:
    exc = task.exception()
    return f"it returned {task.result()!r}" if exc is None else f"it raised {exc!r}"


async def _close(ctx: Context, events: Events) -> None:
    try:
        await events.aclose()
    except RuntimeError as exc:
        ctx.fail("`aclose` to end the generator without an event", str(exc))

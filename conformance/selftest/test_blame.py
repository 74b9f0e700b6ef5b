"""What a target does wrong is its failure: no mistake of the check, and no doubt of the harness."""

from __future__ import annotations

import asyncio

import pytest

from conformance_stub import Behaviour, StubServer, stub_backend, vocabulary
from conformance_stub.trial import by_verdict, run_on_stub, run_on_stub_backend
from enginehouse_conformance.declared import Declared, Hooks
from enginehouse_conformance.registry import all_checks
from enginehouse_conformance.rules import RULES
from enginehouse_conformance.runner import Options, run_suite
from enginehouse_conformance.targets import BackendTarget, UrlTarget
from enginehouse_conformance.verdicts import Verdict
from enginehouse_plugin import Placement

ENDS = (vocabulary.EOS, vocabulary.END_TURN)


class Hangs(Behaviour):
    """Once a client has left a stream, it takes requests that are not streamed and never answers them."""

    was_left = False

    async def events(self, events, request):
        if self.was_left and not request.stream:
            await asyncio.Event().wait()
        is_whole = False
        try:
            async for event in super().events(events, request):
                yield event
            is_whole = True
        finally:
            self.was_left = self.was_left or not is_whole


class IsGone(Hangs):
    """Once clients have left, it is not there any more."""

    server: StubServer

    async def events(self, events, request):
        try:
            async for event in super().events(events, request):
                yield event
        finally:
            if self.was_left:
                await self.server.stop_listening()


async def on_a_server(behaviour, rule, *, look_s):
    """The one result on a server that gets *look_s* to answer a plain request."""
    async with StubServer(behaviour) as server:
        behaviour.server = server
        declared = Declared(eos_ids=ENDS, vocabulary_size=vocabulary.SIZE)
        target = UrlTarget(server.url, model=behaviour.model, declared=declared, timeout_s=60)
        options = Options(only=frozenset({rule}), check_timeout_s=look_s, patience_s=0.1)
        report = await run_suite(target, options)
    return report.results[0], report.fault


@pytest.mark.parametrize("rule", ["SSE18", "ISO3"])
async def test_a_target_that_hangs_after_clients_have_left_fails_the_rule_about_it(rule) -> None:
    """The probe of the rule gets no answer, and nor does a plain request after it."""
    result, fault = await on_a_server(Hangs(), rule, look_s=5.0)
    assert result.verdict is Verdict.FAIL
    assert "no answer within 5 s" in result.seen
    assert "a plain request was not served either" in result.seen
    assert fault is not None
    assert f"gone since {rule} ran" in fault


async def test_a_target_that_is_gone_after_clients_have_left_is_not_blamed() -> None:
    """Who takes no connection may be out of reach for other reasons."""
    result, fault = await on_a_server(IsGone(), "SSE18", look_s=5.0)
    assert result.verdict is Verdict.ERROR
    assert "out of reach" in result.message
    assert fault is not None


class HoldsItsClients(Behaviour):
    """A long answer that is left holds on to who leaves it."""

    async def events(self, events, request):
        try:
            async for event in super().events(events, request):
                yield event
        except asyncio.CancelledError:
            await asyncio.sleep(100 if (request.max_tokens or 0) > 100 else 0)
            raise


@pytest.mark.parametrize("rule", ["SSE18", "C2"])
async def test_a_stream_that_cannot_be_left_is_a_failure(rule) -> None:
    placement = Placement(model="stub-1", backend="stub", source="toy")
    target = BackendTarget(stub_backend(HoldsItsClients()), placement, declared=Declared(eos_ids=ENDS))
    report = await run_suite(target, Options(only=frozenset({rule}), time_scale=0.2, patience_s=0.1))
    assert by_verdict(report, Verdict.FAIL).keys() == {rule}, by_verdict(report, *Verdict)
    assert "can be left" in report.results[0].expected or "cancelled `__anext__`" in report.results[0].expected


class RaisesAKeyError(Behaviour):
    """A request of more than one token ends with a KeyError."""

    async def events(self, events, request):
        async for event in super().events(events, request):
            yield event
            if request.max_tokens != 1:
                raise KeyError("slot")


class SaysNothing(Behaviour):
    """A request has no events at all."""

    async def events(self, events, request):
        async for event in super().events(events, request):
            if request.max_tokens == 0:
                yield event


@pytest.mark.parametrize(
    ("behaviour", "rules"), [(RaisesAKeyError, {"S1", "S2", "C1", "C2"}), (SaysNothing, {"S1", "S2"})]
)
async def test_what_a_backend_raises_is_no_mistake_of_the_check(behaviour, rules) -> None:
    report = await run_on_stub_backend(behaviour(), rules=rules)
    assert by_verdict(report, Verdict.FAIL).keys() == rules, by_verdict(report, *Verdict)


class OddChunks(Behaviour):
    """Chunks whose `object` is an object, and whose first delta is null."""

    def chunks(self, chunks, body):
        for chunk in chunks:
            chunk["object"] = {"is": "chunk"}
            for choice in chunk["choices"]:
                choice["delta"] = None if choice["delta"].get("role") else choice["delta"]
        return chunks


class OddEntries(Behaviour):
    """Entries whose `bytes` are a number."""

    def entries(self, logprobs):
        entries = super().entries(logprobs)
        for entry in entries:
            entry["bytes"] = 2**63
        return entries


class LikelierThanCertain(Behaviour):
    """Log probabilities far above 0."""

    def entries(self, logprobs):
        entries = super().entries(logprobs)
        for entry in entries:
            for top in entry["top_logprobs"]:
                top["logprob"] = 1000.0
        return entries


@pytest.mark.parametrize(
    ("behaviour", "seen"),
    [
        (OddChunks, {"SSE4": "None", "SSE5": "{'is': 'chunk'}"}),
        (OddEntries, {"LP2": "`bytes` is no array"}),
        (LikelierThanCertain, {"LP3": "1000.0", "LP7": "54.3656"}),
    ],
)
async def test_odd_parts_of_answers_are_no_mistake_of_the_check(behaviour, seen) -> None:
    report = await run_on_stub(behaviour(), rules=seen)
    assert by_verdict(report, Verdict.FAIL).keys() == seen.keys(), by_verdict(report, *Verdict)
    assert all(seen[result.rule] in result.seen for result in report.results), by_verdict(report, *Verdict)


async def test_a_hook_that_does_not_work_says_nothing_about_the_target(serve) -> None:
    """It is no part of the API: whether it closes the connection or answers 500, there is no verdict."""

    async def closes(reader, writer):
        writer.close()

    async def breaks(reader, writer):
        writer.write(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n")

    rules = frozenset(
        rule for rule in all_checks() if "fault" in RULES[rule].hooks and "document" not in RULES[rule].parameters
    )
    assert rules
    for hook in (closes, breaks):
        async with StubServer() as server:
            declared = Declared(hooks=Hooks(url=serve(hook), names=("fault",)))
            target = UrlTarget(server.url, model="stub-1", declared=declared, timeout_s=60)
            report = await run_suite(target, Options(only=rules))
        errors = by_verdict(report, Verdict.ERROR)
        assert errors.keys() == rules, by_verdict(report, *Verdict)
        assert all("the hook 'fault' did not work" in message for message in errors.values())


async def test_a_backend_that_cannot_say_how_it_is_ends_no_run() -> None:
    target = BackendTarget(stub_backend(), Placement(model="stub-1", backend="stub", source="toy"))
    await target.open()

    async def check_ready() -> None:
        raise ValueError("not now")

    target.instance.check_ready = check_ready
    target.open = _nothing
    report = await run_suite(target, Options(only=frozenset({"SMP1"})))
    assert report.fault is not None
    assert "ValueError: not now" in report.fault


async def _nothing() -> None:
    """It is open."""

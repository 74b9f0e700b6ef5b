"""An answer that max_tokens cut says nothing against a target, unless it could never have become the right one."""

from __future__ import annotations

import msgspec
import pytest

from conformance_stub import Behaviour, Rejected
from conformance_stub.grammar import Lit, OneOf, Rep, Seq, mask_of
from conformance_stub.trial import by_verdict, run_on_stub, run_on_stub_backend
from enginehouse_conformance.primitives import is_cut_short
from enginehouse_conformance.verdicts import Verdict
from enginehouse_plugin import Finished, ToolCallDelta

FORCED = ("SSE6", "SSE15", "X1", "X4", "X7", "X12", "X16", "ISO1")
CALLS = ("TOOL15", "X11", "X14", "ISO6")
BLANKS = Rep(OneOf(mask_of(b" \n")), 400, None)
LETTERS = Rep(OneOf(mask_of(b"abcdefghijklmnopqrstuvwxyz")), 400, None)
TIMEOUT_S = 120.0  # generous: nothing here is about time


class BlanksToTheLimit(Behaviour):
    """JSON may have blanks between its parts, and a model may write nothing else; *times*: so many answers do."""

    def __init__(self, times: int = 10**9) -> None:
        self.left = times

    def output_grammar(self, request):
        node = super().output_grammar(request)
        return node if node is None else self._begun(node, request.id)

    def arguments_grammar(self, tool):
        return self._begun(super().arguments_grammar(tool), tool.name)

    def _begun(self, node, key):
        # Each grammar is made twice: when the request is checked, and when it is generated.
        self.asked = getattr(self, "asked", [])
        if key not in self.asked:
            self.asked.append(key)
        return Seq((BLANKS, node)) if self.asked.index(key) < self.left else node

    def prepare(self, body):
        """Arguments of the history must be JSON, which the rules allow."""
        for message in body["messages"]:
            for call in message.get("tool_calls") or ():
                try:
                    msgspec.json.decode(call["function"]["arguments"])
                except msgspec.DecodeError as exc:
                    raise Rejected(f"messages: arguments that are no JSON: {exc}", param="messages") from exc
        return super().prepare(body)


class AnotherValueToTheLimit(Behaviour):
    """Cut answers and calls that begin as JSON, but as no answer that the schema allows."""

    def output_grammar(self, request):
        node = super().output_grammar(request)
        return node if node is None else Seq((Lit(b'{"w":"'), LETTERS))

    def arguments_grammar(self, tool):
        return Seq((Lit(b'{"w":"'), LETTERS))


class AlwaysSaysLength(Behaviour):
    """Every answer is said to have reached the limit."""

    def finish(self, reason, *, is_call):
        return "length"


class CutBeforeTheCall(Behaviour):
    """The limit comes before a call has begun."""

    async def events(self, events, request):
        is_call = False
        async for event in super().events(events, request):
            if isinstance(event, ToolCallDelta):
                is_call = True
            elif isinstance(event, Finished) and is_call:
                yield msgspec.structs.replace(event, reason="length")
            else:
                yield event


async def run(behaviour, *rules):
    return await run_on_stub(behaviour, rules=rules, check_timeout_s=TIMEOUT_S)


async def test_blanks_to_the_limit_support_no_verdict() -> None:
    report = await run(BlanksToTheLimit(), *FORCED, *CALLS)
    assert by_verdict(report, Verdict.INCONCLUSIVE).keys() == {*FORCED, *CALLS}, by_verdict(report, *Verdict)


async def test_blanks_to_the_limit_support_no_verdict_without_http() -> None:
    rules = ("X1", "X4", "X7", "X12", "X16", "ISO1", "ISO6")
    report = await run_on_stub_backend(BlanksToTheLimit(), rules=rules, check_timeout_s=TIMEOUT_S)
    assert by_verdict(report, Verdict.INCONCLUSIVE).keys() == set(rules), by_verdict(report, *Verdict)


@pytest.mark.parametrize("rule", FORCED)
async def test_what_was_cut_once_is_asked_for_again(rule) -> None:
    report = await run(BlanksToTheLimit(times=1), rule)
    assert by_verdict(report, Verdict.PASS).keys() == {rule}, by_verdict(report, *Verdict)


async def test_a_cut_answer_that_could_never_become_the_right_one_fails() -> None:
    rules = (*FORCED, "X11", "ISO6")
    report = await run(AnotherValueToTheLimit(), *rules)
    assert by_verdict(report, Verdict.FAIL).keys() == set(rules), by_verdict(report, *Verdict)


async def test_a_whole_answer_is_judged_whatever_it_is_said_to_be() -> None:
    """A stop string that ends each answer with "length" is wrong (X1): the limit cannot come there each time."""
    report = await run(AlwaysSaysLength(), "X1", "X4", "X7", "X12", "ISO1")
    assert by_verdict(report, Verdict.FAIL).keys() == {"X1"}
    assert by_verdict(report, Verdict.PASS).keys() == {"X4", "X7", "X12", "ISO1"}


async def test_a_call_that_had_not_begun_supports_no_verdict() -> None:
    rules = {"X11", "X14", "ISO6", "LP15"}
    report = await run(CutBeforeTheCall(), *rules)
    assert by_verdict(report, Verdict.INCONCLUSIVE).keys() == rules, by_verdict(report, *Verdict)


@pytest.mark.parametrize(
    "text", ["", " \n", "{", ' { "v', '{"v" : \t', '{"v":"', '{"v":"abc', '{"v":"abcdef"', ' {"v":"abcdef" \n']
)
def test_a_beginning_is_cut_short(text) -> None:
    assert is_cut_short(text, "abcdef")


@pytest.mark.parametrize(
    "text",
    [
        '{"v":"abcdef"}',
        '{"v":"abcdef"}\n',
        '{"v":"x',
        '{"v":"abc d',
        '{"w',
        "Sure! {",
        "\u00a0",
        '{"v":"abcdef","',
        "[",
        '{"v":1}',
    ],
)
def test_what_is_whole_or_wrong_is_not_cut_short(text) -> None:
    assert not is_cut_short(text, "abcdef")


@pytest.mark.parametrize("text", ['{"v":"\\ud83e', '{"v":"🦊 \ufffd', '{"v":"'])
def test_characters_may_be_escaped_where_an_answer_is_cut(text) -> None:
    assert is_cut_short(text, "🦊 日本")

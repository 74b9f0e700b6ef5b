"""What looks like a quiet change and is none: a template that trims, a model that calls no tool by itself."""

from __future__ import annotations

import unicodedata

import msgspec
import pytest

from conformance_stub import Behaviour, StubServer, stub_backend, vocabulary
from conformance_stub.trial import run_on_stub
from enginehouse_conformance.declared import Declared
from enginehouse_conformance.runner import Options, run_suite
from enginehouse_conformance.targets import BackendTarget, UrlTarget
from enginehouse_conformance.verdicts import Verdict
from enginehouse_plugin import Chat, Placement, TextPart


class TrimsInItsTemplate(Behaviour):
    """Each text is shown without blanks at its ends, as `| trim` does it in a template."""

    def prompt_tokens(self, request):
        if not isinstance(request.prompt, Chat):
            return super().prompt_tokens(request)
        shown = tuple(msgspec.structs.replace(one, content=_trimmed(one.content)) for one in request.prompt.messages)
        return super().prompt_tokens(msgspec.structs.replace(request, prompt=Chat(messages=shown)))


def _trimmed(content):
    if isinstance(content, str):
        return content.strip()
    return content and tuple(TextPart(text=part.text.strip()) for part in content)


@pytest.mark.parametrize("declared", [Declared(), Declared(template_trims=True)])
async def test_a_template_that_trims_fails_at_most_what_says_how_to_declare_it(declared) -> None:
    backend = stub_backend(TrimsInItsTemplate())
    target = BackendTarget(backend, Placement(model="stub-1", backend="stub", source="toy"), declared=declared)
    report = await run_suite(target, Options(only=frozenset({"MSG37", "MSG38"})))
    forms, ends = report.results
    assert forms.verdict is Verdict.PASS
    assert "in no form" in forms.notes[0]
    if declared.template_trims is True:
        assert ends.verdict is Verdict.NOT_APPLICABLE
    else:
        assert (ends.verdict, ends.level) == (Verdict.FAIL, "SHOULD")
        assert "template_trims = true" in ends.message


async def report_on(behaviour, rule, declared=None):
    target = BackendTarget(
        stub_backend(behaviour),
        Placement(model="stub-1", backend="stub", source="toy"),
        declared=declared or Declared(),
    )
    return (await run_suite(target, Options(only=frozenset({rule})))).results[0]


class MergesInItsTemplate(Behaviour):
    """Messages of one role in a row are shown as one, as templates do whose roles alternate."""

    def prompt_tokens(self, request):
        shown = []
        for message in request.prompt.messages:
            if shown and type(shown[-1]) is type(message):
                content = f"{shown[-1].content}\n\n{message.content}"
                shown[-1] = msgspec.structs.replace(message, content=content)
            else:
                shown.append(message)
        return super().prompt_tokens(msgspec.structs.replace(request, prompt=Chat(messages=tuple(shown))))


@pytest.mark.parametrize(
    ("declared", "verdict"), [(None, Verdict.FAIL), (Declared(template_merges=True), Verdict.NOT_APPLICABLE)]
)
async def test_a_template_that_merges_can_be_declared(declared, verdict) -> None:
    found = await report_on(MergesInItsTemplate(), "MSG41", declared)
    assert found.verdict is verdict
    assert declared or ("template_merges = true" in found.message and found.level == "SHOULD")


@pytest.mark.parametrize("has_hook", [True, False])
async def test_a_tokenizer_that_normalises_is_no_fault_of_the_server(has_hook, monkeypatch) -> None:
    encode = vocabulary.encode
    monkeypatch.setattr(vocabulary, "encode", lambda text: encode(unicodedata.normalize("NFC", text)))
    if has_hook:
        found = await report_on(Behaviour(), "MSG40")
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert "the model's own tokenizer" in found.message
        return
    async with StubServer() as server:
        target = UrlTarget(server.url, model=server.behaviour.model, declared=Declared(), timeout_s=60)
        found = (await run_suite(target, Options(only=frozenset({"MSG40"})))).results[0]
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "the server cannot be told from the tokenizer" in found.message


class BreaksTies(Behaviour):
    """The two likeliest tokens are nearly equally likely, and which of them comes changes with the sampler."""

    def logits(self, state, position, request, is_structured):
        values = super().logits(state, position, request, is_structured)
        if position == 1:
            first, second = sorted(range(len(values)), key=values.__getitem__, reverse=True)[:2]
            values = list(values)
            values[second] = values[first] + (0.01 if request.top_p < 1 else -0.01)
        return values


async def test_the_other_of_two_nearly_equal_tokens_is_a_tie() -> None:
    found = await report_on(BreaksTies(), "SMP5")
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "a tie" in found.message


class TakesTheFifth(Behaviour):
    """Where the two likeliest tokens are nearly equally likely, the fifth comes with top_p."""

    def logits(self, state, position, request, is_structured):
        values = list(super().logits(state, position, request, is_structured))
        if position == 1:
            first, second, *_, fifth = sorted(range(len(values)), key=values.__getitem__, reverse=True)[:5]
            values[second] = values[first] - 0.01
            values[fifth] += 3 if request.top_p < 1 else 0
        return values


async def test_a_token_that_has_no_part_in_a_tie_is_a_difference() -> None:
    assert (await report_on(TakesTheFifth(), "SMP5")).verdict is Verdict.FAIL


class CallsNothing(Behaviour):
    """The model makes no call by itself."""

    def tools_to_call(self, request, rng):
        return () if request.tool_choice == "auto" else super().tools_to_call(request, rng)


@pytest.mark.parametrize(
    ("absent", "verdict"), [((), Verdict.PASS), (("tool_choice_named", "tool_choice_required"), Verdict.NOT_APPLICABLE)]
)
async def test_of_a_model_that_calls_nothing_only_forced_calls_are_judged(absent, verdict) -> None:
    report = await run_on_stub(CallsNothing(), rules={"TOOL29"}, absent=frozenset(absent))
    assert report.results[0].verdict is verdict

"""What looks like a quiet change and is none: a template that trims, a model that calls no tool by itself."""

from __future__ import annotations

import msgspec
import pytest

from conformance_stub import Behaviour, stub_backend
from conformance_stub.trial import run_on_stub
from enginehouse_conformance.declared import Declared
from enginehouse_conformance.runner import Options, run_suite
from enginehouse_conformance.targets import BackendTarget
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

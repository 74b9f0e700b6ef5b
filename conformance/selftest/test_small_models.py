"""Small models: what cannot be tried on them is said so, and what can be is judged as on any other."""

from __future__ import annotations

import msgspec
import pytest

from conformance_stub import StubServer
from conformance_stub.small import BLANKS, FEATURES, SmallInstance, small_backend
from conformance_stub.trial import by_verdict
from enginehouse_conformance import BackendTarget, Declared, Options, Report, UrlTarget, Verdict, run_suite
from enginehouse_plugin import Placement, TextDelta
from enginehouse_plugin.errors import ContextTooLong

BAD = (Verdict.FAIL, Verdict.ERROR)
SMALL = {
    "31 tokens": {},
    "31 tokens, as many as are not told": {"tells_vocabulary": False},
    "a context of 64 tokens": {"context_tokens": 64},
    "no token that can be seen": {"letters": BLANKS},
    "no token that can be seen, as many as are not told": {"letters": BLANKS, "tells_vocabulary": False},
}
PLAIN_WORDS = (
    "cannot be tried", "no room in the context of", "to stop within", "no stop string",
    "cannot be told from", "too few of the characters", "ends before the limit",
)  # fmt: skip


async def report_on(instance: SmallInstance, *rules: str) -> Report:
    placement = Placement(model="small", backend="small", source="toy")
    # A message ends with a line, and nothing tells who said it.
    target = BackendTarget(small_backend(instance), placement, declared=Declared(template_merges=True))
    only = frozenset(rules) or None
    return await run_suite(target, Options(only=only, check_timeout_s=60.0, patience_s=1.0))


async def report_over_http(instance: SmallInstance) -> Report:
    told = instance.capabilities
    declared = Declared(
        features=FEATURES,
        context_tokens=told.context_tokens,
        vocabulary_size=told.vocabulary_size,
        limits=dict(told.limits),
        template_merges=True,
    )
    async with StubServer() as server:
        server.instance = instance
        target = UrlTarget(server.url, model=server.behaviour.model, declared=declared, timeout_s=60.0)
        options = Options(endpoints=frozenset({"chat"}), check_timeout_s=60.0, patience_s=1.0)
        return await run_suite(target, options)


@pytest.mark.parametrize("name", ["31 tokens", "a context of 64 tokens"])
async def test_a_right_model_fails_nothing_over_http_however_small(name) -> None:
    report = await report_over_http(SmallInstance(**SMALL[name]))
    assert by_verdict(report, *BAD) == {}
    assert report.summary.verdicts["pass"] > 90


@pytest.mark.parametrize("fields", SMALL.values(), ids=SMALL.keys())
async def test_a_right_model_fails_nothing_however_small(fields) -> None:
    report = await report_on(SmallInstance(**fields))
    assert by_verdict(report, *BAD) == {}
    assert report.summary.verdicts["pass"] > 30


@pytest.mark.parametrize("fields", SMALL.values(), ids=SMALL.keys())
async def test_what_cannot_be_tried_is_said(fields) -> None:
    unclear = by_verdict(await report_on(SmallInstance(**fields)), Verdict.INCONCLUSIVE)
    assert {rule: text for rule, text in unclear.items() if not any(words in text for words in PLAIN_WORDS)} == {}


@pytest.mark.parametrize("is_told", [True, False])
async def test_of_31_tokens_nearly_everything_can_be_tried(is_told) -> None:
    """Left: to leave in time, as the model is fast or its context short, characters that it lacks, what is far back."""
    report = await report_on(SmallInstance(tells_vocabulary=is_told))
    assert by_verdict(report, Verdict.INCONCLUSIVE).keys() <= {
        "MSG14",
        "MSG24",
        "MSG33",
        "MSG36",
        "MSG40",
        "MSG43",
        "MSG45",
        "SSE18",
        "SSE28",
        "ISO9",
        "ISO12",
        "ISO13",
    }
    assert "one character" in by_verdict(report, Verdict.NOT_APPLICABLE)["STOP4"]


@pytest.mark.parametrize("is_told", [True, False])
async def test_a_bias_that_is_ignored_fails_on_31_tokens_too(is_told) -> None:
    report = await report_on(SmallInstance(has_bias=False, tells_vocabulary=is_told), "BIAS1", "BIAS2")
    assert "one token alone under a bias of 100" in by_verdict(report, Verdict.FAIL)["BIAS1"]


class BiasOfNothing(SmallInstance):
    """A bias of 0 shifts what comes."""

    def _sampled(self, raw, request, tokens, dice):
        token = super()._sampled(raw, request, tokens, dice)
        return (token + 1) % 26 if 0 in request.logit_bias.values() else token


@pytest.mark.parametrize("is_told", [True, False])
async def test_a_bias_of_0_that_changes_something_fails_on_31_tokens_too(is_told) -> None:
    report = await report_on(BiasOfNothing(tells_vocabulary=is_told), "BIAS3")
    assert by_verdict(report, Verdict.FAIL).keys() == {"BIAS3"}


class Refuses(SmallInstance):
    """No bias at all is taken, although the feature is declared."""

    def _require_known(self, request):
        super()._require_known(request)
        if request.logit_bias:
            super()._require_known(_with_bias(request))


def _with_bias(request):
    return msgspec.structs.replace(request, logit_bias={10_000: 1.0})


async def test_a_declared_bias_that_is_refused_whatever_the_id_fails() -> None:
    report = await report_on(Refuses(tells_vocabulary=False), "BIAS1", "BIAS7")
    assert all("the request to be served" in text for text in by_verdict(report, Verdict.FAIL).values())
    assert by_verdict(report, Verdict.FAIL).keys() == {"BIAS1", "BIAS7"}


class Shorter(SmallInstance):
    """Declares a context of 2048 tokens, and refuses what is over 64."""

    async def generate(self, request):
        prompt_tokens = await self.count_tokens(request)
        if prompt_tokens + (request.max_tokens or 1) > 64:
            raise ContextTooLong(prompt_tokens=prompt_tokens, limit_tokens=64, max_tokens=request.max_tokens)
        async for event in super().generate(request):
            yield event


async def test_a_context_that_is_shorter_than_declared_fails() -> None:
    report = await report_on(Shorter(context_tokens=2048), "STOP1", "MSG1", "S1", "C1")
    assert {"STOP1", "MSG1", "C1"} <= by_verdict(report, Verdict.FAIL).keys()


class Control(SmallInstance):
    """The marks `<|end|>` and `</s>` are read as control, in the text of a user too."""

    def _tokens(self, request):
        tokens = super()._tokens(request)
        text = str(request.prompt)
        return tokens[: len(tokens) - 2 * text.count("<|end|>")]


async def test_a_mark_that_is_read_as_control_fails_on_31_tokens_too() -> None:
    report = await report_on(Control(), "MSG14")
    assert by_verdict(report, Verdict.FAIL).keys() == {"MSG14"}


class Silent(SmallInstance):
    """Leaves its text out where a stop string is given."""

    async def generate(self, request):
        async for event in super().generate(request):
            if not (request.stop and isinstance(event, TextDelta)):
                yield event


async def test_a_fault_is_caught_on_31_tokens_as_on_any_other() -> None:
    failed = by_verdict(await report_on(Silent()), Verdict.FAIL)
    assert {"STOP1", "STOP2", "STOP12", "X5"} <= failed.keys()

"""What a target declares about itself at `/models` stands in for a file, and is believed no more than one."""

from __future__ import annotations

import json

import msgspec
import pytest

from conformance_stub import STUB_FEATURES, Behaviour, StubServer
from enginehouse_conformance.declared import Declared
from enginehouse_conformance.results import Report
from enginehouse_conformance.runner import Options, run_suite
from enginehouse_conformance.selection import select
from enginehouse_conformance.targets import UrlTarget
from enginehouse_conformance.targets.card import read_card

QUIET = STUB_FEATURES - {"reasoning", "reasoning_effort"}


class Told(Behaviour):
    """The card of the model tells features, as Enginehouse's do."""

    told = QUIET

    def model_card(self):
        features = sorted(self.told)
        own = {"features": features, "declared_features": features, "limits": {"n": 128}, "context_length": 8192}
        return {**super().model_card(), **own}


class Thinks(Told):
    """The model reasons where it is not asked to, and its template's marks are left in the content."""

    def answer(self, answer, body):
        for choice in answer["choices"]:
            choice["message"]["content"] = f"<think>hm</think>{choice['message']['content']}"
        return answer


class TellsLess(Told):
    """It has several choices, and says that it has not."""

    told = QUIET - {"n"}


async def report_of(
    behaviour: Behaviour, *rules: str, features: frozenset[str] = QUIET, declared: Declared | None = None
) -> Report:
    async with StubServer(behaviour, features=features) as server:
        target = UrlTarget(server.url, model="stub-1", declared=declared, timeout_s=60.0)
        return await run_suite(target, Options(only=select(rules)))


def verdicts(report: Report) -> dict[str, str]:
    return {result.rule: result.verdict.value for result in report.results}


async def test_what_a_target_says_it_lacks_and_refuses_is_no_open_question() -> None:
    report = await report_of(Told(), "RSN1", "RSN3", "RSN4", "RSN7", "N1", "SMP18")
    assert verdicts(report) == {
        "RSN1": "unsupported",
        "RSN3": "pass",
        "RSN4": "not_applicable",
        "RSN7": "not_applicable",
        "N1": "pass",
        "SMP18": "pass",  # top_k counts only where it is named
    }
    assert report.summary.conforms == "yes"
    assert report.notes == ["features as the target declares them in /v1/models (absent: reasoning_effort)"]
    assert set(report.features) == QUIET | {"reasoning"}
    assert report.declared.limits == {"n": 128}
    assert report.declared.context_tokens == 8192


async def test_without_its_word_all_of_the_profile_is_claimed() -> None:
    report = await report_of(Behaviour(), "RSN3", "SMP18")
    assert verdicts(report) == {"RSN3": "inconclusive", "SMP18": "not_applicable"}
    assert "features as the target" not in " ".join(report.notes)


async def test_an_absence_that_is_a_lie_is_found() -> None:
    report = await report_of(TellsLess(), "N1", "ENV1")
    assert verdicts(report) == {"N1": "fail", "ENV1": "pass"}


async def test_a_presence_that_is_a_lie_is_found() -> None:
    report = await report_of(Told(), "SMP18", "STOP1", features=QUIET - {"top_k", "stop"})
    assert verdicts(report) == {"SMP18": "fail", "STOP1": "fail"}


async def test_reasoning_that_nobody_declares_is_looked_at_all_the_same() -> None:
    report = await report_of(Thinks(), "RSN3")
    assert verdicts(report) == {"RSN3": "fail"}


async def test_a_declaration_overrides_the_target_s_own() -> None:
    report = await report_of(TellsLess(), "N1", declared=Declared())
    assert (verdicts(report), report.notes) == ({"N1": "pass"}, [])


@pytest.mark.parametrize(
    "models",
    [
        b"<html>",
        b'{"data": 5}',
        b'{"data": [5, {"id": "m"}]}',
        b'{"data": [{"id": "m", "features": ["n"]}]}',
        b'{"data": [{"id": "m", "features": {"n": true}, "declared_features": ["n"]}]}',
        b'{"data": [{"id": "m", "features": [], "declared_features": []}]}',
        b'{"data": [{"id": "other", "features": ["n"], "declared_features": ["n"]}]}',
        b'{"data": [{"id": "m", "features": ["n"], "declared_features": ["n"], "limits": {"n": null}}]}',
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_what_cannot_be_read_says_nothing(models) -> None:
    assert read_card(models, "m") is None


def test_a_limit_that_leaves_nothing_to_try_and_an_unknown_feature_are_not_taken() -> None:
    card = {"id": "m", "features": ["n", "levitation"], "declared_features": ["n"], "limits": {"n": 1, "bias": 300}}
    read = read_card(json.dumps({"data": [card]}).encode(), "m")
    assert read is not None
    assert read.limits == {"bias": 300}
    assert read.has("n")
    assert not read.has("stop")
    assert read.denies("top_k")
    assert not read.denies("reasoning")


def test_where_reasoning_is_declared_the_list_is_the_declaration() -> None:
    features = ["n", "reasoning"]
    body = msgspec.json.encode({"data": [{"id": "m", "features": features, "declared_features": features}]})
    assert read_card(body, "m") == Declared(features=frozenset(features))

"""What instances answer: fingerprints at loads, certificates that answers make stale, and references."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.unit.conftest import a_request, turn_until

from enginehouse.certificates.answers import encode_fingerprint
from enginehouse.config import Config, ConfigError, ModelConfig, PlacementConfig
from enginehouse.fleet import explain_request
from enginehouse.fleet import identity as identity_module
from enginehouse.fleet.errors import InstanceUnavailable
from enginehouse_plugin import AnyEvent
from enginehouse_plugin.errors import EngineFailure

from .answering import F16, Q4_0, Q8_0, Engine, probes_of

# ---- fingerprints ----


@pytest.mark.parametrize(("mode", "probes"), [(None, 0), ("certify", 0), ("off", 0), ("load", 24)])
async def test_a_fingerprint_is_taken_at_a_load_where_its_owner_wants_that(street, mode, probes) -> None:
    opened = await street(Engine(), fingerprint=mode, trust="proven").open()
    assert len(probes_of(opened.engines[0])) >= probes
    taken = opened.hosted[0].identity.taken
    assert (taken is not None) is bool(probes)
    if taken is not None:
        assert len(taken.probes) == 24
        assert taken.served_by["backend"] == ["e0 1"]
        assert taken.served_by["engine"] == ["scripted"]
        request = probes_of(opened.engines[0])[0]
        assert (request.temperature, request.max_tokens, request.top_logprobs) == (0, 1, 20)


async def test_no_request_comes_in_before_it_is_taken_where_something_follows_from_it(street) -> None:
    opened = street(Engine(), equivalence="near", load="first_request")
    assert await opened.ask() == "m#0"
    kinds = [request.id.startswith("probe") for request in opened.engines[0].requests]
    assert kinds[:25] == [True] * 24 + [False]


async def test_the_prompts_are_of_a_secret_seed(street, tmp_path) -> None:
    opened = await street(Engine(), equivalence="near").open()
    first = [probe.prompt for probe in opened.hosted[0].identity.taken.probes]
    assert (tmp_path / "data" / "fingerprint-seed").stat().st_mode & 0o777 == 0o600
    again = await street(Engine(), equivalence="near").open()
    assert [probe.prompt for probe in again.hosted[0].identity.taken.probes] == first
    (tmp_path / "data" / "fingerprint-seed").unlink()
    other = await street(Engine(), equivalence="near").open()
    assert [probe.prompt for probe in other.hosted[0].identity.taken.probes] != first


async def test_what_gives_no_log_probabilities_or_fails_serves_and_says_why_it_has_none(street, logs) -> None:
    broken = Engine()
    broken.fails = True
    opened = await street(Engine(gives_logprobs=False), broken, equivalence="near").open()
    assert [hosted.identity.taken for hosted in opened.hosted] == [None, None]
    assert opened.hosted[0].identity.words == "it gives no log probabilities"
    (line,) = [entry for entry in logs if entry["event"] == "fingerprint not taken"]
    assert "out of order" in line["reason"]
    assert await opened.ask() == "m#0"


async def test_what_answers_too_slowly_is_opened_without_a_fingerprint(street, monkeypatch, logs) -> None:
    monkeypatch.setattr(identity_module, "LOAD_S", 0.05)
    slow = Engine()

    async def answers(*told: Any) -> AsyncGenerator[AnyEvent, None]:
        await asyncio.sleep(0.02)
        async for event in Engine.answers(slow, *told):
            yield event

    slow.answer = answers
    opened = await street(slow, equivalence="near").open()
    assert opened.hosted[0].identity.taken is None
    assert "8 are needed" in opened.hosted[0].identity.reason


# ---- certificates ----


async def test_answers_that_are_the_same_leave_a_certificate_current(street) -> None:
    first = await street(Engine(), fingerprint="load", trust="proven").open()
    await first.certify(0, "streaming")
    again = await street(Engine(), fingerprint="load", trust="proven").open()
    assert again.hosted[0].standing.state == "current"
    assert await again.ask() == "m#0"


@pytest.mark.parametrize("error", [Q4_0, Q8_0, F16])
async def test_answers_that_differ_make_it_stale_and_trust_says_what_follows(street, error, logs) -> None:
    first = await street(Engine(), fingerprint="load", trust="proven").open()
    await first.certify(0, "streaming")
    proven = await street(Engine(error), fingerprint="load", trust="proven").open()
    standing = proven.hosted[0].standing
    assert standing.state == "stale"
    assert "is stale: answers differ: D = " in standing.reason
    assert "band '" in standing.reason
    assert proven.hosted[0].capabilities.features == frozenset()
    declared = await street(Engine(error), fingerprint="load", interval_s=86_400).open()
    await turn_until(lambda: declared.hosted[0].standing is not None and declared.hosted[0].standing.state == "stale")
    assert await declared.ask() == "m#0"
    assert any(entry["event"] == "instance not certified" and "answers differ" in entry["reason"] for entry in logs)


async def test_another_number_of_prompt_tokens_is_another_template(street) -> None:
    first = await street(Engine(), fingerprint="load", trust="proven").open()
    await first.certify(0)
    other = Engine()
    other.more_tokens = 1
    opened = await street(other, fingerprint="load", trust="proven").open()
    assert "prompts have other numbers of tokens" in opened.hosted[0].standing.reason


# ---- one ID, one behaviour ----


async def test_by_default_the_distance_is_told_and_none_is_set_aside(street) -> None:
    opened = await street(Engine(), Engine(Q4_0), fingerprint="load").open()
    await turn_until(lambda: opened.hosted[1].identity.difference is not None)
    assert opened.hosted[1].identity.difference.band == "other"
    assert all(hosted.identity.aside is None for hosted in opened.hosted)
    explained = explain_request(a_request(), opened.fleet.models["m"])
    assert "band 'other', from the reference, m#0" in explained.considered[1].reason
    assert all(one.could for one in explained.considered)


async def test_what_is_farther_than_the_band_is_set_aside_and_says_so_everywhere(street, logs) -> None:
    opened = await street(Engine(), Engine(Q4_0), Engine(F16), equivalence="near", prefer="least_loaded").open()
    await turn_until(lambda: opened.hosted[1].identity.aside is not None)
    near, far = opened.hosted[2].identity, opened.hosted[1].identity
    assert near.aside is None
    assert far.aside.startswith("set aside: from the reference, m#0, it has D = ")
    assert far.aside.endswith("band 'other', and equivalence = \"near\"")
    await turn_until(lambda: all(opened.hosted[at].identity.taken.noise is not None for at in (0, 2)))
    assert {await opened.ask() for _ in range(12)} == {"m#0", "m#2"}
    considered = explain_request(a_request(), opened.fleet.models["m"]).considered[1]
    assert not considered.could
    assert "set aside" in considered.reason
    assert [entry["instance"] for entry in logs if entry["event"] == "instance set aside"] == ["m#1"]
    text = opened.service.metrics_text()
    assert 'enginehouse_instance_aside{model="m",instance="m#1"} 1' in text
    assert 'enginehouse_instance_aside{model="m",instance="m#0"} 0' in text
    assert 'enginehouse_instance_distance{model="m",instance="m#1"} 0.' in text
    told = [change for change in opened.changes if "set aside" in change.reason]
    assert [change.instance_id for change in told] == ["m#1"]
    assert told[0].before == told[0].after


async def test_only_where_no_other_serves_a_request_is_refused_with_the_reason(street) -> None:
    opened = await street(Engine(), Engine(Q4_0), equivalence="near").open()
    await turn_until(lambda: opened.hosted[1].identity.aside is not None)
    opened.engines[0].load_errors = [EngineFailure("gone")] * 9
    await opened.hosted[0].drain()
    with pytest.raises(InstanceUnavailable, match=r"set aside|taken it out"):
        await opened.ask()
    assert opened.fleet.snapshot().models["m"].state == "failed" or opened.hosted[0].state == "unloaded"


async def test_those_that_wait_go_elsewhere_when_it_is_set_aside(street) -> None:
    opened = await street(Engine(), Engine(), equivalence="weights").open()
    await turn_until(lambda: opened.hosted[1].identity.difference is not None)
    first, second = opened.hosted
    await turn_until(lambda: all(one.identity.taken.noise is not None for one in opened.hosted))
    first.gate.pause()
    second.gate.running = second.gate.capacity
    asked = asyncio.create_task(opened.ask())
    await turn_until(lambda: bool(second.gate.waiting or first.gate.waiting))
    first.let_in(first.instance)
    other = await street(Engine(Q4_0), fingerprint="load", trust="proven").open()
    second.identity.retaken(other.hosted[0].identity.taken, "changed")
    await second.identity.judge()
    assert await asked == "m#0"
    second.gate.leave(second.gate.capacity)


async def test_the_reference_is_the_first_placement_whoever_loads_first(street) -> None:
    slow, quick_one = Engine(), Engine(Q4_0)
    slow.may_load.clear()
    opened = street(slow, quick_one, equivalence="near")
    opened.fleet.start()
    await turn_until(lambda: opened.hosted[1].identity.taken is not None and opened.hosted[1].state == "ready")
    assert opened.hosted[1].identity.aside is None, "there is nobody else yet"
    slow.may_load.set()
    await turn_until(lambda: opened.hosted[1].identity.aside is not None)
    assert opened.hosted[0].identity.aside is None
    assert await opened.ask() == "m#0"


async def test_a_named_fingerprint_is_asked_with_its_own_prompts(street, tmp_path) -> None:
    first = await street(Engine(), fingerprint="load", trust="proven").open()
    named = tmp_path / "reference.json"
    named.write_bytes(encode_fingerprint(first.hosted[0].identity.taken))
    (tmp_path / "data" / "fingerprint-seed").unlink()
    opened = await street(Engine(Q4_0), Engine(), equivalence="near", reference=str(named)).open()
    await turn_until(lambda: opened.hosted[0].identity.aside is not None)
    assert await opened.ask() == "m#1"
    assert str(named) in opened.hosted[0].identity.aside


async def test_a_reload_judges_by_another_band_at_once(street) -> None:
    opened = await street(Engine(), Engine(Q8_0), equivalence="near").open()
    await turn_until(lambda: opened.hosted[1].identity.aside is not None)
    hosted = opened.hosted[1]
    any_of_them = msgspec.structs.replace(opened.config.models["m"], equivalence="any", fingerprint="load")
    opened.fleet.follow(msgspec.structs.replace(opened.config, models={"m": any_of_them}))
    await turn_until(lambda: hosted.identity.aside is None)
    assert opened.hosted[1] is hosted, "nothing is loaded again"
    assert hosted.gate.is_open


# ---- the configuration ----


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('fingerprint = "always"', "fingerprint"),
        ('[models.m]\nequivalence = "same"\n', "equivalence"),
        ('[models.m]\nequivalence = "near"\nfingerprint = "off"\n', "needs one of each load"),
        ('[models.m]\nreference = "nowhere.json"\n', "there is no file"),
        ("[watch]\ninterval_s = 0.5\n", "interval_s"),
        ("[watch]\nfalse_alarm_days = 0\n", "false_alarm_days"),
    ],
)
def test_bad_values_are_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    from enginehouse.config import load_config

    placements = '[[models.m.placements]]\nbackend = "llamacpp"\nsource = "demo:smollm2-135m"\n'
    (tmp_path / "house.toml").write_text(f"{text}\n{placements}")
    with pytest.raises(ConfigError, match=said):
        load_config(tmp_path / "house.toml")


def test_a_reference_that_is_no_fingerprint_is_refused(tmp_path: Path) -> None:
    from enginehouse.certificates import check_fingerprints

    (tmp_path / "reference.json").write_text("{}")
    model = ModelConfig(
        placements=(PlacementConfig(backend="e0", source="there"),), reference=str(tmp_path / "reference.json")
    )
    with pytest.raises(ConfigError, match="no fingerprint"):
        check_fingerprints(Config(models={"m": model}))


def test_without_the_suite_fingerprints_at_loads_are_refused_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    from enginehouse.certificates import check_fingerprints, suite

    def hidden(_: str) -> None:
        return None

    monkeypatch.setattr(suite.importlib.util, "find_spec", hidden)
    model = ModelConfig(placements=(PlacementConfig(backend="e0", source="there"),))
    check_fingerprints(Config(models={"m": model}))
    with pytest.raises(ConfigError, match=r"enginehouse\[certify\]"):
        check_fingerprints(Config(models={"m": model}, fingerprint="load"))

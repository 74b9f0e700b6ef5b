"""The watch of upstreams: what changes there is found, told, and set aside, and what it costs is told apart."""

from __future__ import annotations

import asyncio

import msgspec
from tests.unit.conftest import turn_until

from enginehouse.accounts import totals
from enginehouse.config import UsageConfig
from enginehouse.fleet import lookout
from enginehouse.service import PROBES

from .answering import Q4_0, Q8_0, SAME, Engine, Street, probes_of


async def watched(opened: Street, at: int) -> None:
    """Wait until the instance *at* is asked now and then, at once after each other."""
    opened.fleet.models["m"].reference.interval_s = 0.0
    identity = opened.hosted[at].identity
    await turn_until(lambda: identity.taken is not None and identity.taken.noise is not None)


async def test_an_upstream_that_changes_is_found_and_set_aside_and_no_request_fails(street, logs) -> None:
    opened = street(Engine(), Engine(), equivalence="weights", interval_s=1.0, prefer="least_loaded")
    opened.fleet.models["m"].reference.interval_s = 0.0
    await opened.open()
    await watched(opened, 1)
    before = len(probes_of(opened.engines[1]))
    opened.engines[1].error = Q4_0
    answered = []
    while opened.hosted[1].identity.aside is None:
        answered.append(await opened.ask())
    needed = len(probes_of(opened.engines[1])) - before
    assert set(answered) <= {"m#0", "m#1"}
    assert needed <= 24 + 10, "a few probes raise the alarm, and all prompts are asked once more"
    await turn_until(lambda: any(entry["event"] == "answers changed" for entry in logs))
    (line,) = [entry for entry in logs if entry["event"] == "answers changed"]
    assert (line["instance"], line["band"]) == ("m#1", "other")
    assert "6 of the last 6 probes were farther" in line["reason"], "for a probe a second; for one a minute it is 4"
    assert any(change.reason.startswith("answers differ: ") for change in opened.changes)
    assert {await opened.ask() for _ in range(6)} == {"m#0"}
    opened.engines[1].error = SAME
    await turn_until(lambda: opened.hosted[1].identity.aside is None)
    assert {await opened.ask() for _ in range(6)} == {"m#0", "m#1"}


async def test_the_first_placement_is_set_aside_itself_when_it_changes(street) -> None:
    opened = street(Engine(), Engine(), equivalence="weights", interval_s=1.0)
    opened.fleet.models["m"].reference.interval_s = 0.0
    await opened.open()
    await watched(opened, 0)
    opened.engines[0].error = Q4_0
    await turn_until(lambda: opened.hosted[0].identity.aside is not None)
    assert "its own first answers, the reference" in opened.hosted[0].identity.aside
    assert opened.hosted[1].identity.aside is None
    assert await opened.ask() == "m#1"


async def test_an_alarm_makes_a_certificate_stale_and_going_back_makes_it_current(street) -> None:
    opened = street(Engine(), fingerprint="load", interval_s=1.0)
    opened.fleet.models["m"].reference.interval_s = 0.0
    await opened.open()
    await watched(opened, 0)
    await opened.certify(0)
    await opened.fleet.compare()
    assert opened.hosted[0].standing.state == "current"
    opened.engines[0].error = Q8_0
    await turn_until(lambda: opened.hosted[0].standing.state == "stale")
    assert "probes were farther from its earlier answers" in opened.hosted[0].standing.reason
    assert opened.hosted[0].identity.aside is None
    opened.engines[0].error = SAME
    await turn_until(lambda: opened.hosted[0].standing.state == "current")


async def test_it_is_asked_only_while_nothing_runs(street) -> None:
    opened = street(Engine(), fingerprint="load", interval_s=1.0)
    opened.fleet.models["m"].reference.interval_s = 0.0
    await opened.open()
    await watched(opened, 0)
    hosted, engine = opened.hosted[0], opened.engines[0]
    hosted.gate.running += 1
    await asyncio.sleep(0.05)
    before = len(engine.requests)
    await asyncio.sleep(0.05)
    assert len(engine.requests) == before
    hosted.gate.leave(1)
    await turn_until(lambda: len(engine.requests) > before)


async def test_without_log_probabilities_texts_are_watched(street, logs) -> None:
    opened = street(Engine(), Engine(gives_logprobs=False), equivalence="weights", interval_s=1.0)
    opened.fleet.models["m"].reference.interval_s = 0.0
    opened.engines[1].may_load.clear()
    opened.fleet.start()
    await turn_until(lambda: opened.hosted[0].state == "ready")
    opened.engines[1].may_load.set()
    await turn_until(lambda: any(entry["event"] == "instance is watched" and "texts" in entry for entry in logs))
    texts = [request for request in opened.engines[1].requests if request.max_tokens == lookout.TEXT_TOKENS]
    assert not any(request.logprobs for request in texts)
    pool = probes_of(opened.engines[0])
    assert len(pool) > 200, "the reference has chosen the prompts"
    opened.engines[1].error = Q8_0
    await turn_until(lambda: opened.hosted[1].identity.aside is not None)
    assert "had another text than before; how far cannot be told" in opened.hosted[1].identity.aside
    assert await opened.ask() == "m#0"


async def test_the_tokens_of_probes_are_a_row_of_their_own(street, tmp_path) -> None:
    opened = await street(Engine(), equivalence="near", usage=True, interval_s=86_400).open()
    await opened.ask()
    opened.service.settle()
    text = opened.service.metrics_text()
    assert 'enginehouse_probe_tokens_total{model="m",instance="m#0",kind="completion"} ' in text
    assert 'enginehouse_tokens_total{model="m",kind="completion"} 1\n' in text
    await opened.close()
    usage = msgspec.structs.replace(opened.config, usage=UsageConfig(str(tmp_path / "u.db")))
    rows = {row.key or "-": row for row in totals(usage, since=0.0, by=("key",))}
    assert rows[PROBES].requests >= 24
    assert rows[PROBES].completion_tokens == rows[PROBES].requests
    assert rows["-"].requests == 1
    opened.ledger = None

"""Where only what is proven is trusted: which features an instance may use, who is chosen, how it is refused.

The engine is scripted (see conftest); it declares `streaming`, `n` and `stop`.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from tests.unit.conftest import CPU, QUICK, House, Reader, a_request

from enginehouse.certificates import Certificate, Certificates, Proof
from enginehouse.fleet import Fleet, Planner, standing
from enginehouse.plugins import Plugins
from enginehouse.service import Service
from enginehouse_plugin import Backend, GenerationRequest
from enginehouse_plugin.errors import LoadFailed, UnsupportedFeature


class Court:
    """A service in front of the house, and the certificates of its models."""

    def __init__(
        self, house: House, folder: Path, *, trust: str = "proven", load: str = "start", **backend: object
    ) -> None:
        self.house = house
        self.certificates = Certificates(folder / "certificates")
        self.kind = house.script.type(**backend)
        config = house.config("m", "twin", load=load)
        twin = msgspec.structs.replace(config.models["twin"], context_tokens=99)
        models = {**config.models, "twin": twin}
        self.config = msgspec.structs.replace(config, models=models, trust=trust)

    async def certify(
        self, *proven: str, failed: Sequence[str] = (), model: str = "m", source: str = "anywhere", **key: object
    ) -> None:
        """Store a certificate of *model*; *key* changes parts of its key."""
        (planned,) = Planner(self.config.models, (CPU,), {"scripted": self.kind}).plans[model].instances
        made = await self.certificates.key(self.kind, planned.for_backend(None), planned.devices)
        proofs = {name: Proof(state="proven", passed=1) for name in proven}
        proofs |= {name: Proof(state="failed", failed=("STOP1",)) for name in failed}
        self.certificates.folder.save(
            Certificate(
                certificate_version=1,
                key=msgspec.structs.replace(made, **key),
                model=model,
                source=source,
                certified_at="2026-11-21T07:30:00+00:00",
                duration_s=1.0,
                selection="all",
                seed=1,
                general=Proof(state="proven", passed=1),
                features=proofs,
            )
        )

    async def open(self) -> Court:
        """Start the fleet and wait until all of it is ready."""
        house = self.house
        house.fleet = Fleet(
            self.config,
            {"scripted": self.kind},
            (CPU,),
            on_change=house._changed,
            policy=QUICK,
            certificates=self.certificates,
        )
        self.service = Service(Plugins(), house.fleet)
        house.fleet.start()
        if self.config.models["m"].load == "start":
            for hosted in house.fleet.instances():
                await house.until("ready", hosted)
        return self

    @property
    def hosted(self):
        return self.house.fleet.models["m"].instances[0]

    async def ask(self, **fields: object) -> str:
        """Ask the model `m`; returns the instance that answered."""
        request: GenerationRequest = a_request(**{"stream": False, **fields})
        facts, reader = self.service.begin("r1"), Reader()
        self.service.open(request, "m", client="a", facts=facts, sink=reader)
        await reader.answer()
        assert facts.instance_id is not None
        return facts.instance_id

    async def refusal(self, **fields: object) -> UnsupportedFeature:
        with pytest.raises(UnsupportedFeature) as caught:
            await self.ask(**fields)
        assert caught.value.code == "unsupported_parameter"
        assert self.hosted.gate.running == 0
        return caught.value


async def test_what_is_declared_is_trusted_unless_the_owner_says_otherwise(house: House, tmp_path: Path) -> None:
    court = await Court(house, tmp_path, trust="declared").open()
    assert await court.ask(stream=True, n=2, stop=("x",)) == "m#0"


async def test_without_a_certificate_every_feature_counts_as_absent(house: House, tmp_path: Path) -> None:
    court = await Court(house, tmp_path).open()
    assert await court.ask() == "m#0", "what needs no feature is served"
    error = await court.refusal(stream=True)
    assert error.param == "stream"
    assert "it has no certificate" in error.message
    assert "'enginehouse certify m'" in error.message
    assert court.hosted.declared.features == {"streaming", "n", "stop"}


async def test_proven_features_are_served_and_failed_ones_refused(house: House, tmp_path: Path) -> None:
    court = Court(house, tmp_path)
    await court.certify("streaming", "n", failed=["stop"])
    await court.open()
    assert await court.ask(stream=True, n=2) == "m#0"
    error = await court.refusal(stop=("x",))
    assert (error.param, error.feature) == ("stop", "stop")
    assert "its certificate says failed (STOP1)" in error.message


async def test_a_feature_that_is_not_declared_is_refused_as_ever(house: House, tmp_path: Path) -> None:
    court = Court(house, tmp_path)
    await court.certify("streaming", "seed")
    await court.open()
    assert "certificate" not in (await court.refusal(seed=1)).message


async def test_a_model_that_reasons_without_proof_is_not_told_to_stop_in_vain(house: House, tmp_path: Path) -> None:
    house.script.capabilities = msgspec.structs.replace(
        house.script.capabilities, features=frozenset({"reasoning", "streaming"})
    )
    court = Court(house, tmp_path)
    await court.certify("streaming")
    await court.open()
    assert (await court.refusal(reasoning_effort="none")).param == "reasoning_effort"


async def test_the_limit_of_a_proven_feature_is_told(house: House, tmp_path: Path) -> None:
    court = Court(house, tmp_path)
    await court.certify("n")
    await court.open()
    assert "at most 4" in (await court.refusal(n=5)).message


async def test_a_stale_certificate_proves_nothing_and_the_refusal_says_what_changed(
    house: House, tmp_path: Path
) -> None:
    court = Court(house, tmp_path)
    await court.certify("streaming", plugin_version="0.9")
    await court.open()
    assert "is stale: the plugin's version was 0.9 and is 1" in (await court.refusal(stream=True)).message


async def test_another_instance_that_has_proven_the_feature_is_chosen(house: House, tmp_path: Path) -> None:
    court = Court(house, tmp_path)
    await court.certify("streaming", model="twin")
    await court.open()
    fleet = house.fleet
    fleet.models["m"].instances.append(fleet.models["twin"].instances[0])
    assert await court.ask(stream=True) == "twin#0"
    assert await court.ask() == "m#0"
    assert "'m' declares" in (await court.refusal(n=2)).message


async def test_one_model_may_trust_more_than_the_others(house: House, tmp_path: Path) -> None:
    court = Court(house, tmp_path)
    lenient = msgspec.structs.replace(court.config.models["m"], trust="declared")
    court.config = msgspec.structs.replace(court.config, models={**court.config.models, "m": lenient})
    await court.open()
    assert await court.ask(stream=True) == "m#0"
    assert house.fleet.models["twin"].instances[0].capabilities.features == frozenset()


async def test_a_request_that_waits_for_the_first_load_is_judged_after_it(house: House, tmp_path: Path) -> None:
    court = Court(house, tmp_path, load="first_request")
    await court.certify("streaming")
    await court.open()
    assert (await court.refusal(n=2)).param == "n"
    assert await court.ask(stream=True) == "m#0"


async def test_certificates_are_read_when_an_instance_loads_and_not_for_requests(house: House, tmp_path: Path) -> None:
    court = Court(house, tmp_path)
    await court.certify("streaming")
    await court.open()
    shutil.rmtree(tmp_path / "certificates")
    assert await court.ask(stream=True) == "m#0"
    await court.certify("n")
    await court.refusal(n=2)
    court.hosted.instance.crash()
    await house.until("failed", court.hosted)
    await house.until("ready", court.hosted)
    assert await court.ask(n=2) == "m#0"
    await court.refusal(stream=True)


@pytest.mark.parametrize("trust", ["declared", "proven"])
async def test_an_instance_waits_for_its_certificate_only_where_requests_depend_on_it(
    house: House, tmp_path: Path, trust: str
) -> None:
    court = Court(house, tmp_path, trust=trust)
    await court.certify("streaming")
    may_tell, asked = asyncio.Event(), asyncio.Event()
    probe = house.script.probe

    async def slow_probe():
        asked.set()
        await may_tell.wait()
        return await probe()

    house.script.probe = slow_probe
    opening = asyncio.create_task(court.open())
    await asked.wait()
    if trust == "declared":
        await opening
        assert court.hosted.standing is None
    else:
        assert court.hosted.state == "loading"
        assert not court.hosted.gate.is_open
    may_tell.set()
    await opening
    async with asyncio.timeout(30):
        while court.hosted.standing is None:  # noqa: ASYNC110  # what is waited for has no event of its own
            await asyncio.sleep(0.01)
    assert court.hosted.standing.state == "current"


async def test_a_backend_whose_probe_breaks_is_served_without_proof(house: House, tmp_path: Path) -> None:
    court = Court(house, tmp_path)
    await court.certify("streaming")

    async def broken_probe():
        raise RuntimeError("no version today")

    house.script.probe = broken_probe
    await court.open()
    assert await court.ask() == "m#0"
    assert "it cannot be compared with its certificate: no version today" in (await court.refusal(stream=True)).message


async def test_an_instance_that_is_closed_while_it_is_compared_is_unloaded(
    house: House, tmp_path: Path, eventually
) -> None:
    court = Court(house, tmp_path)
    await court.certify("streaming")
    asked = asyncio.Event()

    async def endless_probe():
        asked.set()
        await asyncio.Event().wait()

    house.script.probe = endless_probe
    opening = asyncio.create_task(court.open())
    await asked.wait()
    await eventually(lambda: len(house.script.instances) == 2)  # they load one after the other
    await house.fleet.close()
    opening.cancel()
    assert [instance.unloads for instance in house.script.instances] == [1, 1]


async def test_a_server_that_is_another_makes_its_certificate_stale_and_is_refused(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing, "AGAIN_S", 0.02)
    shown: dict[str, str | float] = {"server": "one"}

    async def identity(self: object, placement: object) -> dict[str, str | float]:
        if not shown:
            raise LoadFailed("It is away.")
        return dict(shown)

    monkeypatch.setattr(Backend, "identity", identity)
    court = Court(house, tmp_path, kinds=())
    await court.certify("streaming")
    await court.open()
    assert await court.ask(stream=True) == "m#0"
    shown.clear()
    await asyncio.sleep(0.1)
    assert await court.ask(stream=True) == "m#0", "while it is away things stand as before"
    shown["server"] = "two"
    async with asyncio.timeout(10):
        while house.hosted.standing.state != "stale":  # noqa: ASYNC110  # a standing has no event of its own
            await asyncio.sleep(0.01)
    assert "its server's server was 'one' and is 'two'" in house.hosted.standing.reason
    with pytest.raises(UnsupportedFeature, match="is 'two'"):
        await court.ask(stream=True)


# ---- the plan ----


async def placed(house: House, tmp_path: Path, certified: Sequence[int], *, trust: str = "proven", **key: object):
    """What is planned of a model with two placements, those *certified* having certificates with *key* changed."""
    house.script.placements.clear()
    court = Court(house, tmp_path, trust=trust, kinds=("cpu",))
    one = court.config.models["m"].placements[0]
    placements = (msgspec.structs.replace(one, source="first"), msgspec.structs.replace(one, source="second"))
    models = {"m": msgspec.structs.replace(court.config.models["m"], placements=placements)}
    for index in certified:
        alone = msgspec.structs.replace(models["m"], placements=(placements[index],))
        court.config = msgspec.structs.replace(court.config, models={"m": alone})
        await court.certify("stop", source=placements[index].source, **key)
    court.config = msgspec.structs.replace(court.config, models=models)
    await court.open()
    plan = house.fleet.planner.plans["m"]
    (planned,) = plan.instances
    return planned.index, [rejected.reason for rejected in plan.rejected], court


async def test_a_placement_that_is_certified_comes_before_one_that_is_not(house: House, tmp_path: Path) -> None:
    index, reasons, court = await placed(house, tmp_path, [1])
    assert index == 1
    assert court.hosted.capabilities.features == {"stop"}
    reason = "placement 1 comes first: of this one nothing is proven, as its certificate of "
    assert [one.startswith(reason) for one in reasons] == [True], reasons


@pytest.mark.parametrize(("certified", "trust"), [([], "proven"), ([0, 1], "proven"), ([1], "declared")])
async def test_else_the_owners_order_holds(house: House, tmp_path: Path, certified: list[int], trust: str) -> None:
    index, reasons, _ = await placed(house, tmp_path, certified, trust=trust)
    assert (index, reasons) == (0, ["placement 0 comes first"])


async def test_a_certificate_that_is_stale_puts_no_placement_first(house: House, tmp_path: Path) -> None:
    index, _, _ = await placed(house, tmp_path, [1], plugin_version="0.1")
    assert index == 0

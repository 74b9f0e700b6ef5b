"""Other hosts as instances of this one: what they tell, when they are gone, and who is woken."""

from __future__ import annotations

import asyncio
import socket

import msgspec
import pytest
from msgspec.structs import replace
from tests.unit.conftest import Reader, a_request, turn_until

from enginehouse.accounts import Facts
from enginehouse.config import Config, HostConfig
from enginehouse.fleet import HostNotFound, HostNotWoken, Incompatible, Lease, magic_packet, read_told
from enginehouse.fleet.hosts import host as host_module
from enginehouse.fleet.hosts import tell
from enginehouse.fleet.hosts.told import encode
from enginehouse.fleet.hosts.wake import send_magic_packet
from enginehouse_plugin import EngineLoad, Started, TextDelta
from enginehouse_plugin.errors import EngineDied

MAC = "02:00:5e:10:00:01"


class AnyOptions(msgspec.Struct, frozen=True):
    """Takes what the router sets for the backend by which requests go to hosts."""

    server: str
    features: str | tuple[str, ...]
    max_connections: int
    connect_timeout_s: float
    probe_timeout_s: float
    health_interval_s: float
    identity_request: bool
    from_host: str
    key_env: str | None
    key_file: str | None


class Net:
    """What the hosts answer, by URL: bytes, or an exception."""

    def __init__(self, monkeypatch):
        self.answers = {}
        monkeypatch.setattr(host_module.Host, "_ask", lambda host: self._ask(host))
        monkeypatch.setattr(host_module, "POLL_S", 0.01)
        monkeypatch.setattr(host_module, "_AGAIN_S", 0.001)

    async def _ask(self, host):
        answer = self.answers.get(host.url, ConnectionRefusedError("refused"))
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def net(monkeypatch):
    return Net(monkeypatch)


def told(state="ready", index=0, features=("streaming", "n", "stop"), models=("m",), load=None, **fields):
    model = {"index": index, "state": state, "features": features, "context_tokens": 512, "capacity": 2, **(load or {})}
    made = {"version": 1, "enginehouse": "9", "router": "other", "state": "ready"}
    return msgspec.json.encode({**made, "models": dict.fromkeys(models, model), **fields})


@pytest.fixture
def fleet_with(house):
    """A fleet of a scripted model, beside hosts that are reached by the same script."""

    def build(*names, local=True, **host):
        config = house.config()
        if not local:
            placement = replace(config.models["m"].placements[0], backend="elsewhere", requires=("cuda",))
            config = replace(config, models={"m": replace(config.models["m"], placements=(placement,))})
        hosts = {name: HostConfig(url=f"http://{name}", **host) for name in names}
        backends = {
            "scripted": house.script.type(),
            "upstream": house.script.type(name="upstream", options=AnyOptions, kinds=()),
        }
        from tests.unit.conftest import QUICK

        from enginehouse.fleet import Fleet

        house.fleet = Fleet(replace(config, hosts=hosts), backends, house_devices(), policy=QUICK)
        house.fleet.start()
        return house.fleet

    return build


def house_devices():
    from tests.unit.conftest import CPU

    return (CPU,)


def ids(fleet):
    return [(one.id, one.state) for one in fleet.models["m"].instances]


def ask(fleet, model=None):
    reader, facts = Reader(), Facts("r")
    Lease(a_request(), model or fleet.model("m"), "client", facts, reader).open()
    return reader, facts


def test_the_magic_packet_is_six_times_ff_and_sixteen_times_the_address():
    assert magic_packet(MAC) == magic_packet(MAC.replace(":", "-").upper())
    assert magic_packet(MAC) == b"\xff" * 6 + bytes([2, 0, 0x5E, 0x10, 0, 1]) * 16


@pytest.mark.parametrize(("family", "to"), [(socket.AF_INET, "127.0.0.1:{}"), (socket.AF_INET6, "[::1]:{}")])
def test_the_magic_packet_arrives(family, to):
    with socket.socket(family, socket.SOCK_DGRAM) as card:
        try:
            card.bind((to.split(":{}")[0].strip("[]"), 0))
        except OSError:
            pytest.skip("this machine has no such address")
        card.settimeout(10)
        send_magic_packet(MAC, to.format(card.getsockname()[1]))
        assert card.recv(200) == magic_packet(MAC)


@pytest.mark.parametrize("newer", [True, False])
def test_another_version_is_told_apart_and_says_who_is_to_be_updated(newer):
    with pytest.raises(Incompatible, match=r"update this one" if newer else "update that host"):
        read_told(told(version=2 if newer else 0))


def test_what_a_newer_host_adds_does_no_harm():
    assert read_told(told(news={"a": 1})).models["m"].capacity == 2


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"version": "1"}', told(models=("m",))[:-5]])
def test_what_is_no_host_is_incompatible(body):
    with pytest.raises(Incompatible):
        read_told(body)


async def test_how_full_a_host_is_changes_nothing_that_is_sent_there(fleet_with, net, monkeypatch):
    net.answers["http://b"] = told()
    fleet = fleet_with("b")
    await turn_until(lambda: ("m@b", "ready") in ids(fleet))
    settled = []
    monkeypatch.setattr(type(fleet.hosts), "settle", lambda _: settled.append(1))
    memory = {"free_bytes": 7}
    net.answers["http://b"] = told(devices=[{"id": "cpu", "name": "CPU", "memory_bytes": 8, "memory": memory}])
    await turn_until(lambda: bool(fleet.hosts.snapshot()[0].told.devices))
    assert settled == []


async def test_a_host_tells_its_own_instances_alone(fleet_with, net, house):
    net.answers["http://b"] = told()
    fleet = fleet_with("b")
    await turn_until(lambda: ids(fleet) == [("m#0", "ready"), ("m@b", "ready")])
    mine = tell(fleet.snapshot(), "me")
    assert read_told(encode(mine)) == mine
    assert (mine.models["m"].capacity, mine.models["m"].features) == (2, ("n", "stop", "streaming"))
    assert [one.planned.host for one in fleet.models["m"].alone().instances] == [None]


async def test_a_host_that_is_there_serves_and_one_that_has_gone_does_not(fleet_with, net, house):
    """What had begun there ends with an error, and what waits goes on."""

    async def endless(instance, request):
        yield Started(prompt_tokens=1)
        yield TextDelta(choice=0, text="a", completion_tokens=1)
        await asyncio.get_running_loop().create_future()

    net.answers["http://b"] = told()
    fleet = fleet_with("b", local=False)
    await turn_until(lambda: ids(fleet) == [("m@b", "ready")])
    house.script.answer = endless
    reader, facts = ask(fleet)
    await turn_until(lambda: facts.has_delta)
    assert (facts.instance_id, fleet.snapshot().models["m"].state) == ("m@b", "ready")
    net.answers.clear()
    with pytest.raises(EngineDied, match="The host 'b' has gone: it does not answer"):
        await reader.answer()
    assert ids(fleet) == []
    assert fleet.snapshot().models["m"].state == "unplaced"
    net.answers["http://b"] = told()
    fleet.hosts.heard_from("b")
    await turn_until(lambda: ids(fleet) == [("m@b", "ready")])


async def test_what_others_have_at_a_host_is_known_from_its_snapshots_and_its_answers(
    fleet_with, net, house, eventually
):
    net.answers["http://box"] = told(load={"capacity": 8, "running": 5})
    fleet = fleet_with("box")
    await eventually(lambda: [one.id for one in fleet.instances()] == ["m#0", "m@box"])
    _, there = fleet.instances()
    await eventually(lambda: there.state == "ready" and there.others.count == 5)
    there.gate.enter(1)
    await eventually(lambda: there.others.count == 4)
    net.answers["http://box"] = ConnectionRefusedError("refused")
    told_at = fleet.hosts._hosts["box"].heard_at

    async def measure(at):
        return EngineLoad(running=2, waiting=1, told_at=at)

    there.instance.measure = lambda: measure(told_at - 1)
    there.others.measured = there.instance
    there.others.ask_soon()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert there.others.count == 4
    there.others._asked_at = 0.0
    there.instance.measure = lambda: measure(told_at + 10)
    there.others.ask_soon()
    await eventually(lambda: there.others.count == 2)
    there.gate.leave(1)


async def test_a_host_tells_how_long_a_start_takes_where_it_has_to_start(fleet_with, net):
    fleet = fleet_with()
    own = next(fleet.instances())
    await turn_until(lambda: own.state == "ready")
    assert fleet.model("m").load_told == b"running=0, waiting=0"
    own.gate.enter(2)
    assert fleet.model("m").load_told == b"running=2, waiting=0"
    own.gate.leave(2)
    own.residence.load_s = 7.0
    assert tell(fleet.snapshot(), "r").models["m"].start_s == 0.0
    assert tell(fleet.snapshot(), "r").models["m"].starts == 1
    await own.unload()
    assert tell(fleet.snapshot(), "r").models["m"].start_s == 7.0


async def test_what_a_model_had_read_at_a_host_is_lost_when_it_has_started_there_again(fleet_with, net, eventually):
    net.answers["http://box"] = told(load={"starts": 1})
    fleet = fleet_with("box", local=False)
    await turn_until(lambda: ids(fleet) == [("m@box", "ready")])
    (there,) = fleet.instances()
    await eventually(lambda: there.told_starts == 1)
    before = there.cache
    assert before.owner is there
    net.answers["http://box"] = told(load={"starts": 2})
    await eventually(lambda: before.owner is None)
    assert there.cache.owner is there
    assert tell(fleet.snapshot(), "r").models == {}


async def test_a_host_that_drains_gets_nothing_new_and_keeps_what_it_has(fleet_with, net, house):
    net.answers["http://b"] = told()
    fleet = fleet_with("b", local=False)
    await turn_until(lambda: ids(fleet) == [("m@b", "ready")])
    may_end = asyncio.Event()

    async def waits(instance, request):
        yield Started(prompt_tokens=1)
        await may_end.wait()

    house.script.answer = waits
    _, facts = ask(fleet)
    net.answers["http://b"] = told(state="draining")
    net.answers["http://b"] = msgspec.json.encode({**msgspec.json.decode(told()), "state": "draining"})
    await turn_until(lambda: ids(fleet) == [])
    assert [(one.id, one.state) for one in fleet.snapshot().leaving] == [("m@b", "draining")]
    may_end.set()
    await turn_until(lambda: not fleet.snapshot().leaving)
    assert facts.instance_id == "m@b"


async def test_this_host_finds_itself_in_the_file(fleet_with, net):
    fleet = fleet_with("a", "b")
    net.answers["http://a"] = told(router=fleet.hosts.router)
    net.answers["http://b"] = told()
    await turn_until(lambda: [one.state for one in fleet.hosts.snapshot()] == ["self", "up"])
    assert [name for name, _ in ids(fleet)] == ["m#0", "m@b"]
    (remote,) = (one for one in fleet.hosts.instances() if one.planned.placement.options.from_host == "a")
    assert remote.id == "m@b"


async def test_a_sleeping_host_is_left_alone_where_another_serves(fleet_with, net, monkeypatch):
    sent = []
    monkeypatch.setattr(host_module, "send_magic_packet", lambda mac, to: sent.append((mac, to)))
    fleet = fleet_with("b", wake=MAC)
    await turn_until(lambda: fleet.hosts.snapshot()[0].state == "asleep" and ids(fleet) == [("m#0", "ready")])
    reader, _ = ask(fleet)
    await reader.answer()
    assert (sent, fleet.models["m"].sleepers) == ([], ())


async def test_a_sleeping_host_that_alone_serves_is_woken_and_waited_for(fleet_with, net, monkeypatch):
    sent = []
    monkeypatch.setattr(host_module, "send_magic_packet", lambda mac, to: sent.append((mac, to)))
    fleet = fleet_with("b", local=False, wake=MAC, wake_to="10.0.0.255:9")
    await turn_until(lambda: ids(fleet) == [("m@b", "unloaded")])
    reader, facts = ask(fleet)
    await turn_until(lambda: bool(sent))
    assert sent[0] == (MAC, "10.0.0.255:9")
    net.answers["http://b"] = told()
    await reader.answer()
    assert facts.instance_id == "m@b"


async def test_a_host_that_has_woken_elsewhere_is_sent_nothing_where_it_was(fleet_with, net, house, monkeypatch):
    monkeypatch.setattr(host_module, "send_magic_packet", lambda *_: None)
    fleet = fleet_with("b", local=False, wake=MAC)
    await turn_until(lambda: ids(fleet) == [("m@b", "unloaded")])
    reader, facts = ask(fleet)
    await turn_until(lambda: ids(fleet) == [("m@b", "loading")])
    net.answers["http://elsewhere"] = told()
    fleet.hosts._hosts["b"].url = "http://elsewhere"
    await reader.answer()
    assert facts.instance_id == "m@b"
    assert {placement.source for placement in house.script.placements} == {"http://elsewhere"}


async def test_a_host_is_woken_on_order_and_tells_how_it_went(fleet_with, net, monkeypatch):
    sent = []
    monkeypatch.setattr(host_module, "send_magic_packet", lambda mac, to: sent.append((mac, to)))
    fleet = fleet_with("b", wake=MAC, wake_timeout_s=0.05)
    await turn_until(lambda: fleet.hosts.snapshot()[0].state == "asleep")
    host = fleet.hosts.named("b")
    foreseen = host.foresee_wake()
    assert foreseen.fits
    assert foreseen.reason.startswith(
        f"a packet for {MAC} goes to 255.255.255.255:9 every 3 s, until it answers or 0.05 s"
    )
    assert sent == []
    host.wake()
    host.wake()  # that is under way
    assert len(sent) == 1
    await turn_until(lambda: fleet.hosts.snapshot()[0].is_waking)
    await turn_until(lambda: fleet.hosts.snapshot()[0].unwoken == "it did not wake within 0.05 s")
    assert not fleet.hosts.snapshot()[0].is_waking
    host.wake()
    net.answers["http://b"] = told()
    await turn_until(lambda: fleet.hosts.snapshot()[0].state == "up")
    await turn_until(lambda: not fleet.hosts.snapshot()[0].is_waking)
    assert fleet.hosts.snapshot()[0].unwoken == ""
    with pytest.raises(HostNotWoken, match="it is there already"):
        host.wake()
    assert not host.foresee_wake().fits


async def test_a_host_that_cannot_be_woken_says_why(fleet_with, net, monkeypatch):
    def unreachable(*_):
        raise OSError("network is unreachable")

    monkeypatch.setattr(host_module, "send_magic_packet", unreachable)
    fleet = fleet_with("b", wake=MAC)
    with pytest.raises(HostNotFound, match=r"There is no host 'c' in the file\. There are: b\."):
        fleet.hosts.named("c")
    with pytest.raises(HostNotWoken, match=r"no packet can be sent to 255\.255\.255\.255:9 \(network is unreachable\)"):
        fleet.hosts.named("b").wake()
    assert not fleet.hosts.snapshot()[0].is_waking
    await fleet.close()
    fleet = fleet_with("b")
    with pytest.raises(HostNotWoken, match="it has no `wake` address in the file"):
        fleet.hosts.named("b").wake()


async def test_a_host_that_does_not_wake_costs_its_requests_an_answer_that_says_so(fleet_with, net, monkeypatch):
    monkeypatch.setattr(host_module, "send_magic_packet", lambda *_: None)
    fleet = fleet_with("b", local=False, wake=MAC, wake_timeout_s=0.05)
    await turn_until(lambda: ids(fleet) == [("m@b", "unloaded")])
    reader, _ = ask(fleet)
    with pytest.raises(Exception, match=r"The host 'b' did not wake within 0\.05 s"):
        await reader.answer()


async def test_a_host_that_is_preferred_is_woken_while_another_serves(fleet_with, net, monkeypatch):
    sent = []
    monkeypatch.setattr(host_module, "send_magic_packet", lambda mac, to: sent.append(mac))
    fleet = fleet_with("b", wake=MAC, wake_when="prefer")
    await turn_until(lambda: bool(fleet.models["m"].sleepers) and ids(fleet) == [("m#0", "ready")])
    (sleeping,) = fleet.models["m"].sleepers
    sleeping.wake()  # as the service does for each request
    await turn_until(lambda: bool(sent))
    reader, facts = ask(fleet)
    await reader.answer()
    assert facts.instance_id == "m#0"
    net.answers["http://b"] = told()
    await turn_until(lambda: ("m@b", "ready") in ids(fleet))


async def test_another_configuration_of_the_models_keeps_the_hosts(fleet_with, net, house):
    net.answers["http://b"] = told(models=("m", "n"))
    fleet = fleet_with("b")
    await turn_until(lambda: ids(fleet) == [("m#0", "ready"), ("m@b", "ready")])
    fleet.follow(Config(models={**house.config("m", "n").models}))
    await turn_until(lambda: [one.id for one in fleet.models["n"].instances] == ["n#0", "n@b"])
    fleet.follow(house.config())
    await turn_until(lambda: [one.id for one in fleet.hosts.instances()] == ["m@b"])

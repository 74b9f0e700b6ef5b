"""What is heard by multicast DNS: where a host may be that is away, which it has to prove, and nothing else."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from urllib.parse import parse_qsl, urlsplit

import pytest
from tests.unit.conftest import turn_until

from enginehouse.accounts import hash_secret
from enginehouse.config import HostConfig, MdnsConfig
from enginehouse.fleet.hosts import host as host_module
from enginehouse.fleet.hosts import mdns as module
from enginehouse.fleet.hosts.host import Host
from enginehouse.fleet.hosts.mdns import MOST_FOUND, SERVICE, Mdns
from enginehouse.fleet.hosts.proof import PROOF_PATH, Proof, address, key_id, prove
from enginehouse.fleet.hosts.told import SNAPSHOT_PATH, HostTold, encode

ADDED, REMOVED = SimpleNamespace(name="Added"), SimpleNamespace(name="Removed")
TOLD = encode(HostTold(version=1, enginehouse="9", router="other", state="ready"))
SECRET = "eh-secret"
DIGEST = bytes.fromhex(hash_secret(SECRET))
MINE = "http://192.0.2.66:6"


def answers(at, name="box", secret=SECRET):
    """What answers a nonce as the host *name* does that has the key *secret*, and was asked *at* that URL."""
    parts = urlsplit(at)

    def prove_it(nonce):
        proof = prove(bytes.fromhex(hash_secret(secret)), name, address(parts.hostname, parts.port), nonce)
        return 200, encode(Proof(proof))

    return prove_it


class Net:
    """What answers a nonce, by URL; `asked` is what came there: URL, path, headers, nonce."""

    def __init__(self, monkeypatch):
        self.there = {}
        self.asked = []
        monkeypatch.setenv("FLEET_KEY", SECRET)
        monkeypatch.setattr(Host, "_get", lambda _, url, headers: self._get(url, headers))
        monkeypatch.setattr(host_module, "POLL_S", 0.01)
        monkeypatch.setattr(host_module, "_AGAIN_S", 0.001)

    def host(self, **fields):
        config = HostConfig(url="mdns:box", **{"key_env": "FLEET_KEY", **fields})
        return Host("box", config, "me", lambda _: None, lambda _: None)

    async def _get(self, url, headers):
        parts = urlsplit(url)
        at, query = f"{parts.scheme}://{parts.netloc}", dict(parse_qsl(parts.query))
        nonce = query.get("nonce")
        self.asked.append((at, parts.path, headers, nonce))
        if at not in self.there:
            raise ConnectionRefusedError("refused")
        if parts.path == SNAPSHOT_PATH:
            assert headers["authorization"] == f"Bearer {SECRET}"
            return 200, TOLD
        assert (parts.path, query["key"]) == (PROOF_PATH, key_id(DIGEST))
        assert SECRET not in url
        return self.there[at](nonce)


@pytest.fixture
def net(monkeypatch):
    return Net(monkeypatch)


def hear(mdns, *names, change=ADDED):
    for name in names:
        mdns._hear(None, SERVICE, f"{name}.{SERVICE}", change)


async def test_names_that_could_steer_a_terminal_are_not_heard():
    mdns = Mdns(MdnsConfig(discover=True), "me", (), lambda *_: None)
    hear(mdns, "box\x1b[31m", "a b", "", "-x", "x" * 64, "\u202ebox", "a/b", "ok-1.b_c")
    assert mdns._heard == {"ok-1.b_c"}


async def test_so_many_are_heard_of_and_those_of_the_file_always():
    mdns = Mdns(MdnsConfig(discover=True), "me", ("mine",), lambda *_: None)
    hear(mdns, *(f"h{number}" for number in range(MOST_FOUND + 20)), "mine")
    assert len(mdns._heard) == MOST_FOUND + 1
    assert "mine" in mdns._heard
    mdns.found = {"gone": ("http://192.0.2.1:1",)}
    hear(mdns, "gone", change=REMOVED)
    assert mdns.found == {}


@pytest.mark.parametrize(
    ("addresses", "urls"),
    [
        (["192.0.2.7"], ("http://192.0.2.7:80",)),
        (["2001:db8::7", "192.0.2.7"], ("http://192.0.2.7:80", "http://[2001:db8::7]:80")),
        (["fe80::7", "2001:db8::7"], ("http://[2001:db8::7]:80",)),
        (["fe80::7"], ()),
        (["0.0.0.0", "224.0.0.251"], ()),
        ([], ()),
    ],
)
def test_an_address_is_one_that_can_be_asked(addresses, urls):
    assert module._urls("http", addresses, 80) == urls
    assert module._urls("http", addresses, 0) == ()


async def test_a_host_is_where_it_has_proven_to_be_and_stays_there_while_it_answers(net):
    host = net.host()
    net.there["http://192.0.2.1:1"] = answers("http://192.0.2.1:1")
    host.start()
    try:
        await turn_until(lambda: host.state == "down")
        assert (host.snapshot().url, host.reason) == (
            "mdns:box",
            "it does not answer (mDNS has not found 'box' yet)",
        )
        host.found_at(["http://192.0.2.99:9", "http://192.0.2.1:1"])
        await turn_until(lambda: host.state == "up")
        net.there["http://192.0.2.66:6"] = answers("http://192.0.2.66:6")
        host.found_at(["http://192.0.2.66:6"])
        before = len(net.asked)
        await turn_until(lambda: len(net.asked) > before + 6)
        assert {url for url, *_ in net.asked[before:]} == {"http://192.0.2.1:1"}, "what the network says moves it not"
        del net.there["http://192.0.2.1:1"]
        await turn_until(lambda: host.state == "down")
        await turn_until(lambda: host.state == "up")
        assert host.snapshot().url == "http://192.0.2.66:6"
        assert len({nonce for *_, nonce in net.asked if nonce}) == sum(1 for *_, nonce in net.asked if nonce)
    finally:
        await host.close()


IMPOSTORS = {
    "has another key": answers(MINE, secret="other"),
    "hands it to another host": answers(MINE, name="mac"),
    "hands it to the host itself": answers("http://192.0.2.1:1"),
    "answers what it likes": lambda _: (200, b"{}"),
    "knows of no proof": lambda _: (404, b""),
    "sends elsewhere": lambda _: (307, b""),
    "says what it was told before": lambda _: (200, encode(Proof(prove(DIGEST, "box", "192.0.2.66 6", "0" * 64)))),
}


@pytest.mark.parametrize("impostor", IMPOSTORS)
async def test_who_cannot_prove_to_be_the_host_is_sent_no_key_and_does_not_hide_it(net, impostor):
    host = net.host()
    net.there[MINE] = IMPOSTORS[impostor]
    host.start()
    try:
        host.found_at([MINE])
        await turn_until(lambda: host.state == "incompatible")
        assert host.reason.startswith(f"what announces itself as 'box' at {MINE} cannot prove that it is: it")
        assert host.snapshot().url == "mdns:box"
        net.there["http://192.0.2.1:1"] = answers("http://192.0.2.1:1")
        host.found_at([MINE, "http://192.0.2.1:1"])
        await turn_until(lambda: host.state == "up")
        assert host.snapshot().url == "http://192.0.2.1:1"
        net.there["http://192.0.2.1:1"] = answers(MINE)
        await turn_until(lambda: host.state == "incompatible")
        keyed = [(url, path) for url, path, headers, _ in net.asked if headers.keys() - {"accept-encoding"}]
        assert set(keyed) == {("http://192.0.2.1:1", SNAPSHOT_PATH)}
        assert not any(path == SNAPSHOT_PATH for url, path, *_ in net.asked if url == MINE)
    finally:
        await host.close()


async def test_a_host_that_sleeps_can_be_woken_while_another_has_its_name(net):
    host = net.host(wake="02:00:5e:10:00:01")
    net.there[MINE] = answers(MINE, secret="other")
    host.start()
    try:
        host.found_at([MINE])
        await turn_until(lambda: "cannot prove" in host.reason)
        assert host.state == "asleep"
    finally:
        await host.close()


@pytest.mark.parametrize(("kept", "told"), [("", "there is no key in"), (None, "cannot be read")])
async def test_without_a_key_nobody_is_asked_for_a_proof(net, tmp_path, kept, told):
    """Of an empty one anybody could prove to know it."""
    if kept is not None:
        (tmp_path / "key").write_text(kept)
    host = net.host(key_env=None, key_file=str(tmp_path / "key"))
    host.found_at([MINE])
    host.start()
    try:
        await turn_until(lambda: host.state == "incompatible")
        assert told in host.reason
        assert net.asked == []
    finally:
        await host.close()


async def test_without_the_package_at_hand_nothing_is_begun():
    mdns = Mdns(MdnsConfig(), "me", (), lambda *_: None)
    mdns.start()
    assert mdns._task is None
    await asyncio.wait_for(mdns.close(), 5)

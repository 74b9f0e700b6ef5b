"""What is heard by multicast DNS: an address of a host that is away, and nothing else."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from tests.unit.conftest import turn_until

from enginehouse.config import HostConfig, MdnsConfig
from enginehouse.fleet.hosts import host as host_module
from enginehouse.fleet.hosts import mdns as module
from enginehouse.fleet.hosts.host import Host
from enginehouse.fleet.hosts.mdns import MOST_FOUND, SERVICE, Mdns
from enginehouse.fleet.hosts.told import HostTold, encode

ADDED, REMOVED = SimpleNamespace(name="Added"), SimpleNamespace(name="Removed")
TOLD = encode(HostTold(version=1, enginehouse="9", router="other", state="ready"))


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
    mdns.found = {"gone": "http://192.0.2.1:1"}
    hear(mdns, "gone", change=REMOVED)
    assert mdns.found == {}


@pytest.mark.parametrize(
    ("addresses", "url"),
    [
        (["192.0.2.7"], "http://192.0.2.7:80"),
        (["2001:db8::7", "192.0.2.7"], "http://192.0.2.7:80"),
        (["fe80::7", "2001:db8::7"], "http://[2001:db8::7]:80"),
        (["fe80::7"], None),
        (["0.0.0.0", "224.0.0.251"], None),
        ([], None),
    ],
)
def test_an_address_is_one_that_can_be_asked(addresses, url):
    assert module._url("http", addresses, 80) == url
    assert module._url("http", addresses, 0) is None


async def test_a_host_is_where_it_was_found_and_stays_there_while_it_answers(monkeypatch):
    there = {"http://192.0.2.1:1"}
    asked = []

    async def ask(host):
        asked.append(host.url)
        if host.url not in there:
            raise ConnectionRefusedError("refused")
        return TOLD

    own = Host._ask
    monkeypatch.setattr(host_module, "POLL_S", 0.01)
    monkeypatch.setattr(host_module, "_AGAIN_S", 0.001)
    host = Host("box", HostConfig(url="mdns:box-1"), "me", lambda _: None, lambda _: None)
    with pytest.raises(ConnectionError, match="has not found 'box-1' yet"):
        await own(host)
    monkeypatch.setattr(Host, "_ask", ask)
    host.start()
    try:
        await turn_until(lambda: host.state == "down")
        assert host.snapshot().url == "mdns:box-1"
        host.found_at("http://192.0.2.1:1")
        await turn_until(lambda: host.state == "up")
        host.found_at("http://192.0.2.66:6")
        before = len(asked)
        await turn_until(lambda: len(asked) > before + 3)
        assert set(asked[before:]) == {"http://192.0.2.1:1"}, "who answers is not left for what the network says"
        there.clear()
        await turn_until(lambda: host.state == "down")
        there.add("http://192.0.2.66:6")
        await turn_until(lambda: host.state == "up")
        assert host.snapshot().url == "http://192.0.2.66:6"
    finally:
        await host.close()


async def test_without_the_package_at_hand_nothing_is_begun():
    mdns = Mdns(MdnsConfig(), "me", (), lambda *_: None)
    mdns.start()
    assert mdns._task is None
    await asyncio.wait_for(mdns.close(), 5)

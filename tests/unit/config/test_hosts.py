"""Names and origins that could never match are refused with what to write instead."""

from __future__ import annotations

import pytest
from tests.unit.config.reading import refusal

from enginehouse.config import ConfigError, ServerConfig
from enginehouse.config.hosts import check_hosts


def problem(**server: tuple[str, ...]) -> str:
    with pytest.raises(ConfigError) as refused:
        check_hosts(ServerConfig(**server), "FILE")
    return str(refused.value)


@pytest.mark.parametrize(
    "name", ["house", "House.example.org", "house.example.org.", "a_b-c.lan", "10.0.0.1", "fe80::1"]
)
def test_names_and_addresses_are_hosts(name: str) -> None:
    check_hosts(ServerConfig(allowed_hosts=(name,)), None)


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("*", "Name each host by itself: with '*' any web page could use the server."),
        ("*.example.org", "Name each host by itself"),
        ("https://house.example.org", "Write 'house.example.org'."),
        ("https://house.example.org:8443/v1", "Write 'house.example.org'."),
        ("house.example.org:8000", "Write 'house.example.org'."),
        ("house.example.org/", "Write 'house.example.org'."),
        (" house ", "Write 'house'."),
        ("[::1]:8000", "Write '::1'."),
        ("häuser.example", "Write it alone and as it is sent"),
        ("", "Write it alone"),
    ],
)
def test_what_is_no_host_is_refused_with_what_to_write(name: str, fix: str) -> None:
    found = problem(allowed_hosts=("good", name))
    assert found.startswith(f"FILE: server.allowed_hosts[1]: '{name}' is no name of a host. {fix}")


ORIGINS = [
    *("*", "null", "http://localhost:3000", "https://chat.example", "https://chat.example/", "http://[::1]:8080"),
    *("tauri://localhost", "chrome-extension://abcdef", "http://chat.example:443"),
]


@pytest.mark.parametrize("origin", ORIGINS)
def test_origins_as_browsers_send_them(origin: str) -> None:
    check_hosts(ServerConfig(cors_origins=(origin,)), None)


@pytest.mark.parametrize(
    ("origin", "fix"),
    [
        ("https://chat.example/app", "Write 'https://chat.example'."),
        ("https://chat.example?x=1", "Write 'https://chat.example'."),
        ("https://Chat.Example", "Write 'https://chat.example'."),
        ("HTTPS://chat.example:443/", "Write 'https://chat.example'."),
        ("http://chat.example:80", "Write 'http://chat.example'."),
        ("https://user@chat.example", "Write 'https://chat.example'."),
        ("chat.example", "Write scheme and host"),
        ("https://*.example", "Write scheme and host"),
        ("http://chat.example:port", "Write scheme and host"),
        ("", "Write scheme and host"),
    ],
)
def test_what_is_no_origin_is_refused_with_what_to_write(origin: str, fix: str) -> None:
    found = problem(cors_origins=(origin,))
    assert found.startswith(f"FILE: server.cors_origins[0]: '{origin}' is no origin of a page. {fix}")


def test_a_host_that_is_to_be_found_needs_multicast_dns_and_that_its_package(read, monkeypatch):
    keyless = '[hosts.box]\nurl = "mdns:box"\n'
    found = f'{keyless}key_env = "FLEET_KEY"\n'
    told = "FILE: hosts.box.url: 'mdns:box' is found by multicast DNS, which is off. Write `discover = true` in [mdns]"
    assert refusal(read, found).startswith(told)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for wanted in ("announce = true", "discover = true"):
        told = refusal(read, f"[mdns]\n{wanted}\n{found if 'discover' in wanted else ''}")
        assert told.startswith("FILE: mdns: multicast DNS needs the package zeroconf, which is not installed.")
        assert "pip install 'enginehouse[mdns]'" in told
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    assert read(f"[mdns]\ndiscover = true\n{found}").hosts["box"].announced_as == "box"
    told = "FILE: hosts.box.url: 'mdns:box' needs a key, by which the host proves that it is the one"
    assert refusal(read, f"[mdns]\ndiscover = true\n{keyless}").startswith(told)
    assert read("[mdns]\nname = 'x'\n").mdns.announce is False
    refusal(read, "[mdns]\nname = 'x y'\n")
    refusal(read, "[mdns]\ndiscover = true\n[hosts.box]\nurl = 'mdns:a b'\n")

from __future__ import annotations

import pytest

from enginehouse.http.proxies import TrustedProxies

PEER = "10.0.0.1"


def client(trusted: list[str], *forwarded: str, peer: str = PEER) -> str:
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    return TrustedProxies(trusted).origin(peer, "http", headers)[0]


@pytest.mark.parametrize(
    ("forwarded", "found"),
    [
        (["1.1.1.1"], "1.1.1.1"),
        (["1.1.1.1:5000"], "1.1.1.1"),
        (["2001:db8::1"], "2001:db8::1"),
        (["[2001:db8::1]:5000"], "2001:db8::1"),
        (["6.6.6.6, 1.1.1.1, 10.0.0.2"], "1.1.1.1"),
        (["6.6.6.6", "1.1.1.1, 10.0.0.2"], "1.1.1.1"),
        (["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ([" , "], PEER),
        ([], PEER),
    ],
)
def test_the_last_hop_that_is_not_trusted_is_the_client(forwarded: list[str], found: str) -> None:
    """What stands before it was written by the client itself."""
    assert client(["10.0.0.0/8"], *forwarded) == found


def test_a_peer_that_is_not_trusted_cannot_say_who_asks() -> None:
    assert client(["10.9.9.9"], "1.1.1.1") == PEER
    assert client([], "1.1.1.1") == PEER


def test_a_star_trusts_all_and_takes_the_first() -> None:
    assert client(["*"], "1.1.1.1, 2.2.2.2") == "1.1.1.1"


def test_an_address_and_a_name_are_trusted_as_they_stand() -> None:
    assert client([PEER], "1.1.1.1") == "1.1.1.1"
    assert client(["gate"], "1.1.1.1", peer="gate") == "1.1.1.1"


def test_a_trusted_proxy_tells_the_scheme_and_odd_ones_do_not_count() -> None:
    proxies = TrustedProxies([PEER])
    assert proxies.origin(PEER, "http", [(b"x-forwarded-proto", b"https")]) == (PEER, "https")
    assert proxies.origin(PEER, "http", [(b"x-forwarded-proto", b"gopher")]) == (PEER, "http")
    assert proxies.origin("9.9.9.9", "http", [(b"x-forwarded-proto", b"https")]) == ("9.9.9.9", "http")

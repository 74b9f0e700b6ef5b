"""Who may come in: keys by their hashes alone."""

from __future__ import annotations

import hashlib

import pytest

from enginehouse.accounts import KeyRing, Unauthorized, hash_secret, keys, new_secret
from enginehouse.config import KeyConfig
from enginehouse_plugin.errors import EnginehouseError

SECRETS = {"laptop": "eh-one", "build server": "eh-two"}


@pytest.fixture
def ring():
    return KeyRing([KeyConfig(name=name, sha256=hash_secret(secret)) for name, secret in SECRETS.items()])


@pytest.mark.parametrize("header", ["Bearer {}", "bearer {}", "BEARER   {} "])
@pytest.mark.parametrize(("name", "secret"), SECRETS.items())
def test_a_known_key_is_told_by_its_name(ring, name, secret, header):
    assert ring.check(header.format(secret)) == name


@pytest.mark.parametrize("header", [None, ""])
def test_a_missing_key_is_told_from_a_wrong_one(ring, header):
    with pytest.raises(Unauthorized, match="needed") as caught:
        ring.check(header)
    assert caught.value.code == "missing_api_key"


@pytest.mark.parametrize(
    "header",
    ["Bearer eh-three", "Bearer eh-on", "Bearer eh-one eh-one", "Bearer", "Bearer ", "Basic eh-one", "eh-one",
     f"Bearer {hash_secret('eh-one')}", "Bearer \udcff", "Bearer \x00", "Bearer " + "x" * 1_000_000],
)  # fmt: skip
def test_anything_else_is_refused_and_not_repeated(ring, header):
    with pytest.raises(Unauthorized) as caught:
        ring.check(header)
    assert caught.value.code == "invalid_api_key"
    assert "eh-" not in caught.value.message
    assert isinstance(caught.value, EnginehouseError)


def test_without_keys_everybody_comes_in_under_one_name():
    ring = KeyRing()
    assert ring.is_open
    assert ring.check(None) == ring.check("Bearer whatever") == "anonymous"


def test_with_keys_the_ring_is_closed(ring):
    assert not ring.is_open


def test_every_key_is_compared_whichever_matches(ring, monkeypatch):
    compared = []

    def compare(given, known):
        compared.append(known)
        return given == known

    monkeypatch.setattr(keys.hmac, "compare_digest", compare)
    ring.check("Bearer eh-one")
    assert len(compared) == len(SECRETS)


def test_a_hash_is_sha256_in_hexadecimal():
    assert hash_secret("eh-one") == hashlib.sha256(b"eh-one").hexdigest()


def test_new_secrets_are_long_and_differ():
    first, second = new_secret(), new_secret()
    assert first != second
    assert first.startswith("eh-")
    assert len(first) >= 40
    assert KeyRing([KeyConfig(name="x", sha256=hash_secret(first))]).check(f"Bearer {first}") == "x"

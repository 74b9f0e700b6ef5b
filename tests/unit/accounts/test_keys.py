"""Who may come in: keys by their hashes alone."""

from __future__ import annotations

import contextlib
import hashlib
import time

import pytest

from enginehouse.accounts import Key, KeyNotAllowed, KeyRing, Scope, Unauthorized, hash_secret, keys, new_secret
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


@pytest.mark.parametrize("secret", ["eh-one", "eh-onf", "nothing like it"])
def test_one_comparison_in_constant_time_is_made_whether_or_not_the_key_is_known(ring, monkeypatch, secret):
    compared = []

    def compare(given, known):
        compared.append((len(given), len(known)))
        return given == known

    monkeypatch.setattr(keys.hmac, "compare_digest", compare)
    with contextlib.suppress(Unauthorized):
        ring.check(f"Bearer {secret}")
    assert compared == [(32, 32)]


def stored(name, secret, **fields):
    return Key(name=name, sha256=hash_secret(secret), created_at=0.0, **{"changed": 1, **fields})


def is_known(ring, secret):
    try:
        ring.check(f"Bearer {secret}")
    except Unauthorized:
        return False
    return True


def test_keys_of_the_database_stand_beside_those_of_the_configuration(ring):
    ring.follow([stored("phone", "dos_sk_1")])
    assert (ring.check("Bearer dos_sk_1"), ring.check("Bearer eh-one")) == ("phone", "laptop")
    ring.replace([])
    assert is_known(ring, "dos_sk_1")
    assert not is_known(ring, "eh-one")


def test_a_ring_that_is_closed_lets_nobody_in_without_a_key_also_while_there_is_none():
    ring = KeyRing(is_closed=True)
    assert not ring.is_open
    assert not is_known(ring, "x")
    ring.follow([stored("a", "x")])
    assert is_known(ring, "x")
    before = ring.generation
    ring.follow([stored("a", "x", revoked_at=1.0, changed=2)])
    assert not is_known(ring, "x")
    assert ring.generation is not before  # what connections had found of it is void


def test_keys_expire_by_themselves(monkeypatch):
    ring = KeyRing(is_closed=True)
    now = time.time()
    ring.follow([stored("a", "x", expires_at=now + 60), stored("b", "y", changed=2)])
    before = ring.generation
    ring.follow([])
    assert ring.generation is before
    monkeypatch.setattr(time, "time", lambda: now + 61)
    ring.follow([])
    assert (is_known(ring, "x"), is_known(ring, "y")) == (False, True)


def test_a_rotated_key_is_good_under_both_secrets_for_as_long_as_they_overlap(monkeypatch):
    ring = KeyRing(is_closed=True)
    now = time.time()
    ring.follow([stored("a", "new", old_sha256=hash_secret("old"), old_until=now + 60)])
    assert ring.check("Bearer new") == ring.check("Bearer old") == "a"
    monkeypatch.setattr(time, "time", lambda: now + 61)
    ring.follow([])
    assert (is_known(ring, "new"), is_known(ring, "old")) == (True, False)


def test_what_was_learnt_at_once_hides_no_earlier_change_and_an_older_state_changes_nothing():
    ring = KeyRing(is_closed=True)
    ring.learn([stored("a", "x", changed=6)])
    assert ring.changed == 0  # change 5, of another process, is still to come
    ring.follow([stored("b", "y", changed=5), stored("a", "older", changed=4)])
    assert (is_known(ring, "x"), is_known(ring, "y"), is_known(ring, "older")) == (True, True, False)


@pytest.mark.parametrize(
    ("scope", "refused"),
    [
        (Scope(), None),
        (Scope(models=("m",), endpoints=("chat",), profiles=("openai",)), None),
        (Scope(models=("n",)), "model 'm'"),
        (Scope(models=()), "none"),
        (Scope(endpoints=("embeddings",)), "endpoint 'chat'"),
        (Scope(profiles=("krosai",)), "profile 'openai'"),
    ],
)
def test_a_key_is_for_what_its_scope_names(scope, refused):
    if refused is None:
        scope.check(endpoint="chat", model="m", profile="openai")
        return
    with pytest.raises(KeyNotAllowed, match=refused) as caught:
        scope.check(endpoint="chat", model="m", profile="openai")
    assert caught.value.code == "key_not_allowed"


def test_only_keys_that_are_not_for_all_cost_a_look_at_their_scope():
    ring = KeyRing([KeyConfig(name="c", sha256="0" * 64, models=("m",))])
    ring.follow([stored("a", "x"), stored("b", "y", scope=Scope(endpoints=("chat",), admin=True), changed=2)])
    assert set(ring.bounded) == {"b", "c"}
    assert (ring.scope("b").admin, ring.scope("a").admin, ring.scope("nobody").admin) == (True, False, False)


def test_a_hash_is_sha256_in_hexadecimal():
    assert hash_secret("eh-one") == hashlib.sha256(b"eh-one").hexdigest()


def test_new_secrets_are_long_and_differ():
    first, second = new_secret(), new_secret()
    assert first != second
    assert first.startswith("eh-")
    assert len(first) >= 40
    assert KeyRing([KeyConfig(name="x", sha256=hash_secret(first))]).check(f"Bearer {first}") == "x"

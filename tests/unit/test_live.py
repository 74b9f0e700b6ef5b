"""What another configuration would change, and putting it in force."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from enginehouse.config import (
    AgentConfig,
    CertificatesConfig,
    Config,
    ConfigError,
    Defaults,
    KeyConfig,
    LogConfig,
    ModelConfig,
    MountConfig,
    PlacementConfig,
    ServerConfig,
    UsageConfig,
)
from enginehouse.live import Live

PLACEMENT = PlacementConfig(backend="b", source="s")
MODEL = ModelConfig(placements=(PLACEMENT,))
ALICE = KeyConfig(name="alice", sha256="a" * 64)
BOB = KeyConfig(name="bob", sha256="b" * 64)
OLD = Config(models={"m": MODEL, "gone": MODEL}, keys=(ALICE,))

# A configuration in which every key differs from OLD's, by one way at least.
NEW = Config(
    trust="proven",
    server=ServerConfig(port=1, keep_alive_s=1.0, tls_cert="c", tls_key="k"),
    log=LogConfig(level="debug"),
    models={"m": replace(MODEL, defaults=Defaults(seed=1), max_queue=1), "new": MODEL},
    keys=(BOB, replace(ALICE, sha256="c" * 64)),
    agents={"helper": AgentConfig(model="m")},
    mounts=(MountConfig(profile="openai", path="/other"),),
    usage=UsageConfig(path="u"),
    certificates=CertificatesConfig(path="c"),
)
CHANGES = {
    "trust": "changed",
    "agents": "changed",
    "mounts": "changed",
    "server.port": "changed",
    "server.keep_alive_s": "changed",
    "server.tls_cert": "changed",
    "server.tls_key": "changed",
    "log.level": "changed",
    'models."m".defaults': "changed",
    'models."m".max_queue': "changed",
    'models."gone"': "removed",
    'models."new"': "added",
    'keys."alice"': "changed",
    'keys."bob"': "added",
    "usage.path": "changed",
    "certificates.path": "changed",
}


def names(changes):
    return {change.where: change.kind for change in changes}


def following(*keys, config=OLD):
    live = Live(config)
    live.observe(keys)
    return live


def test_the_same_configuration_changes_nothing():
    assert Live(OLD).diff(msgspec.convert(msgspec.to_builtins(OLD), Config)) == Live(OLD).diff(OLD)
    assert Live(OLD).diff(OLD).now == Live(OLD).diff(OLD).at_restart == ()


def test_a_difference_is_named_with_its_kind_and_needs_a_restart_where_nobody_follows_it():
    changes = Live(OLD).diff(NEW)
    assert names(changes.at_restart) == CHANGES
    assert changes.now == ()


@pytest.mark.parametrize(
    ("keys", "now"),
    [
        (("server.keep_alive_s",), {"server.keep_alive_s"}),
        (("server.port", "trust"), {"server.port", "trust"}),
        (("server",), {name for name in CHANGES if name.startswith("server.")}),
        (("keys",), {'keys."alice"', 'keys."bob"'}),
        (("models.*.defaults",), {'models."m".defaults'}),
        (("models",), {name for name in CHANGES if name.startswith("models.")}),
    ],
)
def test_what_is_followed_needs_no_restart(keys, now):
    changes = following(*keys).diff(NEW)
    assert set(names(changes.now)) == now
    assert set(names(changes.at_restart)) == set(CHANGES) - now


def test_asking_for_the_difference_changes_nothing():
    live = Live(OLD)
    live.observe(("server",), pytest.fail)
    live.diff(NEW)
    assert live.config is OLD


def test_applying_puts_in_force_what_is_followed_and_leaves_the_rest():
    live = following("server.keep_alive_s", "keys", "models.*.defaults")
    changes = live.apply(NEW)
    assert set(names(changes.now)) == {"server.keep_alive_s", 'keys."alice"', 'keys."bob"', 'models."m".defaults'}
    assert live.config == replace(
        OLD,
        server=replace(OLD.server, keep_alive_s=1.0),
        keys=NEW.keys,
        models={"m": replace(MODEL, defaults=Defaults(seed=1)), "gone": MODEL},
    )
    assert live.diff(NEW).at_restart == changes.at_restart
    assert live.diff(NEW).now == ()


def test_with_everything_followed_the_new_configuration_is_in_force():
    live = following("trust", "server", "log", "models", "agents", "mounts", "keys", "usage", "certificates")
    live.apply(NEW)
    assert live.config == NEW


def test_models_and_keys_that_nobody_follows_stay():
    live = following("trust")
    live.apply(NEW)
    assert live.config == replace(OLD, trust="proven")


def test_who_follows_is_told_once_of_the_configuration_in_force_and_only_of_a_change():
    live, told = Live(OLD), []
    live.observe(("server.keep_alive_s", "keys"), told.append)
    live.observe(("server.idle_timeout_s",), pytest.fail)
    live.apply(NEW)
    assert told == [live.config]
    live.apply(NEW)
    assert len(told) == 1


def test_a_listener_is_not_opened_by_taking_its_keys_away():
    """The new file listens on loopback, where no key is needed; but the listener in force is another."""
    old = replace(OLD, server=ServerConfig(host="0.0.0.0"))
    live, told = Live(old), []
    live.observe(("keys",), told.append)
    with pytest.raises(ConfigError, match="no keys are configured"):
        live.apply(replace(OLD, keys=()))
    assert (live.config, told) == (old, [])


@pytest.mark.parametrize("key", ["servr", "server.prot", "models.m.defaults", "models.*.placement", ""])
def test_a_key_that_is_not_there_cannot_be_followed(key):
    with pytest.raises(ValueError, match="no key"):
        Live(OLD).observe((key,))


@pytest.mark.parametrize("name", ["models", "keys"])
async def test_a_file_that_has_lost_its_models_or_its_keys_is_not_taken(name):
    both = frozenset({"models", "keys"})
    old, new = replace(OLD, named=both), replace(NEW, named=both - {name})
    live = Live(old, lambda: new)
    for is_trial in (True, False):
        with pytest.raises(ConfigError, match=f"the file in force has {name}") as refused:
            await live.reload(is_trial=is_trial)
        assert refused.value.where == name
        assert live.config is old
    live = Live(old, lambda: replace(new, named=both))
    assert (await live.reload()).at_restart, "one that says it is taken"
    live = Live(replace(OLD, named=frozenset()), lambda: new)
    assert (await live.reload()).at_restart, "and one of a file that had none"

"""This machine as a node: versions, settings, names; and one that has ended is none."""

from __future__ import annotations

import os
import platform
from functools import partial
from pathlib import Path

import msgspec
import pytest

from enginehouse.cli.commands import cluster as command
from enginehouse.cluster import AskedNode, ClusterAsked, ClusterError, RunningNode, environment, running, stop
from enginehouse.cluster import node as node_module
from enginehouse.cluster.asked import node_of
from enginehouse.cluster.node import named, write_token


def asked(ray: str, python: str) -> ClusterAsked:
    return ClusterAsked(ray=ray, python=python, nodes=())


def test_ray_has_to_be_the_same_and_python_to_the_minor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "ray_version", lambda: "2.60.0")
    major, minor, _ = platform.python_version_tuple()
    command._check_versions(asked("2.60.0", f"{major}.{minor}.99"))
    with pytest.raises(ClusterError, match=r"pip install 'ray==2\.61\.0'"):
        command._check_versions(asked("2.61.0", f"{major}.{minor}.0"))
    with pytest.raises(ClusterError, match=r"Python 3\.1\.0"):
        command._check_versions(asked("2.60.0", "3.1.0"))


def test_a_mac_gets_what_ray_asks_of_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert environment(tmp_path / "token")["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "1"
    monkeypatch.setattr("sys.platform", "linux")
    settings = environment(tmp_path / "token")
    assert settings["RAY_AUTH_MODE"] == "token"
    assert settings["RAY_AUTH_TOKEN_PATH"] == str(tmp_path / "token")


def test_a_token_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "ray" / "token"
    assert write_token(file)
    secret = file.read_text()
    assert len(secret) == 64
    assert file.stat().st_mode & 0o777 == 0o600
    assert not write_token(file)
    assert file.read_text() == secret


def test_a_node_that_has_ended_or_whose_number_is_anothers_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The number of its process may be somebody else's by now, who must not be ended for it."""
    monkeypatch.setenv("ENGINEHOUSE_DATA", str(tmp_path))
    assert running() is None
    file = tmp_path / "cluster" / "node.json"
    file.parent.mkdir()

    other = RunningNode(name="n", address="a", head="h", pid=os.getpid(), started_at=1.0, token_file="t")
    file.write_bytes(msgspec.json.encode(other))
    assert running() is None
    stop(other)  # or this test would end here
    assert not file.exists()


_RAY = """#!/bin/sh
echo once more >>"$ENGINEHOUSE_DATA/tries"
if [ "$(wc -l <"$ENGINEHOUSE_DATA/tries")" -le {} ]; then echo '{}'; exit 1; fi
echo 'Ray runtime started.'
exec sleep 600
"""


@pytest.mark.filterwarnings("ignore:Exception ignored in.*Popen")  # a node goes on when its command has ended
@pytest.mark.parametrize(
    ("failures", "says", "tries"),
    [
        (2, "The current node timed out during startup.", 3),
        (3, "The current node timed out during startup.", 3),
        (1, "The port is taken.", 1),
    ],
)
def test_a_start_that_was_too_slow_for_ray_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, failures: int, says: str, tries: int
) -> None:
    monkeypatch.setenv("ENGINEHOUSE_DATA", str(tmp_path))
    ray = tmp_path / "ray"
    ray.write_text(_RAY.format(failures, says))
    ray.chmod(0o700)
    monkeypatch.setattr(node_module.sys, "executable", str(ray))
    begin = partial(
        node_module.start, "n", "10.0.0.1", head=None, port=1, labels={}, token=tmp_path / "token", folder=None
    )
    if failures < tries:
        node = begin()
        assert running() == node
        stop(node)
    else:
        with pytest.raises(ClusterError, match=says):
            begin()
    assert running() is None
    assert (tmp_path / "tries").read_text().count("\n") == tries


def test_devices_become_labels_and_labels_devices() -> None:
    assert named(["cuda", "cuda", "cpu"]) == {"cuda": "2", "cpu": "1"}
    row: dict[str, object] = {
        "NodeManagerAddress": "10.0.0.1",
        "Alive": True,
        "Labels": {"ray.io/node-id": "x", "enginehouse/name": "box", "enginehouse/cuda": "2", "enginehouse/cpu": "1"},
        "Resources": {"node:__internal_head__": 1.0, "memory": 5.0},
    }
    assert node_of(row) == AskedNode(
        name="box", address="10.0.0.1", is_alive=True, is_head=True, devices={"cuda": 2, "cpu": 1}
    )
    assert node_of({**row, "Labels": None, "Resources": {}}).name == ""


@pytest.mark.parametrize("name", ["-a", "a b", "a" * 64, "a.b", "ä"])
def test_a_name_that_no_label_can_have_is_refused(name: str) -> None:
    with pytest.raises(Exception, match="at most 63"):
        command._name(name)


def test_without_ray_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> str:
        raise node_module.importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(node_module.importlib.metadata, "version", missing)
    with pytest.raises(ClusterError, match=r"enginehouse\[ray\]"):
        node_module.ray_version()

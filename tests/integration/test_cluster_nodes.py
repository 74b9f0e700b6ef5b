"""`enginehouse cluster` on Ray as it is: nodes in network namespaces begin, join, are refused, and leave."""

from __future__ import annotations

import pytest
from tests.cluster.network import Node

pytest.importorskip("ray", reason="install Ray, which the extra ray brings")

SLOW_AGENTS = """
import sys, time
if any(word.endswith("agent.py") or "runtime_env/agent" in word for word in sys.orig_argv):
    time.sleep(20)
"""
"""Runs as each Python begins: Ray's agents start as slowly as on a small machine, where Ray waits 15 s for them."""


def test_machines_begin_a_cluster_join_it_and_leave(nodes: dict[str, Node]) -> None:
    """The head makes the token, nodes tell their devices, a killed head finds them again; who leaves leaves nothing."""
    one, two = nodes.values()
    begun = one.up()
    assert begun["is_new_token"]
    assert one.token.stat().st_mode & 0o777 == 0o600
    joined = two.join(one)
    assert joined["node"]["head"] == f"{one.address}:6379"
    there = two.status()
    assert {name: node["is_alive"] for name, node in there.items()} == {"one": True, "two": True}
    assert [node["is_head"] for node in there.values()].count(True) == 1
    assert there["two"]["devices"]["cpu"] == 1
    assert "two" in one.cli("cluster", "status").stdout

    refused = two.cli("cluster", "join", one.address, "--name", "two", is_needed=False)
    assert refused.returncode == 1
    assert "has a node 'two' already" in refused.stderr
    refused = two.cli("cluster", "join", one.address, "--name", "three", is_needed=False)
    assert "is the node 'two' already" in refused.stderr

    one.kill()
    (one.folder / "sitecustomize.py").write_text(SLOW_AGENTS)
    one.variables["PYTHONPATH"] = str(one.folder)
    one.up()
    assert one.status()["two"]["is_alive"]  # without a word from anybody

    two.cli("cluster", "leave")
    assert two.pids() == []
    assert not one.status()["two"]["is_alive"]

    wrong = one.folder / "wrong"
    wrong.write_text("0" * 64)
    refused = two.cli("cluster", "join", one.address, "--token-file", str(wrong), is_needed=False)
    assert "refuses the token" in refused.stderr

    one.cli("cluster", "leave")
    assert one.pids() == []
    assert "this machine is in no cluster" in one.cli("cluster", "status", is_needed=False).stderr.lower()
    refused = two.cli("cluster", "join", one.address, is_needed=False)
    assert "No head of a cluster answers" in refused.stderr

"""Machines as network namespaces: each a node of a Ray cluster, with data and sessions of its own. Needs root."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

NEEDED = "needs root on Linux and iproute2: nodes are network namespaces"
_CLI_S = 240.0


def ip(*words: str, is_needed: bool = True) -> None:
    """Run `ip` with *words*."""
    subprocess.run(["ip", *words], check=is_needed, capture_output=not is_needed)


class Node:
    """The namespace *name*, the *number*-th of a network, with data below *folder*."""

    def __init__(self, name: str, town: int, number: int, folder: Path) -> None:
        self.name = name
        self.address = f"10.78.{town}.{number}"
        self.outside = f"10.78.{town}.254"  # this machine, as nodes see it
        self.folder = folder / name[:2]  # short: the paths of sockets have an end
        self.token = folder / "token"
        self.namespace = f"ehc{town}-{name}"
        self.variables: dict[str, str] = {}  # more of them, for what starts there from now on

    @property
    def under(self) -> tuple[str, ...]:
        """What a command runs under to run there."""
        return ("ip", "netns", "exec", self.namespace)

    @property
    def environment(self) -> dict[str, str]:
        """The variables of what runs there."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(("ENGINEHOUSE_", "RAY_"))}
        places = {"ENGINEHOUSE_DATA": str(self.folder / "data"), "RAY_AUTH_TOKEN_PATH": str(self.token)}
        return own | places | self.variables

    def cli(self, *words: str, is_needed: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `enginehouse` there with *words*."""
        done = subprocess.run(
            [*self.under, str(Path(sys.executable).with_name("enginehouse")), *words],
            env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_CLI_S,
        )  # fmt: skip
        assert not is_needed or done.returncode == 0, done.stdout + done.stderr
        return done

    def up(self) -> dict[str, Any]:
        """Be the head."""
        return self._begun("up")

    def join(self, head: Node) -> dict[str, Any]:
        """Be a node of the cluster of *head*."""
        return self._begun("join", head.address)

    def _begun(self, *words: str) -> dict[str, Any]:
        done = self.cli("cluster", *words, *self._options, "--json")
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    @property
    def _options(self) -> list[str]:
        return ["--name", self.name, "--address", self.address, "--temp-dir", str(self.folder / "r")]

    def status(self) -> dict[str, Any]:
        """The nodes that the cluster has, by their names."""
        told = json.loads(self.cli("cluster", "status", "--json").stdout)
        rows = sorted(told["cluster"]["nodes"], key=lambda one: one["is_alive"])  # the head remembers former ones
        return {one["name"]: one for one in rows}

    def kill(self) -> None:
        """End everything that runs there without a word, as when the power goes; returns when that has ended."""
        while pids := self.pids():
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)
        # Ray looks for a head among all processes of this machine, and takes the other nodes' for what runs here.
        (self.folder / "r" / "ray_current_cluster").unlink(missing_ok=True)

    def pids(self) -> list[int]:
        """The processes in its namespace."""
        done = subprocess.run(["ip", "netns", "pids", self.namespace], capture_output=True, text=True, check=False)
        found = [int(pid) for pid in done.stdout.split()]
        return [pid for pid in found if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]


def is_possible() -> bool:
    """Whether networks can be made here."""
    return sys.platform == "linux" and os.geteuid() == 0 and shutil.which("ip") is not None


@contextlib.contextmanager
def network(*names: str) -> Iterator[dict[str, Node]]:
    """A bridge with a namespace for each of *names*; all that runs there ends with the block."""
    town = random.randrange(1, 250)  # others may be there at the same time
    bridge = f"ehc{town}"
    # Short: the paths of sockets have an end.
    with tempfile.TemporaryDirectory(prefix="eh-", ignore_cleanup_errors=True) as folder:
        nodes = {name: Node(name, town, number, Path(folder)) for number, name in enumerate(names, 1)}
        try:
            ip("link", "add", bridge, "type", "bridge")
            ip("addr", "add", f"{nodes[names[0]].outside}/24", "dev", bridge)
            ip("link", "set", bridge, "up")
            for node in nodes.values():
                node.folder.mkdir(parents=True)
                ip("netns", "add", node.namespace)
                ip("link", "add", node.namespace, "type", "veth", "peer", "name", "eth0", "netns", node.namespace)
                ip("link", "set", node.namespace, "master", bridge, "up")
                ip("-n", node.namespace, "addr", "add", f"{node.address}/24", "dev", "eth0")
                for device in ("lo", "eth0"):
                    ip("-n", node.namespace, "link", "set", device, "up")
                ip("-n", node.namespace, "route", "add", "default", "via", node.outside)
            yield nodes
        finally:
            for node in nodes.values():
                node.kill()
                ip("netns", "del", node.namespace, is_needed=False)
                ip("link", "del", node.namespace, is_needed=False)
            ip("link", "del", bridge, is_needed=False)

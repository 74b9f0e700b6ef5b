"""This machine as a node of a Ray cluster: one process of `ray start`, known by its id, with the settings it needs.

Ray's own `ray stop` ends all of Ray on a machine, also what is others'; here the one process ends that was started.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
import psutil  # type: ignore[import-untyped]  # ships no types

from enginehouse.certificates.files import data_folder, make_private, write_whole

DEFAULT_PORT: Final = 6379
LABEL: Final = "enginehouse/"
"""What labels of a node begin with: `enginehouse/name`, and `enginehouse/cuda` with the number of such devices."""

_SETTINGS: Final = {
    "RAY_AUTH_MODE": "token",
    # A lost node is noticed after 5 to 9 s; by Ray's defaults after 17 to 54.
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    # Nodes and clients wait so long for a head that has gone, and do not end with it.
    "RAY_gcs_rpc_server_reconnect_timeout_s": "600",
    "RAY_worker_niceness": "0",  # engines are not to stand behind everything else: Ray's default is 15
    "RAY_USAGE_STATS_ENABLED": "0",
}
_OBJECT_STORE_BYTES: Final = 80_000_000
"""Ray takes no less; nothing is put there."""
_START_S: Final = 180.0
_TOO_SLOW: Final = "timed out during startup"
"""What Ray says where a machine is too busy to start within its 30 s, which nothing changes: then it is tried again."""
_TRIES: Final = 3
_LEAVE_S: Final = 45.0
"""Ray lets a node drain for up to 30 s."""
_LAST_BYTES: Final = 4000
_begun: Final[list[subprocess.Popen[bytes]]] = []
"""What goes on without this process: an object of one that runs complains when it is let go of."""


class ClusterError(Exception):
    """A cluster cannot be used as wanted; the message says what to do."""


class RunningNode(msgspec.Struct, frozen=True, kw_only=True):
    """A node as it was started here. *started_at* is when the system says that its process was made."""

    name: str
    address: str
    head: str
    pid: int
    started_at: float
    token_file: str


def ray_version() -> str:
    """The version of Ray in this environment.

    Raises:
        ClusterError: there is none.
    """
    try:
        return importlib.metadata.version("ray")
    except importlib.metadata.PackageNotFoundError:
        raise ClusterError("Ray is not installed here. Install it with `pip install 'enginehouse[ray]'`.") from None


def token_file() -> Path:
    """Where Ray reads the cluster's token."""
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")


def write_token(file: Path) -> bool:
    """Make the cluster's token in *file*, unless there is one; returns whether it was made."""
    if file.exists():
        return False
    write_whole(file, secrets.token_hex(32).encode())
    return True


def environment(token: Path) -> dict[str, str]:
    """The variables with which each process of a cluster runs that uses the token in the file *token*."""
    settings = {**os.environ, **_SETTINGS, "RAY_AUTH_TOKEN_PATH": str(token)}
    if sys.platform == "darwin":
        settings["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "1"
    return settings


def own_address(towards: str = "192.0.2.1") -> str:
    """The address of this machine on the network that leads to *towards*; nothing is sent there.

    Raises:
        ClusterError: there is no network.
    """
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((towards, 9))
            return str(probe.getsockname()[0])
    except OSError as error:
        raise ClusterError(f"This machine has no way to {towards} ({error}): name its address by --address.") from error


def start(
    name: str, address: str, *, head: str | None, port: int, labels: Mapping[str, str], token: Path, folder: Path | None
) -> RunningNode:
    """Start Ray on this machine as a node called *name*: of the cluster whose head is at *head*, or as the head itself.

    *labels* say what it has; *folder* is where Ray keeps its sessions. Returns once Ray has started.

    Raises:
        ClusterError: it is a node already, or Ray has ended or takes too long; with its last words.
    """
    if (there := running()) is not None:
        told = f"This machine is the node '{there.name}' already (process {there.pid})"
        raise ClusterError(f"{told}: `enginehouse cluster leave` ends that.")
    of_head = ["--head", "--port", str(port), "--include-dashboard", "false", "--no-monitor"]
    shown = ",".join(f"{LABEL}{key}={value}" for key, value in {"name": name, **labels}.items())
    words = [
        *(sys.executable, "-m", "enginehouse.cluster.ray_start", address, "start", "--block", "--disable-usage-stats"),
        *(of_head if head is None else ["--address", head]),
        *("--node-ip-address", address, "--labels", shown, "--include-log-monitor", "false"),
        *("--num-cpus", "0", "--object-store-memory", str(_OBJECT_STORE_BYTES)),  # no process of Ray's beside ours
        *(["--temp-dir", str(folder)] if folder is not None else []),
    ]
    settings = environment(token)
    place = _folder()
    make_private(place)
    if head is None:
        make_private(place / "head")
        settings |= {"RAY_gcs_storage": "rocksdb", "RAY_gcs_storage_path": str(place / "head")}
    tries = _TRIES
    while True:
        tries -= 1
        with (place / "ray.log").open("wb") as log:
            process = subprocess.Popen(  # noqa: S603  # our own interpreter
                words, env=settings, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        node = RunningNode(
            name=name,
            address=address,
            head=head or f"{address}:{port}",
            pid=process.pid,
            started_at=psutil.Process(process.pid).create_time(),
            token_file=str(token),
        )
        write_whole(place / "node.json", msgspec.json.encode(node))
        try:
            _wait_started(process, place / "ray.log")
        except BaseException as error:
            stop(node)
            if not (isinstance(error, ClusterError) and _TOO_SLOW in str(error) and tries):
                raise
        else:
            _begun.append(process)
            return node


def _wait_started(process: subprocess.Popen[bytes], log: Path) -> None:
    ends_at = time.monotonic() + _START_S
    while "Ray runtime started" not in (said := last_words(log)):
        if process.poll() is not None:
            raise ClusterError(f"Ray has ended:\n{said}")
        if time.monotonic() > ends_at:
            raise ClusterError(f"Ray has not started within {_START_S:g} s:\n{said}")
        time.sleep(0.1)


def last_words(log: Path) -> str:
    """The end of what Ray has written to *log*."""
    return log.read_bytes()[-_LAST_BYTES:].decode("utf-8", "replace").strip()


def running() -> RunningNode | None:
    """The node that was started here, while it runs."""
    try:
        node = msgspec.json.decode((_folder() / "node.json").read_bytes(), type=RunningNode)
    except (OSError, msgspec.DecodeError):
        return None
    return node if _process(node) is not None else None


def stop(node: RunningNode) -> None:
    """End *node* and what it has started; returns when that has ended."""
    process = _process(node)
    if process is not None:
        with contextlib.suppress(psutil.NoSuchProcess):
            family = [process, *process.children(recursive=True)]
            process.terminate()
            _, left = psutil.wait_procs(family, timeout=_LEAVE_S)
            for each in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()
            psutil.wait_procs(left, timeout=5)
    for begun in _begun:
        begun.poll()
    (_folder() / "node.json").unlink(missing_ok=True)


def _process(node: RunningNode) -> psutil.Process | None:
    try:
        process = psutil.Process(node.pid)
        is_it = abs(process.create_time() - node.started_at) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return None
    return process if is_it else None


def _folder() -> Path:
    return data_folder() / "cluster"


def named(devices: Sequence[str]) -> dict[str, str]:
    """Labels for *devices*, the kinds of all of a machine's devices: how many there are of each."""
    return {kind: str(devices.count(kind)) for kind in dict.fromkeys(devices)}

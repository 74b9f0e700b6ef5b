"""A machine with systemd inside this one: namespaces of their own, so that nothing of it is left when it ends.

It needs root, Linux's namespaces and control groups that can be written; `missing` says what is not here. Programs are
read from this machine; folders that a service writes to are empty, in memory. No unit of this machine is known there,
its network is loopback alone, and what the kernel shares is read-only: else it would set up the machine that it is in.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import psutil

GUEST_ID = 64_321
HOME = "/home/guest"
_LOG = "/srv/enginehouse.log"
_START_S = 30.0
_SYSTEMD = Path("/lib/systemd/systemd")
_CGROUPS = ("/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup")
_NEEDED = ("unshare", "nsenter", "setpriv", "ip", "systemctl")
_RUNTIME = f"/run/user/{GUEST_ID}"
_GUEST = ("setpriv", f"--reuid={GUEST_ID}", f"--regid={GUEST_ID}", "--clear-groups", "env", "--ignore-environment")
_AS_GUEST = (*_GUEST, f"HOME={HOME}", "USER=guest", "LOGNAME=guest", f"XDG_RUNTIME_DIR={_RUNTIME}")
_EMPTY = ("/run", "/opt", "/home", "/srv", "/tmp", "/var/tmp", "/etc/systemd/system", "/var/lib", "/var/cache")
_TARGETS = "sysinit basic shutdown network-online multi-user"
_BEGIN = f"""
set -e
mount --make-rprivate /
ip link set lo up
for group in "$@"; do echo $$ > "$group/cgroup.procs"; done
for folder in {" ".join(_EMPTY)}; do mount -t tmpfs -o mode=755 tmpfs $folder; done
for file in passwd group machine-id; do cp /etc/$file /run/; done
echo 'guest:x:{GUEST_ID}:{GUEST_ID}::{HOME}:/bin/sh' >> /run/passwd
echo 'guest:x:{GUEST_ID}:' >> /run/group
for file in passwd group machine-id; do mount --bind /run/$file /etc/$file; done
mount -o remount,bind,ro /sys
mount --bind /proc/sys /proc/sys; mount -o remount,bind,ro /proc/sys
for folder in /run/systemd/system /run/systemd/user; do
mkdir -p $folder/enginehouse.service.d
printf '[Service]\\nStandardError=append:{_LOG}\\n' > $folder/enginehouse.service.d/log.conf
done
touch {_LOG}; chmod 666 {_LOG}; chmod 1777 /tmp /var/tmp
mkdir -p {_RUNTIME} {HOME}
chown -R {GUEST_ID}:{GUEST_ID} {_RUNTIME} {HOME}
"""
_USER = f"""
for group in "$@"; do chown -R {GUEST_ID} "$group"; done
{" ".join(_AS_GUEST)} {_SYSTEMD} --user --unit=basic.target &
wait
"""
_SYSTEM = f"""
for name in {_TARGETS} quiet; do
printf '[Unit]\\nDefaultDependencies=no\\n' > /run/systemd/system/$name.target
done
export container=enginehouse SYSTEMD_UNIT_PATH=/etc/systemd/system:/run/systemd/system
exec {_SYSTEMD} --system --unit=quiet.target --show-status=no
"""


def missing() -> str:
    """What this machine lacks for it; empty: nothing is known to be missing."""
    if sys.platform != "linux" or not _SYSTEMD.exists():
        return "systemd is not installed (Debian's package 'systemd')"
    if os.geteuid() != 0:
        return "namespaces and control groups of a machine within take root"
    absent = [name for name in _NEEDED if shutil.which(name) is None]
    if absent:
        return f"there is no {', '.join(absent)} (Debian's packages 'util-linux', 'iproute2' and 'systemd')"
    return "" if _cgroups() else "control groups cannot be written here"


class Machine:
    """What runs in the namespaces of *process*."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process

    def log(self) -> str:
        """What the service has logged."""
        return self.command("cat", _LOG).stdout

    def command(
        self, *words: str, as_guest: bool = False, is_online: bool = False, given: bytes = b"", **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in it, as root or as the account `guest`, which reads *given*.

        *is_online*: with this machine's network, for what comes from a registry.
        """
        inside = ["nsenter", f"--target={self._process.pid}", "--mount", "--pid", "--uts", "--ipc"]
        inside += [] if is_online else ["--net"]
        settings = [f"{name}={value}" for name, value in {"PATH": os.environ["PATH"], **variables}.items()]
        who = [*_AS_GUEST, *settings] if as_guest else ["env", *settings]
        done = subprocess.run([*inside, *who, *words], cwd="/", capture_output=True, input=given, timeout=300)
        out, err = (text.decode(errors="replace") for text in (done.stdout, done.stderr))
        return subprocess.CompletedProcess(done.args, done.returncode, out, err)

    def run(self, *words: str, as_guest: bool = False, is_online: bool = False, **variables: str) -> str:
        """Run a command that has to work; returns what it printed."""
        done = self.command(*words, as_guest=as_guest, is_online=is_online, **variables)
        assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}\n{self.log()}"
        return done.stdout

    def give(self, folder: Path, names: Iterable[str], to: str) -> None:
        """Copy what has *names* in *folder* to the folder *to*, for everybody to read."""
        packed = subprocess.run(["tar", "-C", str(folder), "-chf", "-", *names], capture_output=True, check=True)
        self.run("mkdir", "-p", to)
        done = self.command("tar", "-C", to, "--no-same-owner", "-xf", "-", given=packed.stdout)
        assert done.returncode == 0, done.stderr
        self.run("chmod", "-R", "a+rX", to)

    def write(self, path: str, text: str) -> None:
        """Write a file that everybody may read."""
        done = self.command("sh", "-c", f"cat > {path} && chmod a+r {path}", given=text.encode())
        assert done.returncode == 0, done.stderr

    def listing(self, *folders: str) -> list[str]:
        """Every file and folder below *folders*, but for what Python compiles beside its modules."""
        found = self.run("find", *folders, "-mindepth", "1").splitlines()
        return sorted(path for path in found if "__pycache__" not in path)


@contextmanager
def machine(kind: Literal["user", "system"], folder: Path) -> Iterator[Machine]:
    """A machine with systemd for the system, or for the account `guest`; what its start says is in *folder*."""
    groups = [Path(above) / f"enginehouse-{os.getpid()}-{kind}" for above in _cgroups()]
    for group in groups:
        group.mkdir()
    namespaces = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--uts", "--ipc", "--net"]
    script = _BEGIN + (_USER if kind == "user" else _SYSTEM)
    said = folder / "machine.log"
    with said.open("w") as output:
        command = [*namespaces, "bash", "-c", script, "-", *map(str, groups)]
        outer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield Machine(_first(outer, kind, said))
    finally:
        if outer.poll() is None:
            for process in psutil.Process(outer.pid).children():
                process.send_signal(signal.SIGKILL)  # with the first process all of its namespace end
        outer.wait(timeout=30)
        for group in groups:
            _remove(group)


def _first(outer: subprocess.Popen[bytes], kind: str, said: Path) -> psutil.Process:
    """The first process of the machine, once its systemd can be asked."""
    ends_at = time.monotonic() + _START_S
    while time.monotonic() < ends_at and outer.poll() is None:
        children = psutil.Process(outer.pid).children()
        if children:
            asked = Machine(children[0]).command("systemctl", f"--{kind}", "is-system-running", as_guest=kind == "user")
            if asked.stdout.strip() in ("running", "degraded"):
                return children[0]
        time.sleep(0.1)
    raise AssertionError(f"systemd did not start:\n{said.read_text()}")


def _cgroups() -> Sequence[str]:
    """The hierarchies in which systemd keeps its groups, where they can be written."""
    there = [folder for folder in _CGROUPS if Path(folder, "cgroup.procs").exists()]
    return there if there and all(_can_make(Path(folder)) for folder in there) else ()


def _can_make(folder: Path) -> bool:
    trial = folder / f"enginehouse-trial-{os.getpid()}"
    try:
        trial.mkdir()
        trial.rmdir()
    except OSError:
        return False
    return True


def _remove(group: Path) -> None:
    """Remove a control group with those below it, the lowest first."""
    for path in sorted((each for each in [group, *group.rglob("*")] if each.is_dir()), reverse=True):
        for _ in range(50):
            try:
                path.rmdir()
                break
            except OSError:  # the last processes are still on their way out
                time.sleep(0.1)

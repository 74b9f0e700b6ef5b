"""An image, run as it is meant to be: without root, without rights, on a root file system that nobody can write.

By runc alone, with a network that is a loopback and no more: what is asked is asked from inside.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

MODEL = "smollm2-135m"
START_S, MODEL_S, END_S = 60.0, 240.0, 60.0
_CONFIG = f"""
[server]
allow_unauthenticated = true

[models."{MODEL}"]
context_tokens = 512
placements = [{{ backend = "llamacpp", source = "demo:{MODEL}" }}]
"""
_ASK = f"""
import json, urllib.request
body = {{"model": "{MODEL}", "max_tokens": 8, "messages": [{{"role": "user", "content": "Hello"}}]}}
request = urllib.request.Request("http://127.0.0.1:8000/v1/chat/completions", json.dumps(body).encode(),
                                 {{"content-type": "application/json"}})
print(json.load(urllib.request.urlopen(request, timeout=200))["usage"]["completion_tokens"])
"""
_PROCESSES = """
import json, os, pathlib
found = []
for status in pathlib.Path("/proc").glob("[0-9]*/status"):
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
    command = status.with_name("cmdline").read_bytes().replace(bytes(1), b" ").decode()
    if int(status.parent.name) != os.getpid():
        found.append([int(status.parent.name), fields["State"].split()[0], fields["Uid"].split()[0], command])
print(json.dumps(found))
"""


class Failed(Exception):
    """An image cannot be built, or is not what it should be; the message says what and why."""


class Container:
    """A container of the root file system *rootfs*, run as the image's *config* says, with *folder* for its files."""

    def __init__(self, config: dict[str, Any], rootfs: Path, folder: Path) -> None:
        self._config = config
        self._folder = folder
        self.name = folder.name
        (folder / "config.json").write_text(json.dumps(_spec(config, rootfs, folder)))
        self._log = (folder / "log").open("wb")
        self._process = subprocess.Popen(
            ["runc", "run", "--bundle", str(folder), self.name], stdout=self._log, stderr=subprocess.STDOUT
        )

    def run(self, *command: str, timeout_s: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Run *command* inside."""
        inside = ["runc", "exec", self.name, *command]
        return subprocess.run(inside, capture_output=True, text=True, timeout=timeout_s, check=False)

    def python(self, script: str, timeout_s: float = 30.0) -> str:
        """What *script* prints inside.

        Raises:
            Failed: it fails.
        """
        done = self.run("python3", "-I", "-S", "-c", script, timeout_s=timeout_s)
        if done.returncode:
            raise Failed(f"{done.stderr[-500:]}\n{self.log()}")
        return done.stdout.strip()

    def is_healthy(self) -> bool:
        """Whether the image's own check of its health says so."""
        return self.run(*self._config["Healthcheck"]["Test"][1:]).returncode == 0

    def wait_until(self, is_so: Callable[[], bool], what: str, timeout_s: float) -> float:
        """Wait until *is_so*; returns the seconds.

        Raises:
            Failed: it is not so in time, or the container has ended.
        """
        began_at = time.monotonic()
        while not is_so():
            if self._process.poll() is not None or time.monotonic() - began_at > timeout_s:
                raise Failed(f"not {what} after {time.monotonic() - began_at:.0f} s:\n{self.log()}")
            time.sleep(0.2)
        return round(time.monotonic() - began_at, 1)

    def processes(self) -> list[tuple[int, str, str, str]]:
        """Number, state, user and command of each process inside, but the one that looks."""
        return [(pid, state, user, command) for pid, state, user, command in json.loads(self.python(_PROCESSES))]

    def log(self) -> str:
        """The end of what it has written."""
        return (self._folder / "log").read_text(errors="replace")[-3000:]

    def end(self) -> int:
        """Send SIGTERM, as engines of containers do, and return its exit code."""
        subprocess.run(["runc", "kill", self.name, "TERM"], check=True)
        return self._process.wait(END_S)

    def close(self) -> None:
        """End what is left of it."""
        if self._process.poll() is None:
            subprocess.run(["runc", "delete", "--force", self.name], check=False, capture_output=True)
            self._process.wait(END_S)
        self._log.close()


def try_image(image: str, *, with_model: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Run *image*, *with_model* also ask its model, and *say* what was seen; returns the figures.

    Raises:
        Failed: it is not what it should be.
    """
    config = json.loads(_output("buildah", "inspect", "--type", "image", image))["Docker"]["config"]
    user = config["User"].split(":")[0]
    if not user.isdigit() or int(user) == 0:
        raise Failed(f"{image} runs as '{config['User']}', not as a numbered user that is not root")
    with _running(image, config, with_model=with_model) as container:
        start_s = container.wait_until(container.is_healthy, "healthy", START_S)
        say(f"healthy after {start_s:g} s, by its own check of GET /health")
        if {of for _, _, of, _ in container.processes()} != {user}:
            raise Failed(f"something runs as another user than {user}: {container.processes()}")
        for path in ("/written", "/opt/enginehouse/written", "/etc/enginehouse/written"):
            if container.run("touch", path).returncode == 0:
                raise Failed(f"{path} could be written: the root file system is not read-only")
        say(f"all of its processes are those of user {user}; the root file system cannot be written")
        shown = {"healthy_s": start_s, "user": int(user)}
        if with_model:
            shown |= _try_model(container, say)
        began_at = time.monotonic()
        code = container.end()
        if code:
            raise Failed(f"SIGTERM ended it with {code}:\n{container.log()}")
        say(f"SIGTERM ended it with 0 after {time.monotonic() - began_at:.1f} s")
        return {**shown, "exit_code": code}


def _try_model(container: Container, say: Callable[[str], None]) -> dict[str, Any]:
    began_at = time.monotonic()
    tokens = int(container.python(_ASK, MODEL_S))
    say(f"{MODEL} has answered with {tokens} tokens, {time.monotonic() - began_at:.1f} s after it was asked")
    (guardian,) = [pid for pid, _, _, command in container.processes() if "guardian.py" in command]
    container.run("python3", "-c", f"import os; os.kill({guardian}, 9)")

    def is_back() -> bool:
        now = container.processes()
        return all(state != "Z" and pid != guardian for pid, state, _, _ in now) and any(
            "guardian.py" in command for _, _, _, command in now
        )

    container.wait_until(is_back, "another guardian, and no zombie", START_S)
    again = int(container.python(_ASK, MODEL_S))
    say(f"its guardian was killed: no zombie is left, and another engine has answered with {again} tokens")
    return {"model": MODEL, "completion_tokens": tokens}


@contextlib.contextmanager
def _running(image: str, config: dict[str, Any], *, with_model: bool) -> Iterator[Container]:
    working = _output("buildah", "from", image).strip()
    folder = Path(tempfile.mkdtemp(prefix="enginehouse-trial-"))
    try:
        rootfs = Path(_output("buildah", "mount", working).strip())
        (folder / "enginehouse.toml").write_text(_CONFIG)
        data = folder / "data"
        data.mkdir()
        if with_model:
            _copy_weights(data / "cache/demo" / MODEL)
        user, group = (int(number) for number in config["User"].split(":"))
        for path in (data, *data.rglob("*")):
            os.chown(path, user, group)
        folder.chmod(0o755)
        container = Container(config, rootfs, folder)
        try:
            yield container
        finally:
            container.close()
    finally:
        _output("buildah", "rm", working)
        shutil.rmtree(folder)


def _copy_weights(into: Path) -> None:
    """The embedded model's weights, which this machine fetches where it has not: the container has no network."""
    from enginehouse.weights import resolve  # only here: an image without a model is tried without the router

    shutil.copytree(Path(resolve(f"demo:{MODEL}")).parent, into)


def _spec(config: dict[str, Any], rootfs: Path, folder: Path) -> dict[str, Any]:
    """What runc is told: as strict as the pods of the chart are."""
    user, group = (int(number) for number in config["User"].split(":"))
    hidden = ["nosuid", "nodev"]
    mounts = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755"]},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": [*hidden, "noexec", "mode=1777"]},
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": [*hidden, "mode=1777"]},
        {"destination": "/data", "type": "bind", "source": str(folder / "data"), "options": ["bind", *hidden]},
        {
            "destination": "/etc/enginehouse/enginehouse.toml",
            "type": "bind",
            "source": str(folder / "enginehouse.toml"),
            "options": ["bind", "ro", *hidden],
        },
    ]
    return {
        "ociVersion": "1.0.2",
        "root": {"path": str(rootfs), "readonly": True},
        "mounts": mounts,
        "process": {
            "user": {"uid": user, "gid": group},
            "args": [*config["Entrypoint"], *config["Cmd"]],
            "env": config["Env"],
            "cwd": config["WorkingDir"],
            "noNewPrivileges": True,
            "capabilities": {kind: [] for kind in ("bounding", "effective", "permitted", "inheritable", "ambient")},
        },
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "network")]},
    }


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout

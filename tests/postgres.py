"""A real PostgreSQL server for tests: Debian's package, in a folder of its own, on loopback."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from tests.programs import free_port

NEEDED = "needs PostgreSQL's server: apt-get install postgresql"


def binaries() -> Path | None:
    """The folder of the server's programs, of the newest version that is installed; None: there is none."""
    found = [Path(program).resolve().parent] if (program := shutil.which("initdb")) else []
    found += [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    return max(found, key=str, default=None)


class PostgreSQL:
    """A running server; `new_database` makes one in it. `kill` ends it at once, `start` begins it again."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.address = address
        folder = binaries()
        assert folder is not None, NEEDED
        self._folder = folder
        self._user = "postgres" if os.geteuid() == 0 else None  # the server refuses to be root's
        self.data = Path(tempfile.mkdtemp(prefix="postgresql-"))
        if self._user:
            shutil.chown(self.data, self._user)
        self._run(
            "initdb", "-D", str(self.data), "-U", "owner", "--auth=trust", "--no-sync", "--no-locale", "-E", "UTF8"
        )
        with (self.data / "pg_hba.conf").open("a") as trusted:
            trusted.write("host all all samenet trust\n")
        self.port = free_port()
        self._databases = 0
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self._folder / program), *arguments],
            user=self._user, cwd=self.data, check=True, stdout=subprocess.DEVNULL, timeout=120,
        )  # fmt: skip

    def start(self) -> None:
        """Begin to serve."""
        self._process = subprocess.Popen(
            [str(self._folder / "postgres"), "-D", str(self.data), "-p", str(self.port), "-k", str(self.data),
             "-c", f"listen_addresses={self.address}", "-c", "fsync=off", "-c", "shared_buffers=16MB"],
            user=self._user, cwd=self.data, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        ends_at = time.monotonic() + 60
        while time.monotonic() < ends_at:
            ready = [str(self._folder / "pg_isready"), "-q", "-h", self.address, "-p", str(self.port), "-t", "1"]
            if subprocess.run(ready).returncode == 0:
                return
            time.sleep(0.05)
        raise AssertionError("PostgreSQL does not start")

    def kill(self) -> None:
        """End it and all that it serves at once, as a fault would."""
        assert self._process is not None
        self._process.send_signal(signal.SIGQUIT)  # SIGKILL would leave its shared memory to those it had begun
        self._process.wait(60)

    def new_database(self) -> str:
        """Make an empty database; returns its URL."""
        self._databases += 1
        name = f"accounts{self._databases}"
        self._run("createdb", "-h", self.address, "-p", str(self.port), "-U", "owner", name)
        return f"postgresql://owner@{self.address}:{self.port}/{name}"

    def close(self) -> None:
        """End it and remove its folder."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
        shutil.rmtree(self.data)

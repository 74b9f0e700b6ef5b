"""What a supervisor is to run."""

from __future__ import annotations

import getpass
import os
import pwd
import stat
import sys
from pathlib import Path

import click
import msgspec

from enginehouse.cli.shared.setup import load_plugins, read_checked
from enginehouse.config import refuse_open_listener

_PROTECTED = ("/home", "/root", "/run/user")
"""What a service of the whole system does not see on Linux: `ProtectHome=`."""


class Trouble(click.ClickException):
    """A service cannot be made, asked about or removed; the message says why and what to do."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """`enginehouse serve` as a service, which runs as the account *run_as*; None: as its user, or one made for it."""

    program: Path
    config_file: Path | None = None
    run_as: str | None = None
    port: int = 8000
    drain_timeout_s: float = 30.0

    @property
    def arguments(self) -> tuple[str, ...]:
        """The command line."""
        config = ("--config", str(self.config_file)) if self.config_file else ()
        return (str(self.program), "serve", *config)


def job_of(config_file: str | None, run_as: str | None, *, is_system: bool) -> Job:
    """The job of serving *config_file*, which is checked first.

    Raises:
        ConfigError: the configuration cannot be used.
        Trouble: the service could not run what is installed here, or not read the configuration.
    """
    config = read_checked(config_file, load_plugins())
    refuse_open_listener(config)
    program = Path(sys.executable).with_name("enginehouse").absolute()
    if not program.is_file():
        raise Trouble(f"There is no {program}: install the distribution 'enginehouse' where {sys.executable} is.")
    file = Path(config_file).absolute() if config_file else None
    for path in (program, file):
        if path is not None and not str(path).isprintable():
            raise Trouble(f"{str(path)!r} cannot be written into a service's file: move it to a plainer path.")
    if is_system and sys.platform == "linux":
        _check_visible(program, f"Install it where every account may read it: {_ELSEWHERE}.")
        if file is not None:
            _check_visible(file, "Put it below /etc/enginehouse, and secrets into /etc/enginehouse/environment.")
    account = run_as or (_account() if is_system and sys.platform == "darwin" else None)
    if account is not None:
        _check_account(account)
    return Job(
        program=program,
        config_file=file,
        run_as=account,
        port=config.server.port,
        drain_timeout_s=config.server.drain_timeout_s,
    )


_ELSEWHERE = "python3 -m venv /opt/enginehouse && /opt/enginehouse/bin/pip install enginehouse"


def _check_visible(path: Path, fix: str) -> None:
    """Refuse what a service with an account of its own, and without homes, could not read."""
    for each in (path, *_links(path)):
        hidden = next((home for home in _PROTECTED if each.is_relative_to(home)), None)
        if hidden is not None:
            raise Trouble(f"A service of the system does not see {hidden}, where {each} is. {fix}")
        for place in (each, *each.parents):
            if not place.stat().st_mode & (stat.S_IXOTH if place.is_dir() else stat.S_IROTH):
                raise Trouble(f"A service of the system may not read {place}, which its own account needs. {fix}")


def _links(path: Path) -> list[Path]:
    """What *path* leads to: for a program of a virtual environment its interpreter, too."""
    python = path.with_name(Path(sys.executable).name)
    return [path.resolve(), *([python.resolve()] if python.exists() else [])]


def _account() -> str:
    """Who asked for a service of the system by `sudo`."""
    name = os.environ.get("SUDO_USER") or getpass.getuser()
    if name == "root":
        raise Trouble("Say with --run-as which account it runs as: it needs no rights of root.")
    return name


def _check_account(name: str) -> None:
    try:
        pwd.getpwnam(name)
    except KeyError:
        raise Trouble(f"--run-as: there is no account '{name}' on this machine.") from None

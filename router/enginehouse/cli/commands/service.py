"""`enginehouse service`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from enginehouse.cli.shared.groups import Group
from enginehouse.cli.shared.output import print_json
from enginehouse.cli.shared.setup import config_option, json_option
from enginehouse.cli.shared.supervisors import Supervisor, Trouble, Written, job_of, supervisor
from enginehouse.cli.shared.supervisors.files import write, written

F = TypeVar("F", bound=Callable[..., Any])  # click's decorators take any function

_EPILOG = """\b
Examples:
  enginehouse service install --config house.toml
  enginehouse service install --config house.toml --print
  sudo /opt/enginehouse/bin/enginehouse service install --system --config /etc/enginehouse/house.toml
  enginehouse service status
  enginehouse service uninstall
"""

_KEPT = {
    "foreign": "was not written by this command",
    "changed": "was written by this command and has been changed since",
}
_WORDS = {
    "absent": "not installed",
    "ours": "installed",
    "changed": "installed, and changed by hand since",
    "foreign": "not of this command",
}

scope_option = click.option(
    "--system/--user", "is_system", default=False, help="For the whole machine, from boot on; or for you, the default."
)
force_option = click.option("--force", is_flag=True, help="Also where a file is not, or not quite, of this command.")


@click.group(cls=Group, epilog=_EPILOG)
def command() -> None:
    """Have systemd or launchd run the server: it starts without you, and again after a failure."""


@command.command("install", epilog=_EPILOG)
@config_option
@scope_option
@click.option("--run-as", metavar="ACCOUNT", help="With --system: the account that it runs as.")
@click.option("--print", "is_print", is_flag=True, help="Only print what would be written.")
@click.option("--no-start", is_flag=True, help="Write the file, and start nothing.")
@force_option
def install(
    config_file: str | None, is_system: bool, run_as: str | None, is_print: bool, no_start: bool, force: bool
) -> None:
    """Make a service of `enginehouse serve`, and start it; again after an upgrade, its file is written anew."""
    if run_as and not is_system:
        raise click.UsageError("--run-as goes with --system: your own service runs as you.")
    chosen = supervisor(is_system=is_system)
    text = chosen.text(job_of(config_file, run_as, is_system=is_system))
    if is_print:
        click.echo(text, nl=False)
        return
    if not no_start:
        chosen.check()
    _refuse_other(chosen, force)
    try:
        write(chosen.file, text)
    except OSError as error:
        raise Trouble(f"{chosen.file} cannot be written: {error.strerror or error}.") from None
    click.echo(f"Written: {chosen.file}")
    if no_start:
        return
    chosen.start()
    click.echo("It runs.")
    for note in chosen.notes():
        click.echo(note)


@command.command("uninstall", epilog=_EPILOG)
@scope_option
@force_option
def uninstall(is_system: bool, force: bool) -> None:
    """End the service and remove its file. Configuration, weights and accounts stay."""
    chosen = supervisor(is_system=is_system)
    if _written(chosen) == "absent":
        click.echo(f"There is no {chosen.file}.")
        return
    _refuse_other(chosen, force)
    try:
        chosen.check()
    except Trouble:
        if not force:
            raise
    else:
        chosen.stop()
    try:
        chosen.forget()
    except OSError as error:
        raise Trouble(f"{chosen.file} cannot be removed: {error.strerror or error}.") from None
    click.echo(f"Removed: {chosen.file}")
    for path in chosen.kept():
        click.echo(f"Kept: {path}")


@command.command("status", epilog=_EPILOG)
@scope_option
@json_option
def status(is_system: bool, as_json: bool) -> int:
    """Say whether the service is installed and runs; the exit code is 0 if it runs."""
    chosen = supervisor(is_system=is_system)
    whose = _written(chosen)
    running = chosen.running()
    if as_json:
        print_json(
            {
                "supervisor": chosen.name,
                "scope": "system" if is_system else "user",
                "file": chosen.file,
                "written": whose,
                "state": running.state,
                "running": running.is_running,
                "starts_at_boot": running.starts_at_boot,
                "pid": running.pid,
                "restarts": running.restarts,
            }
        )
    else:
        click.echo(f"{chosen.file}: {_WORDS[whose]}")
        facts = [running.state]
        facts += [f"process {running.pid}"] if running.pid else []
        facts += [f"{running.restarts} restarts"] if running.restarts else []
        facts += ["starts at boot" if running.starts_at_boot else "does not start at boot"]
        click.echo(f"{chosen.name}: {', '.join(facts)}")
    return 0 if running.is_running else 1


def _written(chosen: Supervisor) -> Written:
    try:
        return written(chosen.file)
    except OSError as error:
        raise Trouble(f"{chosen.file} cannot be read: {error.strerror or error}.") from None


def _refuse_other(chosen: Supervisor, force: bool) -> None:
    """Refuse to touch what is not ours."""
    whose = _written(chosen)
    if whose in _KEPT and not force:
        raise Trouble(f"{chosen.file} {_KEPT[whose]}. Move it away, or say --force.")

"""The command line: one module a command, imported when the command is used.

Exit codes: 0 done; 1 the command could not do it, or `doctor` misses something that is needed;
2 wrong usage, or a configuration that cannot be used; 130 interrupted. Errors go to standard error.
"""

from __future__ import annotations

import os
import signal
import sys

from enginehouse.terminal import Terminal

# Nothing else is imported before a signal can be heard: packages take longer than all the rest of a start.


def main() -> None:
    """Run the command line and exit."""
    _end_well_when_told()
    _fill_standard_streams()
    sys.exit(run(sys.argv[1:]))


def _end_well_when_told() -> None:
    """Clean up on SIGTERM and SIGHUP. A server that is to end while it starts has done so; other commands have not.

    A server without a terminal is told by SIGHUP to read its configuration, which one that starts is about to do.
    """
    is_server = sys.argv[1:2] == ["serve"]
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            continue
        if is_server and number == signal.SIGHUP and not Terminal().was_there:
            signal.signal(number, lambda *_: None)
        else:
            signal.signal(number, lambda of, _: sys.exit(0 if is_server else 128 + of))


def _fill_standard_streams() -> None:
    """Give standard streams that were closed at the start to the null device.

    Otherwise the next file or socket would take such a descriptor, and what children write to it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest that is free: this one
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115  # for as long as the process lives
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def run(arguments: list[str]) -> int:
    """Run the command line on *arguments*; returns the exit code."""
    import click

    from .group import command_line

    try:
        "".join(arguments).encode()
    except UnicodeEncodeError:  # no configuration, log or answer could have it
        click.echo("Error: an argument is not UTF-8.", err=True)
        return 2
    try:
        result = command_line().main(arguments, prog_name="enginehouse", standalone_mode=False)
    except click.exceptions.Exit as error:
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo(err=True)
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BrokenPipeError:
        # The reader has what it wanted (`… | head`); nothing more can be written, not even at exit.
        sys.stdout = None
        return 0
    except Exception as error:
        code = _explain(error)
        if code is None:
            raise
        return code
    return result if isinstance(result, int) else 0


def _explain(error: Exception) -> int | None:
    """Print an error that people can act on; returns its exit code, or None for a fault of the program."""
    import click

    from enginehouse.config import ConfigError
    from enginehouse_plugin.errors import EnginehouseError

    if isinstance(error, ConfigError):
        click.echo(f"Error: {error}", err=True)
        return 2
    if isinstance(error, EnginehouseError):
        click.echo(f"Error: {error.message}", err=True)
        return 1
    return None

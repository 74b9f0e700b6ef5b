"""The command line: one module a command, imported when the command is used.

Exit codes: 0 done; 1 the command could not do it, or `doctor` misses something that is needed;
2 wrong usage, or a configuration that cannot be used; 130 interrupted. Errors go to standard error.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys

import click

from enginehouse import __version__

# Name, module and one line of help: so that --help imports no command.
_COMMANDS = {
    "serve": "Serve the models of a configuration; without one, the embedded model.",
    "models": "List models, and fetch weights.",
    "chat": "Talk to a model of a running server.",
    "doctor": "Say what is here, what is missing, and the command that fixes it.",
    "certify": "Prove what a model's instance honours, and store the certificate.",
    "explain": "Say where a model is placed on this host, and why not elsewhere.",
    "plugins": "List plugins, and why one was refused.",
    "keys": "Make API keys.",
    "usage": "Add up the tokens that each key and model took.",
    "config": "Check a configuration.",
}

_EPILOG = """\b
Examples:
  enginehouse serve
  enginehouse serve --config enginehouse.toml
  enginehouse chat "What is the capital of France?"
  enginehouse doctor --config enginehouse.toml

\b
Exit codes: 0 done, 1 failed or something needed is missing,
2 wrong usage or configuration, 130 interrupted.
"""


class _Commands(click.Group):
    """The built-in commands, imported when used, and those of plugins, asked for only where they may matter."""

    _has_asked_plugins = False

    def list_commands(self, ctx: click.Context) -> list[str]:
        self._ask_plugins()
        return [*_COMMANDS, *(name for name in super().list_commands(ctx) if name not in _COMMANDS)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _COMMANDS:
            command: click.Command = importlib.import_module(f"enginehouse.cli.commands.{cmd_name}").command
            return command
        self._ask_plugins()
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = dict(_COMMANDS)
        for name in self.list_commands(ctx):
            if name not in rows and (command := self.get_command(ctx, name)) is not None and not command.hidden:
                rows[name] = command.get_short_help_str(80)
        with formatter.section("Commands"):
            formatter.write_dl(list(rows.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            names = ", ".join(self.list_commands(ctx))
            raise click.UsageError(f"{error.format_message()} There are: {names}.", ctx) from None

    def _ask_plugins(self) -> None:
        if not self._has_asked_plugins:
            self._has_asked_plugins = True
            from enginehouse.cli.shared.setup import load_plugins

            load_plugins().cli(self)


def command_line() -> click.Group:
    """The command line; a new one each time, because plugins add to it."""

    @click.group(cls=_Commands, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
    @click.version_option(__version__, prog_name="enginehouse")
    def cli() -> None:
        """One OpenAI-compatible chat API in front of every inference engine on every machine you own."""

    return cli


def main() -> None:
    """Run the command line and exit."""
    _end_well_when_told()
    _fill_standard_streams()
    sys.exit(run(sys.argv[1:]))


def _end_well_when_told() -> None:
    """Clean up on SIGTERM. A server that is told to end while it starts has done so; other commands are not done."""
    code = 0 if sys.argv[1:2] == ["serve"] else 128 + signal.SIGTERM
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(code))


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
    from enginehouse.config import ConfigError
    from enginehouse_plugin.errors import EnginehouseError

    if isinstance(error, ConfigError):
        click.echo(f"Error: {error}", err=True)
        return 2
    if isinstance(error, EnginehouseError):
        click.echo(f"Error: {error.message}", err=True)
        return 1
    return None

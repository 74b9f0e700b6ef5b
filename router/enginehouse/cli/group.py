"""The commands: each is imported when it is used, and plugins' own are asked for only where they may matter."""

from __future__ import annotations

import importlib

import click

# Name, module and one line of help: so that --help imports no command.
_COMMANDS = {
    "serve": "Serve models that are named, or those of a configuration.",
    "models": "List models, and fetch weights.",
    "chat": "Talk to a model, of a running server or without one.",
    "connect": "Print or write the configuration with which a client uses this server.",
    "doctor": "Say what is here, what is missing, and the command that fixes it.",
    "certify": "Prove what a model's instance honours, and store the certificate.",
    "compare": "Say whether two models, instances, hosts or URLs answer alike.",
    "explain": "Say where a model is placed on this host, and why not elsewhere.",
    "plugins": "List plugins, and why one was refused.",
    "keys": "Make, list, rotate and revoke API keys.",
    "limits": "List and set the limits of API keys.",
    "credits": "Grant, list and audit the credit of API keys.",
    "usage": "Add up the tokens that each key and model took.",
    "config": "Check a configuration.",
    "hosts": "List the other hosts of a running server, and try one that is to be added.",
    "cluster": "Make machines a cluster, on Ray, and list its nodes.",
    "reload": "Have a running server read its configuration again.",
    "instances": "List the instances of a running server, and what they do.",
    "load": "Have a running server load a model now.",
    "unload": "Have a running server give a model's memory back.",
    "pin": "Keep a model loaded on a running server, whatever else needs its memory.",
    "drain": "Take a model out of a running server until it is loaded again.",
    "service": "Have systemd or launchd run the server: it starts without you, and again after a failure.",
}

_EPILOG = """\b
Examples:
  enginehouse serve
  enginehouse serve weights/model.gguf
  enginehouse serve --config enginehouse.toml
  enginehouse chat "What is gravity?"
  enginehouse doctor --config enginehouse.toml

\b
Exit codes: 0 done, 1 failed or something needed is missing,
2 wrong usage or configuration, 130 interrupted.
"""


_JSON = "enginehouse.cli.json"


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


def _want_json(ctx: click.Context, _: click.Parameter, is_asked: bool) -> None:
    ctx.meta[_JSON] = is_asked


def _tell_version(ctx: click.Context, _: click.Parameter, is_asked: bool) -> None:
    as_json = ctx.meta.get(_JSON, False)
    if not is_asked:
        if as_json:
            raise click.UsageError("--json goes with --version, or behind a command.", ctx)
        return
    from enginehouse.cli.shared.parts import parts, shown

    click.echo(shown(parts(), as_json=as_json))
    ctx.exit()


def command_line() -> click.Group:
    """The command line; a new one each time, because plugins add to it."""

    @click.group(cls=_Commands, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
    @click.option(
        "--json",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_want_json,
        help="With --version: print JSON.",
    )
    @click.option(
        "--version", is_flag=True, expose_value=False, callback=_tell_version, help="Show the version of each part."
    )
    def cli() -> None:
        """One API in front of every inference engine on every machine you own."""

    return cli

"""Commands of a command, such as `keys create`."""

from __future__ import annotations

import click

_LONGEST = 1000  # of a line of help: all of a command's first sentence, however narrow the terminal


class Group(click.Group):
    """Lists its commands with the whole of their first sentence, where click cuts it to the terminal's width."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the section on commands."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, command.get_short_help_str(_LONGEST)) for name, command in commands if command is not None]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

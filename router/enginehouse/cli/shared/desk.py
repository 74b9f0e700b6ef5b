"""The desk of accounts, for commands: what goes wrong there is a line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from enginehouse.accounts.desk import Desk
from enginehouse.accounts.store import StoreError
from enginehouse.cli.shared.setup import read_config
from enginehouse_plugin.errors import RequestError


@contextmanager
def open_desk(config_file: str | None) -> Iterator[Desk]:
    """The desk at the database that the configuration at *config_file* names."""
    try:
        yield Desk(read_config(config_file))
    except (StoreError, RequestError) as error:
        raise click.ClickException(str(error)) from None

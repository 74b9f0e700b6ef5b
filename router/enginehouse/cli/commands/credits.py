"""`enginehouse credits`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

from enginehouse.accounts.credit_desk import CreditDesk, Standing
from enginehouse.accounts.store import StoreError
from enginehouse.cli.shared.groups import Group
from enginehouse.cli.shared.output import print_json, print_table
from enginehouse.cli.shared.setup import config_option, json_option, read_config
from enginehouse_plugin.errors import RequestError

_EPILOG = """\b
Examples:
  enginehouse credits grant bob 25 --config enginehouse.toml
  enginehouse credits budget bob --monthly 5 --config enginehouse.toml
  enginehouse credits audit --config enginehouse.toml
"""

_reference = click.option(
    "--reference", help="What it is known by elsewhere, such as an invoice: the same said again changes nothing."
)


@click.group(cls=Group, epilog=_EPILOG)
def command() -> None:
    """Grant, list and audit the credit of keys; running routers know within about a second."""


@command.command("grant", epilog=_EPILOG)
@click.argument("key")
@click.argument("amount")
@_reference
@config_option
@json_option
def grant(key: str, amount: str, reference: str | None, config_file: str | None, as_json: bool) -> None:
    """Add AMOUNT, such as 12.50, to the credit of KEY, which pays for what it asks from then on."""
    with _desk(config_file) as desk:
        _show(desk.grant(key, amount, reference=reference), as_json)


@command.command("withdraw", epilog=_EPILOG)
@click.argument("key")
@click.argument("amount")
@_reference
@config_option
@json_option
def withdraw(key: str, amount: str, reference: str | None, config_file: str | None, as_json: bool) -> None:
    """Take AMOUNT from the credit of KEY."""
    with _desk(config_file) as desk:
        _show(desk.withdraw(key, amount, reference=reference), as_json)


@command.command("budget", epilog=_EPILOG)
@click.argument("key")
@click.option("--monthly", metavar="AMOUNT", help="The most that it may spend in a calendar month of UTC.")
@click.option("--none", "is_none", is_flag=True, help="Let it spend all that it has.")
@config_option
@json_option
def budget(key: str, monthly: str | None, is_none: bool, config_file: str | None, as_json: bool) -> None:
    """Bound what KEY may spend of its credit in a month."""
    if (monthly is None) != is_none:
        raise click.UsageError("Give one of --monthly AMOUNT and --none.")
    with _desk(config_file) as desk:
        _show(desk.bound(key, monthly), as_json)


@command.command("list", epilog=_EPILOG)
@config_option
@json_option
def list_credits(config_file: str | None, as_json: bool) -> None:
    """List the keys that pay, and what they have. LEASED is what routers may spend of it without asking."""
    with _desk(config_file) as desk:
        found = desk.all_keys()
    if as_json:
        print_json(found)
        return
    print_table(
        ("KEY", "BALANCE", "LEASED", "MONTH", "SPENT", "MONTHLY"),
        ((one.key, one.balance, one.leased, one.month, one.spent, one.monthly or "-") for one in found),
    )


@command.command("history", epilog=_EPILOG)
@click.argument("key")
@click.option("--last", type=click.IntRange(min=1, max=1000), default=100, show_default=True, help="How many entries.")
@config_option
@json_option
def history(key: str, last: int, config_file: str | None, as_json: bool) -> None:
    """List what changed the credit of KEY, the newest first."""
    with _desk(config_file) as desk:
        found = desk.history(key, last=last)
    if as_json:
        print_json(found)
        return
    print_table(
        ("NUMBER", "AT", "KIND", "AMOUNT", "REQUESTS", "REFERENCE"),
        (
            (
                str(one.number),
                time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(one.at)),
                one.kind,
                one.amount,
                str(one.requests or "-"),
                one.reference or "-",
            )
            for one in found
        ),
    )


@command.command("audit", epilog=_EPILOG)
@config_option
@json_option
def audit(config_file: str | None, as_json: bool) -> int:
    """Add up entries, balances and what requests were charged again, and say whether they agree; 1: they do not."""
    with _desk(config_file) as desk:
        found = desk.audit()
    if as_json:
        print_json(found)
        return 0 if found.agrees else 1
    if found.keys:
        print_table(
            ("KEY", "GRANTED", "WITHDRAWN", "CHARGED", "BALANCE", "LEASED"),
            ((one.key, one.granted, one.withdrawn, one.charged, one.balance, one.leased) for one in found.keys),
        )
    for problem in found.problems:
        click.echo(f"Problem: {problem}.")
    verdict = "agree" if found.agrees else "do not agree"
    click.echo(f"{found.entries} entries and {found.requests} requests {verdict}. Uncollected: {found.uncollected}.")
    return 0 if found.agrees else 1


@contextmanager
def _desk(config_file: str | None) -> Iterator[CreditDesk]:
    try:
        yield CreditDesk(read_config(config_file))
    except (StoreError, RequestError) as error:
        raise click.ClickException(str(error)) from None


def _show(standing: Standing, as_json: bool) -> None:
    if as_json:
        print_json(standing)
        return
    click.echo(f"The key '{standing.key}' has {standing.balance} credits.")
    if standing.monthly is not None:
        click.echo(f"It may spend {standing.monthly} in a month, and has spent {standing.spent} in {standing.month}.")

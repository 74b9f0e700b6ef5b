"""Options that several commands have, and what is made of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click

from enginehouse_conformance import report as reports
from enginehouse_conformance.endpoints import ENDPOINTS
from enginehouse_conformance.results import Report
from enginehouse_conformance.rules import PROFILES
from enginehouse_conformance.selection import SelectionError, select
from enginehouse_conformance.wire.client import Header

_F = TypeVar("_F", bound=Callable[..., Any])  # click decorates anything callable


class CannotTell(click.ClickException):
    """What was asked for cannot be done; the message says why."""

    exit_code = 2


def url_argument(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """An address of HTTP without what this client would have to leave out."""
    del ctx
    problem = _problem_of(value)
    if problem:
        raise click.BadParameter(f"{value!r} {problem}", param=param)
    return value


def _problem_of(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        _ = parts.port
        name = (parts.hostname or "").encode("idna")
    except ValueError as exc:
        return f"is no URL: {exc}"
    if parts.scheme not in ("http", "https") or not name or any(char.isspace() for char in url):
        return "is no URL: write something like http://127.0.0.1:8000/v1"
    if parts.username is not None:
        return "holds credentials: give them with --key-env or --header"
    if parts.query or parts.fragment:
        return "holds a query or fragment: give the query with --query name=value"
    return None


def rules_option(help_text: str) -> Callable[[_F], _F]:
    """The option --rules, given as a set of ids or None."""
    return click.option("--rules", "rules", multiple=True, callback=_rules, metavar="NAMES", help=help_text)


def _rules(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> frozenset[str] | None:
    del ctx
    names = [name for group in value for name in group.split(",") if name.strip()]
    if not names:
        return None
    try:
        return select(names)
    except SelectionError as exc:
        raise click.BadParameter(str(exc), param=param) from exc


def endpoints_option(function: _F) -> _F:
    """The option --endpoint, given as a set of names or None."""
    return click.option(
        "--endpoint",
        "endpoints",
        multiple=True,
        type=click.Choice(["chat", *ENDPOINTS]),
        callback=_endpoints,
        help="Only this endpoint's rules, which must be there; may be given again. Unless given: what the URL serves.",
    )(function)


def _endpoints(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> frozenset[str] | None:
    del ctx, param
    return frozenset(value) or None


def profile_option(function: _F) -> _F:
    """The option --profile."""
    return click.option(
        "--profile", type=click.Choice(list(PROFILES)), default="openai", show_default=True, help="Dialect of the API."
    )(function)


def access_options(function: _F) -> _F:
    """The options that say how a request gets in: --key-env, --header."""
    key = click.option("--key-env", metavar="NAME", help="Environment variable that holds the API key.")
    header = click.option(
        "--header", "headers", multiple=True, callback=headers_of, metavar="'NAME: VALUE'", help="A header to send."
    )
    return key(header(function))


def headers_of(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[Header, ...]:
    """Pairs of name and value, as headers are written."""
    del ctx
    return tuple(_pair(text, ":", "'Name: value'", param) for text in value)


def query_option(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> dict[str, str]:
    """Pairs of name=value."""
    del ctx
    return dict(_pair(text, "=", "name=value", param) for text in value)


def _pair(text: str, separator: str, form: str, param: click.Parameter) -> tuple[str, str]:
    name, found, value = text.partition(separator)
    if not found or not name.strip() or "\n" in text or "\r" in text:
        raise click.BadParameter(f"{text!r} is not {form}", param=param)
    return name.strip(), value.strip()


def key_from(variable: str | None) -> str | None:
    """The key in the environment variable *variable*."""
    if variable is None:
        return None
    key = os.environ.get(variable)
    if not key:
        raise CannotTell(f"--key-env: the environment variable {variable} is not set or empty.")
    return key


def read_report(path: Path) -> Report:
    """The report at *path*; a folder stands for the report.json in it."""
    try:
        return reports.read_report(path / "report.json" if path.is_dir() else path)
    except reports.ReportError as exc:
        raise CannotTell(str(exc)) from exc


def columns(rows: Iterable[tuple[str, ...]]) -> str:
    """*rows* as text in columns, the last one as long as it is."""
    table = list(rows)
    widths = [max(len(row[at]) for row in table) for at in range(len(table[0]) - 1)] if table else []
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]) for row in table
    ]
    return "\n".join(lines)

"""`compare` and `fingerprint`: whether two endpoints serve the same model the same way."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click
import msgspec

from enginehouse_conformance.identity.asking import UrlAsker
from enginehouse_conformance.identity.bands import BAND_OF, Name
from enginehouse_conformance.identity.comparison import Comparison, compare_sides
from enginehouse_conformance.identity.page import comparison_page
from enginehouse_conformance.identity.prompts import LONGEST_TOKENS
from enginehouse_conformance.identity.taking import (
    CannotCompare,
    Fingerprint,
    encode_fingerprint,
    read_fingerprint,
    take_fingerprint,
)
from enginehouse_conformance.identity.words import comparison_text
from enginehouse_conformance.targets import UrlTarget
from enginehouse_conformance.wire.client import Header

from .options import CannotTell, access_options, headers_of, key_from, query_option, url_argument

_PATH = click.Path(path_type=Path)
_F = TypeVar("_F", bound=Callable[..., Any])  # click decorates anything callable
_PROBES = 24
_LEAST_TOKENS = 100


class Access(msgspec.Struct, frozen=True):
    """How a request gets in at one side."""

    model: str | None
    key: str | None
    headers: tuple[Header, ...]
    query: dict[str, str]


class Asked(msgspec.Struct, frozen=True):
    """Which prompts are asked, unless a fingerprint says that."""

    seed: int | None
    probes: int
    prompt_tokens: int | None


def _shared_options(function: _F) -> _F:
    options = (
        click.option("--model", help="Model id to ask for."),
        access_options,
        click.option("--query", multiple=True, callback=query_option, metavar="NAME=VALUE",
                     help="Query of every request."),
        click.option("--probes", type=click.IntRange(4, 1000), default=_PROBES, show_default=True,
                     help="Prompts to ask, each for one token."),
        click.option("--seed", type=click.IntRange(min=0), help="Seed of the prompts; a fresh one unless given."),
        click.option("--prompt-tokens", type=click.IntRange(_LEAST_TOKENS, LONGEST_TOKENS),
                     help="Prompts of about so many tokens, to compare long contexts; short ones unless given."),
        click.option("--timeout", "timeout_s", type=click.FloatRange(min=0.1), default=60.0, show_default=True,
                     help="Seconds to wait for an answer."),
    )  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


def _side(ctx: click.Context, param: click.Parameter, value: str) -> str | Path:
    """A URL, or the path of a fingerprint."""
    return url_argument(ctx, param, value) if "://" in value else Path(value)


@click.command()
@click.argument("a", callback=_side)
@click.argument("b", callback=_side)
@_shared_options
@click.option("--model-b", help="Model id to ask B for; else A's.")
@click.option("--key-env-b", metavar="NAME", help="Environment variable that holds B's API key.")
@click.option("--header-b", "headers_b", multiple=True, callback=headers_of, metavar="'NAME: VALUE'",
              help="A header to send to B.")  # fmt: skip
@click.option("--query-b", multiple=True, callback=query_option, metavar="NAME=VALUE", help="Query of B's requests.")
@click.option("--within", type=click.Choice(["arithmetic", "weights", "near", "any"]), default="any", show_default=True,
              help="Exit with 1 where they are farther apart than this band.")  # fmt: skip
@click.option("--html", "html_file", type=_PATH, help="File for a page with a plot.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_context
def compare(
    ctx: click.Context,
    a: str | Path,
    b: str | Path,
    model: str | None,
    key_env: str | None,
    headers: tuple[Header, ...],
    query: dict[str, str],
    probes: int,
    seed: int | None,
    prompt_tokens: int | None,
    timeout_s: float,
    model_b: str | None,
    key_env_b: str | None,
    headers_b: tuple[Header, ...],
    query_b: dict[str, str],
    within: Name | str,
    html_file: Path | None,
    as_json: bool,
) -> None:
    """Compare A and B, each the URL of an API (the part before /chat/completions) or a stored fingerprint.

    Both are asked for the same single tokens with their log probabilities; D is how far these are apart on average.
    What gets a request in at A goes to B too where both are of the same origin or A is a file, and never to another.

    Exit code 0: compared, and within the band asked for; 1: farther apart; 2: could not be compared.
    """
    access = Access(model, key_from(key_env), headers, query)
    own = Access(model_b or model, key_from(key_env_b), headers_b, query_b)
    is_alike = isinstance(a, Path) or isinstance(b, Path) or urlsplit(a)[:2] == urlsplit(b)[:2]
    access_b = _with(own, access) if is_alike else own
    try:
        asked = Asked(seed, probes, prompt_tokens)
        found = asyncio.run(_compared(a, b, access, access_b, asked, timeout_s=timeout_s))
    except CannotCompare as exc:
        raise CannotTell(str(exc)) from exc
    if html_file is not None:
        _write(html_file, comparison_page(found).encode("utf-8", "replace"), "--html")
    click.echo(msgspec.json.format(msgspec.json.encode(found), indent=1) if as_json else comparison_text(found))
    ctx.exit(0 if within == "any" or found.is_within(_band(within)) else 1)


def _band(name: str) -> Name:
    return BAND_OF[name].name  # type: ignore[index]  # click allows no other


def _with(own: Access, other: Access) -> Access:
    """*own*, and of *other* what it lacks."""
    return Access(
        own.model or other.model, own.key or other.key, own.headers or other.headers, own.query or other.query
    )


async def _compared(
    a: str | Path,
    b: str | Path,
    access_a: Access,
    access_b: Access,
    asked: Asked,
    *,
    timeout_s: float,
) -> Comparison:
    stored = [None if isinstance(side, str) else read_fingerprint(side) for side in (a, b)]
    of_file = next((each for each in stored if each is not None), None)
    if of_file is not None and asked.seed not in (None, of_file.seed):
        raise CannotTell(f"--seed: the fingerprint is of the seed {of_file.seed}, whose prompts are asked again.")
    if of_file is not None and asked.prompt_tokens is not None:
        raise CannotTell("--prompt-tokens: a fingerprint has prompts, which are asked again; take another one with it.")
    one, other = (
        each if each is not None else UrlAsker(_target(str(side), access, of_file, timeout_s))
        for each, side, access in zip(stored, (a, b), (access_a, access_b), strict=True)
    )
    return await compare_sides(
        one, other, seed=_drawn(asked.seed), probes=asked.probes, prompt_tokens=asked.prompt_tokens
    )


def _target(url: str, access: Access, stored: Fingerprint | None, timeout_s: float) -> UrlTarget:
    model = access.model or (stored.model if stored else None)
    if model is None:
        raise CannotTell("Missing option '--model': the id to ask for.")
    return UrlTarget(url, model=model, key=access.key, headers=access.headers, query=access.query, timeout_s=timeout_s)


def _drawn(seed: int | None) -> int:
    return secrets.randbelow(2**31) if seed is None else seed


@click.command()
@click.argument("url", callback=url_argument)
@_shared_options
@click.option("-o", "--output", type=_PATH, help="File to write, instead of standard output.")
def fingerprint(
    url: str,
    model: str | None,
    key_env: str | None,
    headers: tuple[Header, ...],
    query: dict[str, str],
    probes: int,
    seed: int | None,
    prompt_tokens: int | None,
    timeout_s: float,
    output: Path | None,
) -> None:
    """Write down what the API at URL answers to the prompts of a seed, to be compared later.

    The file holds its prompts: who serves a model and knows them can answer them as the fingerprint says.
    Exit code 0: written; 2: could not be taken.
    """
    access = Access(model, key_from(key_env), headers, query)
    target = _target(url, access, None, timeout_s)
    try:
        taking = take_fingerprint(UrlAsker(target), seed=_drawn(seed), probes=probes, prompt_tokens=prompt_tokens)
        found = asyncio.run(taking)
    except CannotCompare as exc:
        raise CannotTell(str(exc)) from exc
    data = encode_fingerprint(found)
    if output is None:
        click.echo(data, nl=False)
        return
    _write(output, data, "--output")
    less = "" if len(found.probes) == probes else f" in place of {probes}"
    click.echo(
        f"{output}: {len(found.probes)} probes{less} of the seed {found.seed}, {found.alternatives} alternatives"
    )


def _write(path: Path, data: bytes, option: str) -> None:
    try:
        path.write_bytes(data)
    except OSError as exc:
        raise CannotTell(f"{option}: {path}: {exc.strerror}") from exc

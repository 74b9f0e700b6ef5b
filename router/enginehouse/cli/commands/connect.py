"""`enginehouse connect`."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from enginehouse.cli.recipes import File, Recipe, Values, filled, recipes
from enginehouse.cli.shared.client import DEFAULT_URL, connect, url_option
from enginehouse.cli.shared.output import print_json, print_table
from enginehouse.cli.shared.setup import json_option

DEFAULT_VARIABLE = "ENGINEHOUSE_API_KEY"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}", re.ASCII)
_PLAIN = re.compile(r"[\w.:/@+\-]{1,200}", re.ASCII)
"""What stands unquoted in a shell, and as it is in JSON, TOML, YAML and the programs of recipes."""

_EPILOG = """\b
Examples:
  enginehouse connect
  enginehouse connect codex
  enginehouse connect claude --url http://box:8000 --model qwen3-30b --write
  enginehouse connect codex --key-variable TEAM_KEY

\b
A key is never printed or written: the configuration names the environment
variable that holds it. A file that is there is replaced only after you said
so, and is kept beside the new one with '.old' at its end.
"""


@click.command(epilog=_EPILOG)
@click.argument("client", required=False)
@url_option
@click.option("--model", "-m", metavar="ID", help="Model ID; without one, the server is asked, and its first is taken.")
@click.option(
    "--context", type=click.IntRange(1), metavar="TOKENS", help="The model's context, else what the server says."
)
@click.option(
    "--key-variable",
    metavar="NAME",
    help=f"The environment variable with the API key; {DEFAULT_VARIABLE} if that is set, else no key is sent.",
)
@click.option("--write", is_flag=True, help="Write the files instead of printing them.")
@json_option
def command(
    client: str | None,
    url: str | None,
    model: str | None,
    context: int | None,
    key_variable: str | None,
    write: bool,
    as_json: bool,
) -> None:
    """Print or write the configuration with which CLIENT uses this server; without CLIENT, list the clients."""
    known = recipes()
    if client is None:
        if write:
            raise click.UsageError("--write needs a CLIENT.")
        _list(known, as_json=as_json)
        return
    if client not in known:
        raise click.UsageError(f"No client '{client}' is known. There are: {', '.join(known)}.")
    recipe = filled(known[client], _values(url, model, context, key_variable))
    written = [_write(file) for file in recipe.files] if write else []
    if write and not recipe.files:
        raise click.UsageError(f"{recipe.title} has no file to write: leave --write out to see what is to be done.")
    if as_json:
        print_json(_as_json(recipe))
    elif write:
        click.echo("\n".join(written))
        _show_run(recipe)
    else:
        _show(recipe)


def _values(url: str | None, model: str | None, context: int | None, variable: str | None) -> Values:
    base = (url or DEFAULT_URL).rstrip("/").removesuffix("/v1")
    if variable is None and os.environ.get(DEFAULT_VARIABLE):
        variable = DEFAULT_VARIABLE
    if variable is not None and not _VARIABLE.fullmatch(variable):
        raise click.UsageError(f"--key-variable: '{variable}' is no name of an environment variable.")
    if model is None:
        key = os.environ.get(variable, "") if variable else None
        with connect(base, key or None) as server:
            models = server.models()
        if not models:
            raise click.UsageError(f"{base} has no models: name one with --model.")
        model = str(models[0].get("id"))
        told = models[0].get("context_length")
        context = context or (told if isinstance(told, int) and told > 0 else None)
    for option, value in (("--url", base), ("--model", model)):
        if not _PLAIN.fullmatch(value):
            raise click.UsageError(
                f"{option}: '{value}' has characters that a client's file would need quoted; "
                "letters, digits and . : / @ + - _ are possible."
            )
    if not base.startswith(("http://", "https://")):
        raise click.UsageError(f"--url: '{base}' is no URL; write http://HOST:PORT.")
    return Values(url=base, model=model, context=context, variable=variable)


def _list(known: dict[str, Recipe], *, as_json: bool) -> None:
    if as_json:
        print_json([_about(recipe) for recipe in known.values()])
        return
    rows = [(one.name, one.title, one.package, one.endpoint, one.about) for one in known.values()]
    print_table(("client", "name", "package", "endpoint", "what it is"), rows)


def _about(recipe: Recipe) -> dict[str, Any]:
    return {
        "client": recipe.name,
        "title": recipe.title,
        "package": recipe.package,
        "endpoint": recipe.endpoint,
        "about": recipe.about,
    }


def _as_json(recipe: Recipe) -> dict[str, Any]:
    files = [{"path": str(_place(file)), "text": file.text} for file in recipe.files]
    return {**_about(recipe), "files": files, "setup": recipe.setup, "steps": recipe.steps, "run": recipe.run}


def _show(recipe: Recipe) -> None:
    for file in recipe.files:
        click.secho(f"{file.path}:", bold=True)
        click.echo(f"\n{file.text}")
    for at, step in enumerate(recipe.steps, 1):
        click.echo(f"{at}. {step}")
    _show_run(recipe)


def _show_run(recipe: Recipe) -> None:
    if recipe.setup:
        click.echo(f"Once: {recipe.setup}")
    if recipe.run:
        click.echo(f"Run: {recipe.run}")


def _place(file: File) -> Path:
    return Path(file.path).expanduser().absolute()


def _write(file: File) -> str:
    """Write *file* where it belongs; says what was done.

    Raises:
        click.ClickException: the owner does not want it, or cannot be asked.
    """
    place = _place(file).resolve()  # a link stays one, to the new text
    try:
        before = place.read_text(encoding="utf-8")
    except FileNotFoundError:
        before = None
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{place} is there and cannot be read: {error}.") from None
    if before == file.text:
        return f"{place} is like that already"
    kept = ""
    if before is not None:
        if not sys.stdin.isatty():
            raise click.ClickException(
                f"{place} is there, and nobody can be asked: run this on a terminal, or without --write and merge it."
            )
        if not click.confirm(f"{place} is there. Replace it, and keep it as {_free(place).name}?"):
            raise click.ClickException(f"{place} stays as it was.")
        kept = f"; the one before is {_free(place)}"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        if before is not None:
            shutil.copy2(place, _free(place))
        _replace(place, file.text)
    except OSError as error:
        raise click.ClickException(f"{place} cannot be written: {error}.") from None
    return f"wrote {place}{kept}"


def _free(place: Path) -> Path:
    """A name beside *place* for what was there before, that nothing has yet."""
    names = (place.with_name(f"{place.name}.old{number or ''}") for number in itertools.count())
    return next(name for name in names if not name.exists())


def _replace(place: Path, text: str) -> None:
    """Write whole or not at all."""
    number, name = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.")
    try:
        with open(number, "w", encoding="utf-8") as out:
            out.write(text)
        if place.exists():
            os.chmod(name, place.stat().st_mode & 0o777)
        Path(name).replace(place)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise

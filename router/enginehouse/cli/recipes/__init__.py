"""How clients are told of this server, a TOML file each: what `connect` prints, and what docs/clients.md shows."""

from __future__ import annotations

import tomllib
from importlib import resources

import msgspec


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of the client's: where it looks for it (`~` is the user's folder, else the project's), and its text."""

    path: str
    text: str


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A client's configuration.

    Texts have `@URL@` (without `/v1`), `@MODEL@`, `@CONTEXT@` (tokens), `@VARIABLE@` (the environment variable that
    holds the API key) and `@KEY@`. A line whose value nobody knows is left out. `@KEY@` is *with_key* where there is
    one, else *without_key*: how this client's text names a key.
    """

    name: str
    title: str
    about: str
    package: str
    endpoint: str
    files: tuple[File, ...] = ()
    setup: str = ""
    """A command that is run once, where the client keeps its settings itself."""
    steps: tuple[str, ...] = ()
    """What is done by hand, where the client has neither."""
    run: str = ""
    """The command that starts it with this configuration."""
    with_key: str = '"$@VARIABLE@"'
    without_key: str = "none"
    note: str = ""
    """What the page says of this client beyond that."""


class Values(msgspec.Struct, frozen=True, kw_only=True):
    """What a recipe is filled with. *variable* None: no key is sent; *context* None: nobody knows it."""

    url: str
    model: str
    context: int | None = None
    variable: str | None = None


def recipes() -> dict[str, Recipe]:
    """Each client's recipe by its name."""
    found = sorted(file.name for file in resources.files(__name__).iterdir() if file.name.endswith(".toml"))
    return {name[:-5]: _read(name) for name in found}


def filled(recipe: Recipe, values: Values) -> Recipe:
    """*recipe* with *values* in its texts."""
    key = recipe.without_key if values.variable is None else recipe.with_key
    by_place = {
        "@KEY@": key,  # first: it may name the variable
        "@URL@": values.url,
        "@MODEL@": values.model,
        "@CONTEXT@": None if values.context is None else str(values.context),
        "@VARIABLE@": values.variable,
    }
    return msgspec.structs.replace(
        recipe,
        files=tuple(File(_filled(file.path, by_place), _filled(file.text, by_place)) for file in recipe.files),
        steps=tuple(_filled(step, by_place) for step in recipe.steps),
        setup=_filled(recipe.setup, by_place),
        run=_filled(recipe.run, by_place),
    )


def _filled(text: str, by_place: dict[str, str | None]) -> str:
    lines = text.strip("\n").split("\n")
    for place, value in by_place.items():
        lines = [line.replace(place, value or "") for line in lines if value is not None or place not in line]
    return "\n".join(lines).strip("\n") + ("\n" if text.endswith("\n") else "")


def _read(name: str) -> Recipe:
    tables = tomllib.loads(resources.files(__name__).joinpath(name).read_text(encoding="utf-8"))
    return msgspec.convert({"name": name[:-5], **tables}, Recipe)

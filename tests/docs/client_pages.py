"""Writes docs/clients.md: of the recipes that `enginehouse connect` prints, and of what is shown of each client.

`python -m tests.docs.client_pages` writes it; a test holds that it is as it would.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.integration.clients.shown import ABILITIES, SHAPES, SHOWN, versions

from enginehouse.cli.recipes import Recipe, Values, filled, recipes

PAGE = Path(__file__).parents[2] / "docs" / "clients.md"
VALUES = Values(url="http://127.0.0.1:8000", model="assistant", context=65536)
_NOTE = "<!-- Written by `python -m tests.docs.client_pages` of the recipes and of what is shown: change those. -->"
_LANGUAGES = {"py": "python", "mjs": "js", "yml": "yaml", "toml": "text", "env": "text"}
"""Of fences by a file's end; a `toml` fence is this server's own configuration."""
_INTRO = """
Programs and libraries that talk to this server as they are, and what tells them where it is. `enginehouse connect
CLIENT` prints that for a server of yours, and `--write` writes it; a file that is there already is replaced only after
you said so, and kept.

```sh
enginehouse connect
enginehouse connect codex --url http://box:8000 --model assistant
ENGINEHOUSE_API_KEY=… enginehouse connect claude --model assistant --write
```

Without `--model` the server is asked. A key is never written: where `ENGINEHOUSE_API_KEY` is set (or `--key-variable`
names another variable) the configuration names that variable; what is shown here is for a server without keys, and a
model `assistant` of 65,536 tokens.
"""
_SHOWN = """
The tests start each client as its registry has it, in this version, with the configuration below, against the router as
it is. An agent's task is to create, read and edit a file. A scripted engine stands where a small model would not choose
to call a tool. What is not installed is skipped, and says so: `make clients` installs what every run tests,
`make clients-all` the others, and tests them all. *shape*: the client is not started, what it sends is tested. `-`: the
client does not have it, or it is not tested.
"""


def main() -> int:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    return 0


def page() -> str:
    """The page's text."""
    return re.sub(r"\n{3,}", "\n\n", "\n".join(_lines())).strip("\n") + "\n"


def _lines() -> Iterator[str]:
    yield from ("# Clients", "", _NOTE, _INTRO, "## What is shown", _SHOWN)
    yield f"| client | package | version | endpoint | {' | '.join(ABILITIES)} |"
    yield "|---" * (4 + len(ABILITIES)) + "|"
    known, pinned = recipes(), versions()
    for name, recipe in known.items():
        cells = (f"[{recipe.title}](#{anchor(recipe.title)})", recipe.package, pinned.get(recipe.package, "-"))
        shape = SHAPES.get(name, frozenset())
        marks = ("yes" if each in SHOWN.get(name, ()) else "shape" if each in shape else "-" for each in ABILITIES)
        yield f"| {' | '.join((*cells, recipe.endpoint, *marks))} |"
    for recipe in known.values():
        yield from _section(recipe)


def _section(recipe: Recipe) -> Iterator[str]:
    shown = filled(recipe, VALUES)
    about = f"{recipe.about[0].upper()}{recipe.about[1:]}. `enginehouse connect {recipe.name}`:"
    yield from ("", f"## {recipe.title}", "", about)
    for file in shown.files:
        end = file.path.rpartition(".")[2]
        yield from ("", f"`{file.path}`", "", f"```{_LANGUAGES.get(end, end)}", file.text.strip("\n"), "```")
    if shown.setup:
        yield from ("", "Once:", "", "```text", shown.setup, "```", "", "Then:")
    if shown.steps:
        yield from ("", *(f"{at}. {step}" for at, step in enumerate(shown.steps, 1)))
    if shown.run:
        yield from ("", "```text", shown.run, "```")
    if shown.note:
        yield from ("", shown.note.strip())


def anchor(title: str) -> str:
    """What a heading is called in a link."""
    return re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")


if __name__ == "__main__":
    sys.exit(main())

"""docs/clients.md shows what `connect` prints."""

from __future__ import annotations

from tests.integration.clients.shown import ABILITIES, SHOWN, versions

from enginehouse.cli.recipes import recipes

from . import client_pages


def test_the_page_is_that_of_the_recipes() -> None:
    assert client_pages.PAGE.read_text(encoding="utf-8") == client_pages.page(), (
        "run: python -m tests.docs.client_pages"
    )


def test_what_is_shown_is_shown_of_a_recipe_with_a_pinned_version() -> None:
    known, pinned = recipes(), versions()
    assert {name: known[name].package for name in SHOWN if known[name].package not in pinned} == {}
    assert set().union(*SHOWN.values()) <= set(ABILITIES)

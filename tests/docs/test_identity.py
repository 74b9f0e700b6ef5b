"""docs/identity.md has what the router's command takes."""

from __future__ import annotations

import re

from enginehouse.cli.commands.compare import command

from .fenced import ROOT

PAGE = (ROOT / "docs/identity.md").read_text()


def test_the_page_names_every_option_of_the_command() -> None:
    (section,) = re.findall(r"^## By the router\n(.*?)(?=^## )", PAGE, re.MULTILINE | re.DOTALL)
    options = {name for option in command.params for name in option.opts if name.startswith("--")}
    assert set(re.findall(r"`(--[a-z-]+)`", section)) == options - {"--help"}

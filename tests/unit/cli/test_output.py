"""What others wrote, on a terminal."""

from __future__ import annotations

import pytest

from enginehouse.cli.shared.output import plain, print_table

SEEN = "smol\u00e9 \U0001f600\n\tx"


def test_what_can_be_seen_stays_as_it_is() -> None:
    assert plain(SEEN) == SEEN


@pytest.mark.parametrize("unseen", ["\x1b[2J", "\x9b31m", "\u202e", "\u2066", "\x07", "\r", "\x7f"])
def test_nothing_moves_the_cursor_or_turns_the_text_around(unseen: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert plain(f"a{unseen}b").isprintable()
    print_table(("MODEL",), [(f"a{unseen}b",)])
    assert unseen not in capsys.readouterr().out

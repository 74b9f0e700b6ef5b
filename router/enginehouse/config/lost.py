"""What a file that is read again must not lose by accident."""

from __future__ import annotations

from typing import Final

from .errors import ConfigError
from .schema import Config

_EMPTY: Final = {"models": "`[models]` with nothing below it", "keys": "`keys = []` above all sections"}
"""Sections whose absence means something else than nothing, and how a file says that it has none."""


def refuse_lost(before: Config, after: Config) -> None:
    """Refuse *after* where the file had a section in *before* that cannot go without a word: its models, or its keys.

    A file that is cut, by a disk that is full or an editor that still writes, reads as a file that never had them: it
    would serve the embedded model in place of all others, or everybody.

    Raises:
        ConfigError: it has lost one.
    """
    for name, empty in _EMPTY.items():
        if name in before.named and name not in after.named:
            raise ConfigError(
                f"the file in force has {name}, and this one says nothing of them.",
                file=after.file,
                where=name,
                fix=f"If there shall be none, write {empty}.",
            )

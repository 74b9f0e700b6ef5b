"""What is wrong with a configuration, where, and how to mend it."""

from __future__ import annotations


class ConfigError(Exception):
    """A configuration that cannot be used.

    `file` is the path as the user gave it (None: no file), `where` a key such as
    `models."x".placements[0].source` or a line, `fix` what to write instead.
    """

    def __init__(self, problem: str, *, file: str | None = None, where: str = "", fix: str = "") -> None:
        place = ": ".join(part for part in (file, where) if part)
        super().__init__(" ".join(part for part in (f"{place}:" if place else "", problem, fix) if part))
        self.problem = problem
        self.file = file
        self.where = where
        self.fix = fix

"""Which rules are meant by the names that people write: ids, sections, patterns."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec

from .rules import RULES, SECTIONS


class SelectionError(Exception):
    """Names that mean no rule; the message says which, and what there is."""


def select(names: Iterable[str]) -> frozenset[str]:
    """The ids of the rules that *names* mean: an id, a section, or a pattern like `STOP*`; case does not matter.

    Raises:
        SelectionError: a name means no rule.
    """
    found: set[str] = set()
    for name in names:
        wanted = name.strip().upper()
        rules = {rule.id for rule in RULES.values() if rule.section == wanted or fnmatchcase(rule.id, wanted)}
        if not rules:
            raise SelectionError(f"no rule is meant by '{name}'.{_suggestion(wanted)}")
        found |= rules
    return frozenset(found)


def _suggestion(wanted: str) -> str:
    close = get_close_matches(wanted, [*RULES, *SECTIONS], n=3)
    if close:
        return f" Did you mean {', '.join(close)}?"
    return f" Sections are {', '.join(SECTIONS)}; a rule is written like STOP1, a pattern like STOP*."


def read_skips(path: Path) -> dict[str, str]:
    """Rules to leave out and why, from a TOML file of lines like `SSE19 = "the proxy in front buffers"`.

    Raises:
        SelectionError: there is no such file, or it says what cannot be.
    """
    try:
        reasons = msgspec.toml.decode(path.read_bytes(), type=dict[str, str])
    except OSError as exc:
        raise SelectionError(f"{path}: {exc.strerror}") from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise SelectionError(f'{path}: {exc}. Write one RULE = "reason" a line.') from exc
    return skips(reasons, str(path))


def skips(reasons: dict[str, str], where: str) -> dict[str, str]:
    """*reasons* by rule id, names checked.

    Raises:
        SelectionError: a name means no rule, or a reason is empty; the message begins with *where*.
    """
    found: dict[str, str] = {}
    for name, reason in reasons.items():
        if not reason.strip():
            raise SelectionError(f"{where}: {name} needs a reason")
        try:
            found |= dict.fromkeys(select([name]), reason)
        except SelectionError as exc:
            raise SelectionError(f"{where}: {exc}") from exc
    return found

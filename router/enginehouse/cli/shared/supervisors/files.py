"""Files that are ours: their first comment has a digest of the rest, so that what others wrote or changed is kept."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import Literal

Written = Literal["absent", "ours", "changed", "foreign"]
"""Whether a file is not there, is as we wrote it, was ours and has been changed since, or is of somebody else."""

_MARK = "Written by 'enginehouse service install', sha256 "
_MARKED = re.compile(re.escape(_MARK) + r"([0-9a-f]{64})")
_MODE = 0o644


def marked(comment: str, text: str) -> str:
    """*text* with the mark in place of `{mark}` in *comment*, which stands in place of `{comment}` in *text*."""
    return text.replace("{comment}", comment.replace("{mark}", f"{_MARK}{_digest(text)}"), 1)


def written(path: Path) -> Written:
    """Who wrote the file at *path*.

    Raises:
        OSError: it cannot be read.
    """
    try:
        text = path.read_text(errors="replace")
    except FileNotFoundError:
        return "absent"
    found = _MARKED.search(text)
    if found is None:
        return "foreign"
    line_begins = text.rfind("\n", 0, found.start()) + 1
    line_ends = text.find("\n", found.end())
    rest = text[:line_begins] + "{comment}" + text[line_ends:]
    return "ours" if _digest(rest) == found[1] else "changed"


def write(path: Path, text: str) -> None:
    """Put *text* at *path* in one step; folders above are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(descriptor, "w") as file:
            file.write(text)
        os.chmod(name, _MODE)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def remove(path: Path, *, up_to: Path) -> None:
    """Remove the file at *path*, and the folders above it that are empty then, below *up_to*."""
    path.unlink(missing_ok=True)
    for folder in path.parents:
        if folder == up_to or up_to not in folder.parents:
            return
        try:
            folder.rmdir()
        except OSError:  # something else is in it
            return


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

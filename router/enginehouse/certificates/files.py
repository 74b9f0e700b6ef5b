"""Files for the owner's eyes only, there whole or not at all, and where they lie."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path


def data_folder() -> Path:
    """`$ENGINEHOUSE_DATA`, or the platform's folder for data of this program. Not created here."""
    if own := os.environ.get("ENGINEHOUSE_DATA"):
        return Path(own).expanduser().absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "enginehouse"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "enginehouse" / "Data"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "enginehouse"


def write_whole(file: Path, content: bytes) -> None:
    """Write *content* to *file* with mode 0600, in one step; missing folders are made with mode 0700.

    Raises:
        OSError: it does not work; what was at *file* before is still there.
    """
    make_private(file.parent)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=".unfinished-")
    try:
        with os.fdopen(handle, "wb") as work:
            work.write(content)
            work.flush()
            os.fsync(work.fileno())
        os.replace(name, file)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def make_private(folder: Path) -> None:
    """Make *folder*, and what is missing above it, with mode 0700; what is there stays as it is."""
    if not folder.is_dir():
        if folder.parent != folder:
            make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)

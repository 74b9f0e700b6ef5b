"""The seed of this installation's probes, which nobody who is probed should know."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from pathlib import Path
from typing import Final

from .certificate import CertificatesUnusable
from .files import data_folder, make_private

NAME: Final = "fingerprint-seed"
_BITS: Final = 62  # what any reader of JSON takes as a whole number


def secret_seed(folder: Path | None = None) -> int:
    """The seed in *folder* (None: that for data of this user), made the first time, in a file with mode 0600. Blocks.

    Raises:
        CertificatesUnusable: it cannot be read or made.
    """
    file = (folder or data_folder()) / NAME
    try:
        with contextlib.suppress(FileNotFoundError):
            return int(file.read_text("ascii"))
        make_private(file.parent)
        handle, name = tempfile.mkstemp(dir=file.parent, prefix=".unfinished-")  # with mode 0600
        try:
            with os.fdopen(handle, "w", encoding="ascii") as work:
                work.write(f"{secrets.randbits(_BITS)}\n")
            with contextlib.suppress(FileExistsError):  # another process was first, and its seed counts
                os.link(name, file)
        finally:
            os.unlink(name)
        return int(file.read_text("ascii"))
    except (OSError, ValueError) as error:
        raise CertificatesUnusable(f"The seed of fingerprints in {file} cannot be read or made: {error}.") from error

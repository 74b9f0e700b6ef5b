"""One finding of `enginehouse doctor`."""

from __future__ import annotations

import sys
from typing import Literal

import msgspec

Verdict = Literal["ok", "note", "missing"]

PIP = f"{sys.executable} -m pip"
"""The command that installs into this environment."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at. `missing` only where the configuration needs it; `fix` is what to do."""

    area: str
    name: str
    verdict: Verdict
    detail: str
    fix: str | None = None

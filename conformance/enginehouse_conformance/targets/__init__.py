"""Targets: a URL, or a backend under the plugin contract without HTTP."""

from __future__ import annotations

from .backend import BackendTarget
from .base import (
    Body,
    Busy,
    LiveStream,
    Misdirected,
    NoRoom,
    Recording,
    Refused,
    ServerFailure,
    Target,
    TargetFacts,
    TargetHooks,
)
from .replies import Reply, StreamTrace
from .url import UrlTarget

__all__ = [
    "BackendTarget",
    "Body",
    "Busy",
    "LiveStream",
    "Misdirected",
    "NoRoom",
    "Recording",
    "Refused",
    "Reply",
    "ServerFailure",
    "StreamTrace",
    "Target",
    "TargetFacts",
    "TargetHooks",
    "UrlTarget",
]

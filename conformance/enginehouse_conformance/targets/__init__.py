"""Targets: a URL, or a backend under the plugin contract without HTTP."""

from __future__ import annotations

from .backend import BackendTarget
from .base import (
    Body,
    Busy,
    LiveStream,
    Misdirected,
    Recording,
    Refused,
    ServerFailure,
    Target,
    TargetFacts,
    TargetHooks,
)
from .url import Reply, StreamTrace, UrlTarget

__all__ = [
    "BackendTarget",
    "Body",
    "Busy",
    "LiveStream",
    "Misdirected",
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

"""Lines of an engine's log: captured whole, cut where overlong, with a guess at their level."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Literal

import msgspec

LogLevel = Literal["debug", "info", "warning", "error"]

MAX_LINE_CHARS = 4000


class LogLine(msgspec.Struct, frozen=True):
    """A line that the engine wrote; the level is guessed from common forms."""

    level: LogLevel
    text: str


_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_LEVEL = re.compile(
    # "ERROR 11-21 …", "[warn] …", "level=info", "2026-11-21 … | DEBUG | …"
    r"(?:^|[\s\[(|=:\"])"
    r"(?:(?P<error>ERROR|CRITICAL|FATAL|error|fatal|critical|Error)|(?P<warning>WARNING|WARN|warning|warn|Warning)"
    r"|(?P<debug>DEBUG|TRACE|debug|trace)|(?P<info>INFO|info|NOTICE))"
    r"(?=$|[\s\]):|,;\"])"
    # glog's "E1121 10:…", llama.cpp's "0.00.123 W …"
    r"|^(?:[\d.:]+\s)?(?P<letter>[EFWID])(?=\s|\d{4}\s)"
)
_NAMED: tuple[LogLevel, ...] = ("error", "warning", "debug")
_LETTERS: dict[str, LogLevel] = {"E": "error", "F": "error", "W": "warning", "I": "info", "D": "debug"}


def level_of(line: str) -> LogLevel:
    """Guess the level of a log line; `info` where nothing tells."""
    found = _LEVEL.search(line[:120])
    if found is None:
        return "error" if line.startswith(("Traceback (most recent", "terminate called")) else "info"
    if found["letter"]:
        return _LETTERS[found["letter"]]
    for level in _NAMED:
        if found[level]:
            return level
    return "info"


class LogPipe(asyncio.Protocol):
    """Splits what the engine writes into lines. It never pauses: an engine must not block on its log."""

    def __init__(self, on_line: Callable[[str], None], closed: asyncio.Future[None]) -> None:
        self._on_line = on_line
        self._closed = closed
        self._rest = b""
        self._is_cut = False

    def data_received(self, data: bytes) -> None:
        """Take output in and pass its whole lines on."""
        lines = (self._rest + data).replace(b"\r", b"\n").split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            self._emit(line)
        if len(self._rest) > MAX_LINE_CHARS:  # cut now: the rest of the line is dropped as it comes
            if not self._is_cut:
                self._on_line(_readable(self._rest))
                self._is_cut = True
            self._rest = b""

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio calls it so
        """Pass the last, unended line on."""
        if self._rest:
            self._emit(self._rest)
        if not self._closed.done():
            self._closed.set_result(None)

    def _emit(self, line: bytes) -> None:
        if self._is_cut:
            self._is_cut = False
        elif line.strip():
            self._on_line(_readable(line))


def _readable(line: bytes) -> str:
    text = _ANSI.sub("", line.decode("utf-8", "replace")).rstrip()
    return text if len(text) <= MAX_LINE_CHARS else text[:MAX_LINE_CHARS] + "…"

"""Server-sent events: bytes in, data payloads out.

Source: HTML Living Standard, "Server-sent events", 9.2.6 Interpreting an event stream.
"""

from __future__ import annotations

from typing import Final

from enginehouse_plugin.errors import EngineProtocolError

_BOM = b"\xef\xbb\xbf"
_LF: Final = 0x0A
_CR: Final = 0x0D
"""As numbers: Python looks for bytes thirty times slower, as it makes an error of them first."""


class SSEParser:
    """Takes a stream split anywhere and returns whole events' data; comments and other fields are ignored.

    An event longer than *max_event_bytes* raises `EngineProtocolError`.
    """

    __slots__ = ("_is_after_cr", "_is_started", "_max_event_bytes", "_rest")

    def __init__(self, max_event_bytes: int = 16 * 1024 * 1024) -> None:
        self._rest = b""
        self._is_started = False
        self._is_after_cr = False
        self._max_event_bytes = max_event_bytes

    @property
    def closed_cleanly(self) -> bool:
        """No event is unfinished: ask when the stream has ended."""
        return not self._rest.strip(b"\n")

    def feed(self, data: bytes) -> list[bytes]:
        """Return the data of each event that *data* completes."""
        if (
            self._is_started
            and not self._rest
            and not self._is_after_cr
            and data[:6] == b"data: "
            and data[-2:] == b"\n\n"
        ):  # most reads bring one event
            only = data[6:-2]
            if _LF not in only and _CR not in only:
                return [only]
        if not self._is_started:
            data = self._rest + data
            self._rest = b""
            if len(data) < len(_BOM) and _BOM.startswith(data):
                self._rest = data
                return []
            self._is_started = True
            data = data.removeprefix(_BOM)
        if _CR in data or self._is_after_cr:
            data = self._with_plain_newlines(data)
        blocks = (self._rest + data if self._rest else data).split(b"\n\n")
        self._rest = blocks.pop()
        if len(self._rest) > self._max_event_bytes:
            raise EngineProtocolError(f"An event of the engine's stream is longer than {self._max_event_bytes} bytes.")
        payloads = []
        for block in blocks:
            if block[:6] == b"data: " and _LF not in block:
                payloads.append(block[6:])
            else:
                payload = _data_of(block)
                if payload is not None:
                    payloads.append(payload)
        return payloads

    def _with_plain_newlines(self, data: bytes) -> bytes:
        # A carriage return ends its line at once; the line feed that may follow, even in the next read, is its part.
        if self._is_after_cr and data:
            data = data.removeprefix(b"\n")
            self._is_after_cr = False
        if data:
            self._is_after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _data_of(block: bytes) -> bytes | None:
    lines = []
    for line in block.split(b"\n"):
        name, _, value = line.partition(b":")
        if name == b"data":
            lines.append(value.removeprefix(b" "))
    return b"\n".join(lines) if lines else None

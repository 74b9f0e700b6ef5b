"""Logs: structlog's and the standard library's in one form, and the line of a request."""

from __future__ import annotations

import atexit
import logging
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from enginehouse_plugin import RequestFacts

from .lines import Lines

MAX_LINE_BYTES: Final = 16 * 1024
_MAX_TEXT: Final = 200
_MAX_CUT_TEXT: Final = 2000
"""Of a line that is too long: both ends of a traceback are worth keeping."""
_MAX_ITEMS: Final = 20
_MAX_DEPTH: Final = 4
_PER_S: Final = 10_000
"""Times of requests are told in tenths of a millisecond."""
_CLOSE_S: Final = 1.0
"""At the end of the process the last lines have this long to be written."""

_encode = msgspec.json.Encoder(enc_hook=str).encode
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_lines: Lines | None = None
_json_lines: Lines | None = None
"""Where lines go that are JSON; None where they are for people."""
_json_level = logging.INFO


def get_logger() -> Any:  # structlog types its lazy proxy as Any
    """The logger of a module: `log.info("instance ready", model=…)`, a constant event and keys."""
    return structlog.get_logger()


log = get_logger()


class _RequestLine(msgspec.Struct, gc=False):
    """The line of a request, in the order in which it is written."""

    id: str
    endpoint: str
    model: str
    instance: str | None
    key: str | None
    status: int
    stream: bool
    cancelled: bool
    queue_s: float
    ttft_s: float | None
    duration_s: float
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    finish: str
    error: str | None
    ignored: str
    recorded: Any | msgspec.UnsetType
    event: str
    level: str
    timestamp: datetime


def log_request(facts: RequestFacts, recorded: Mapping[str, Any] | None) -> None:
    """Write the line of a request that has ended; *recorded* are fields of it that changed nothing."""
    ttft_s = facts.ttft_s
    is_fault = facts.status >= 500
    line = _RequestLine(
        facts.request_id,
        facts.endpoint,
        facts.model[:_MAX_TEXT],
        facts.instance_id,
        facts.key,
        facts.status,
        facts.is_stream,
        facts.is_cancelled,
        int(facts.queue_s * _PER_S + 0.5) / _PER_S,  # `round` takes as long as all the rest of the line
        None if ttft_s is None else int(ttft_s * _PER_S + 0.5) / _PER_S,
        int(facts.duration_s * _PER_S + 0.5) / _PER_S,
        facts.prompt_tokens,
        facts.cached_tokens,
        facts.completion_tokens,
        facts.reasoning_tokens,
        ",".join(facts.finish_reasons),
        facts.error_code,
        ",".join(facts.ignored),
        bounded(recorded) if recorded else msgspec.UNSET,
        "request",
        "warning" if is_fault else "info",
        datetime.now(UTC),
    )
    if _json_lines is not None:  # past structlog, whose way costs more than all the rest of this
        if is_fault or _json_level <= logging.INFO:
            _json_lines.add(_json_of(line))
        return
    fields = {name: getattr(line, name) for name in line.__struct_fields__[:-3]}
    if line.recorded is msgspec.UNSET:
        del fields["recorded"]
    (log.warning if is_fault else log.info)("request", **fields)


def configure_logging(
    format: Literal["auto", "json", "console"] = "auto",  # noqa: A002  # the key in the configuration
    level: Literal["debug", "info", "warning", "error"] = "info",
    stream: TextIO | None = None,
) -> None:
    """Send the logs of structlog and of the standard library to *stream* (standard error) in one form.

    `auto` is for people on a terminal and JSON lines elsewhere. Writing a line neither blocks nor fails, whatever
    becomes of *stream*: what it does not take is counted as `lost_lines`.
    """
    global _lines, _json_lines, _json_level
    flush_logs()
    out: TextIO = stream if stream is not None else sys.stderr
    lines = _lines = Lines(out, _tell_lost)
    is_terminal = out.isatty()
    is_console = format == "console" or (format == "auto" and is_terminal)
    _json_lines, _json_level = None if is_console else lines, _LEVELS[level]
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    render: Processor = structlog.dev.ConsoleRenderer(colors=is_terminal) if is_console else _render_json
    if is_console:
        structlog.configure(
            processors=[structlog.processors.add_log_level, stamp, _readable, render],
            wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
            logger_factory=lambda *_: _ConsoleLines(lines),
            cache_logger_on_first_use=True,
        )
    else:
        structlog.configure(
            wrapper_class=type("JsonLogger", (_JsonLogger,), {"level": _LEVELS[level]}),
            logger_factory=lambda *_: lines,
            cache_logger_on_first_use=True,
        )
    handler = _Handler(lines)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.processors.add_log_level, structlog.stdlib.add_logger_name, stamp],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *([_readable] if is_console else [structlog.processors.format_exc_info]),
                render,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_LEVELS[level])
    # Their own handlers would write each line a second time, and uvicorn's access line repeats ours.
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "litestar"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = name != "uvicorn.access"
    # Their info lines tell of single requests to other servers, or repeat our own.
    for name in ("uvicorn.error", "httpx", "httpcore", "huggingface_hub", "filelock"):
        logging.getLogger(name).setLevel(max(_LEVELS[level], logging.WARNING))


@atexit.register
def flush_logs() -> None:
    """Give lines that wait a moment to be written."""
    if _lines is not None:
        _lines.flush(_CLOSE_S)


def lost_lines() -> int:
    """How many lines the log did not take."""
    return 0 if _lines is None else _lines.lost


def _tell_lost(lines: int) -> None:
    log.error("log lines lost", lines=lines)


class _JsonLogger(structlog.BoundLoggerBase):
    """Makes an entry one line of JSON in one step: a chain of processors would be a tenth of a request's cost."""

    level = logging.INFO

    def debug(self, event: str, **fields: Any) -> None:
        if self.level <= logging.DEBUG:
            self._write("debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        if self.level <= logging.INFO:
            self._write("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        if self.level <= logging.WARNING:
            self._write("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self._write("error", event, fields)

    def exception(self, event: str, **fields: Any) -> None:
        self._write("error", event, {"exc_info": True} | fields)

    def _write(self, level: str, event: str, fields: dict[str, Any]) -> None:
        if self._context:
            fields = {**self._context, **fields}
        fields["event"] = event
        fields["level"] = level
        fields["timestamp"] = datetime.now(UTC)
        if "exc_info" in fields:
            structlog.processors.format_exc_info(self._logger, level, fields)
        self._logger.add(_json(fields))


class _ConsoleLines:
    """What structlog's filtering logger calls, by level, with a finished line."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def info(self, line: str) -> None:
        self._lines.add(_cut(line.encode(errors="backslashreplace")))

    debug = warning = error = critical = exception = info


class _Handler(logging.Handler):
    """The standard library's way to the same lines."""

    def __init__(self, lines: Lines) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001  # a message that does not fit its arguments is its caller's fault
            line = f"{record.msg!r} cannot be formatted: {error}"
        self._lines.add(_cut(line.encode(errors="backslashreplace")))


def _render_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    return _json(event).decode()


# What would move a terminal's cursor or turn its text around, of what JSON leaves as it is.
_UNSEEN = re.compile("[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


def _json_of(line: msgspec.Struct) -> bytes:
    """*line* as JSON, as `_json` has it: most lines are short and ASCII, and need no look at their fields."""
    try:
        encoded = _encode(line)
    except (UnicodeEncodeError, RecursionError):
        encoded = b""
    if encoded and len(encoded) <= MAX_LINE_BYTES and encoded.isascii():
        return encoded
    return _json({name: value for name, value in msgspec.structs.asdict(line).items() if value is not msgspec.UNSET})


def _json(fields: EventDict) -> bytes:
    """*fields* as one line of JSON, of at most `MAX_LINE_BYTES`."""
    try:
        line = _encode(fields)
    except (UnicodeEncodeError, RecursionError):  # half a surrogate pair; a value that holds itself
        line = _encode(bounded(fields, text=_MAX_CUT_TEXT))
    if len(line) > MAX_LINE_BYTES:
        line = _encode(bounded(fields, text=_MAX_CUT_TEXT))
        if len(line) > MAX_LINE_BYTES:
            line = _encode({name: fields[name] for name in ("event", "level", "timestamp")} | {"is_cut": True})
    if not line.isascii():
        line = _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", line.decode()).encode()
    return line


def _readable(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Values without what would move a terminal's cursor or turn its text around."""
    return {name: _escaped(value) if isinstance(value, str) else value for name, value in event.items()}


def _escaped(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def _cut(line: bytes) -> bytes:
    return line if len(line) <= MAX_LINE_BYTES else line[:MAX_LINE_BYTES] + b" [cut]"


def bounded(value: Any, *, text: int = _MAX_TEXT, depth: int = _MAX_DEPTH) -> Any:
    """*value*, as JSON can hold it, without the midst of long texts, many items and deep ones, in bounded time."""
    if isinstance(value, str):
        if len(value) > text:
            value = f"{value[: text // 2]} … ({len(value)} characters) … {value[-text // 2 :]}"
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, Mapping | list | tuple):
        more = f"… ({len(value)} items)"
        if not depth:
            return more
        some = [item for item, _ in zip(value, range(_MAX_ITEMS), strict=False)]
        is_whole = len(some) == len(value)
        if isinstance(value, Mapping):
            shown = {bounded(str(name)): bounded(value[name], text=text, depth=depth - 1) for name in some}
            return shown if is_whole else shown | {"…": more}
        return [bounded(item, text=text, depth=depth - 1) for item in some] + ([] if is_whole else [more])
    return value

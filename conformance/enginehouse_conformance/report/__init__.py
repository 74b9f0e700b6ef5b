"""Reports on disk: one canonical JSON, and the forms that are rendered from it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from enginehouse_conformance.results import REPORT_VERSION, Report, compact
from enginehouse_plugin.threadsafe import threadsafe

from .badge import badge
from .html import html
from .junit import junit
from .markdown import markdown

__all__ = [
    "FORMS",
    "ReportError",
    "badge",
    "encode",
    "html",
    "junit",
    "markdown",
    "read_report",
    "schema",
    "write_report",
]

FORMS: dict[str, tuple[str, Callable[[Report], str]]] = {
    "junit": ("junit.xml", junit),
    "md": ("report.md", markdown),
    "html": ("report.html", html),
    "badge": ("badge.svg", badge),
}
"""What a report can be rendered into: the name of the file, and how."""


class ReportError(Exception):
    """A file that cannot be read as a report, or not be written; the message names it."""


def encode(report: Report) -> bytes:
    """The canonical JSON of *report*: a line for each fact about the run, and one for each rule."""
    names = [name for name in report.__struct_fields__ if name != "results"]
    names = [name for name in names if name != "endpoints" or report.endpoints]  # earlier reports have none
    facts = [_line(f'"{name}": ', getattr(report, name)) for name in names]
    results = b",\n".join(_line("  ", result) for result in report.results)
    return b"{\n" + b",\n".join([*facts, b'"results": [\n' + results + b"\n]"]) + b"\n}\n"


def _line(begin: str, value: object) -> bytes:
    return begin.encode() + msgspec.json.encode(value, order="deterministic")


def write_report(report: Report, folder: Path, *, is_compact: bool = False) -> list[Path]:
    """Write *report* into *folder* in every form; returns the files, the canonical JSON first.

    With *is_compact* there is only the JSON, and no more of each result than verdict, level and a message.

    Raises:
        ReportError: the folder or a file cannot be written.
    """
    contents = {"report.json": encode(compact(report) if is_compact else report)}
    if not is_compact:
        contents |= {name: render(report).encode("utf-8", "replace") for name, render in FORMS.values()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (folder / name).write_bytes(content)
    except OSError as exc:
        raise ReportError(f"{exc.filename or folder}: {exc.strerror}") from exc
    return [folder / name for name in contents]


def read_report(path: Path) -> Report:
    """The report in the JSON file *path*.

    Raises:
        ReportError: there is none, or one of another version.
    """
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise ReportError(f"{path}: {exc.strerror}") from exc
    try:
        found = msgspec.json.decode(data, type=_Version).report_version
        if found != REPORT_VERSION:
            raise ReportError(f"{path}: a report of version {found}; this suite reads version {REPORT_VERSION}.")
        return msgspec.json.decode(data, type=Report)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise ReportError(f"{path}: no report: {exc}") from exc


@threadsafe
class _Version(msgspec.Struct, frozen=True):
    report_version: int


def schema() -> dict[str, Any]:
    """The JSON Schema of the canonical JSON, as published in `report.schema.json` beside this module."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:enginehouse:conformance:report:{REPORT_VERSION}",
        "title": "Report of the Enginehouse conformance suite",
        **_cleaned(msgspec.json.schema(Report)),
    }


def _cleaned(node: Any) -> Any:
    """*node* with descriptions as all versions of Python have them: before 3.13 docstrings keep their indentation."""
    if isinstance(node, dict):
        return {
            key: inspect.cleandoc(value) if key == "description" and isinstance(value, str) else _cleaned(value)
            for key, value in node.items()
        }
    return [_cleaned(each) for each in node] if isinstance(node, list) else node

"""Whether a chat template can be read, before an engine is started with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from enginehouse_kit.files import read_file
from enginehouse_plugin.errors import LoadFailed


def check_template(template: str, of: str) -> None:
    """Check that *template* is one; *of* says in words where it is from.

    Raises:
        LoadFailed: it cannot be read; the message has the line.
    """
    from .jinja import syntax_error  # a worker's interpreter, which checks none, may lack jinja2

    found = syntax_error(template)
    if found is not None:
        message = f"The chat template of {of} cannot be read: line {found.lineno}: {found.message}"
        raise LoadFailed(message, retryable=False, code="bad_template") from found


def template_in(folder: Path) -> str | None:
    """The chat template beside safetensors: a file of its own, or a key of the tokenizer's configuration."""
    try:
        return read_file(folder / "chat_template.jinja").decode(errors="replace")
    except OSError:
        pass
    try:
        config: Any = msgspec.json.decode(read_file(folder / "tokenizer_config.json"))
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None  # the engine that reads it says what is wrong with it
    found = config.get("chat_template") if isinstance(config, dict) else None
    return found if isinstance(found, str) else None

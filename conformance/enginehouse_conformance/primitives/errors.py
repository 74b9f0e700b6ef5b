"""The documented form of errors."""

from __future__ import annotations

from typing import Any

from enginehouse_conformance.context import Context
from enginehouse_conformance.targets import Reply


def require_error_form(ctx: Context, reply: Reply) -> dict[str, Any]:
    """Require {"error": {message, type, param, code}}; returns the inner object."""
    raw = reply.json()
    error = raw.get("error") if isinstance(raw, dict) else None
    if not isinstance(error, dict):
        ctx.fail("a JSON object with `error`, an object", reply.body[:300].decode("utf-8", "replace"))
    missing = [name for name in ("message", "type", "param", "code") if name not in error]
    ctx.require(not missing, f"`error` with {', '.join(missing)}", error)
    ctx.require(isinstance(error["message"], str) and error["message"], "`error.message`, a text", error)
    ctx.require(isinstance(error["type"], str), "`error.type`, a string", error)
    ctx.require(error["param"] is None or isinstance(error["param"], str), "`error.param`, a string or null", error)
    return error

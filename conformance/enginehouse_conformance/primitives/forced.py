"""[C] Forced content: schemas whose only values are fresh nonces, and tools with the same."""

from __future__ import annotations

from typing import Any

import msgspec

from enginehouse_conformance.context import Context


def json_schema(schema: dict[str, Any], name: str = "answer") -> dict[str, Any]:
    """The `response_format` that asks for *schema*, strictly."""
    return {"type": "json_schema", "json_schema": {"name": name, "strict": True, "schema": schema}}


def object_of(**properties: Any) -> dict[str, Any]:
    """The schema of an object with exactly *properties*, all required."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def saying(value: str) -> dict[str, Any]:
    """The `response_format` under which the answer is the object {"v": value} and nothing else."""
    return json_schema(object_of(v={"type": "string", "const": value}))


def tool(name: str, parameters: dict[str, Any] | None = None, description: str = "A tool.") -> dict[str, Any]:
    """A tool; without *parameters* it takes none."""
    function: dict[str, Any] = {"name": name, "description": description}
    if parameters is not None:
        function["parameters"] = parameters
    return {"type": "function", "function": function}


def named(name: str) -> dict[str, Any]:
    """The `tool_choice` that forces the tool *name*."""
    return {"type": "function", "function": {"name": name}}


def nonce_tool(ctx: Context) -> tuple[str, str, dict[str, Any]]:
    """A tool with a nonce for a name whose one argument `v` can only be another nonce: name, value, tool."""
    name, value = f"t_{ctx.nonce()}", ctx.nonce()
    return name, value, tool(name, object_of(v={"type": "string", "enum": [value]}))


def decoded(ctx: Context, text: str) -> Any:
    """*text* as JSON; fails where it is none."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as exc:
        ctx.fail("content that is JSON and nothing else", f"{text[:200]!r} ({exc})")

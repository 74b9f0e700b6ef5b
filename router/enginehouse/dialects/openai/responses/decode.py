"""Bytes of a body to a `ResponsesRequest`: strict decoding, then the parts that may hold any JSON."""

from __future__ import annotations

from typing import Any

from enginehouse.dialects.openai.responses.request import ResponsesFunction, ResponsesRequest, SchemaFormat
from enginehouse.wire.decode import Decoder, UnknownFields
from enginehouse.wire.json_schema import check_schema, check_size


def _with_types(tree: Any) -> bool:
    """Give items of *tree*, a body, the type that they leave out: messages, and references."""
    items = tree.get("input") if isinstance(tree, dict) else None
    has_changed = False
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict) and item.get("type") is None:
            if "role" in item:
                item["type"] = "message"
            elif "id" in item and item.keys() <= {"id", "type"}:
                item["type"] = "item_reference"
            else:
                continue
            has_changed = True
    return has_changed


_DECODER = Decoder(ResponsesRequest, _with_types)


def decode_responses(
    body: bytes, *, unknown_fields: UnknownFields = "refuse"
) -> tuple[ResponsesRequest, tuple[str, ...]]:
    """Decode *body*; return the request and the names of its unknown fields (none with `"refuse"`).

    Raises:
        InvalidRequest: with the field in `param`.
    """
    asked, unknown = _DECODER.decode(body, unknown_fields=unknown_fields)
    seen = 0
    if asked.text is not None and isinstance(asked.text.format, SchemaFormat):
        seen = check_schema(asked.text.format.schema, ("text", "format", "schema"))
    for at, tool in enumerate(asked.tools or ()):
        if isinstance(tool, ResponsesFunction) and tool.parameters is not None:
            seen = check_schema(tool.parameters, ("tools", at, "parameters"), seen)
    if asked.client_metadata is not None:
        check_size(asked.client_metadata, ("client_metadata",), seen)
    return asked, unknown

"""Bytes of a body to a `ChatRequest`: strict decoding, then the rules that types cannot say."""

from __future__ import annotations

from enginehouse.dialects.openai.chat.request import ChatRequest, FunctionTool, JsonSchemaFormat
from enginehouse.dialects.openai.chat.rules import check
from enginehouse.wire.decode import Decoder, UnknownFields
from enginehouse.wire.json_schema import check_schema, check_size

_ANY = Decoder(ChatRequest)


def decode_chat(
    body: bytes, *, unknown_fields: UnknownFields = "refuse", decoder: Decoder[ChatRequest] = _ANY
) -> tuple[ChatRequest, tuple[str, ...]]:
    """Decode *body* by *decoder*; return the request and the names of its unknown fields (none with `"refuse"`).

    Raises:
        InvalidRequest: with the field in `param`.
    """
    chat, unknown = decoder.decode(body, unknown_fields=unknown_fields)
    check_request(chat)
    return chat, unknown


def check_request(chat: ChatRequest) -> None:
    """Refuse what the types of *chat* cannot say.

    Raises:
        InvalidRequest: with the field in `param`.
    """
    _check_free_form(chat)
    check(chat)


def _check_free_form(chat: ChatRequest) -> None:
    """Check the parts of *chat* that may hold any JSON: schemas, and variables of the chat template."""
    seen = 0
    if type(chat.response_format) is JsonSchemaFormat:
        seen = check_schema(chat.response_format.json_schema.schema, ("response_format", "json_schema", "schema"))
    if chat.tools is not None:
        for at, tool in enumerate(chat.tools):
            if not isinstance(tool, FunctionTool):
                seen = check_size(tool.custom, ("tools", at, "custom"), seen)
            elif tool.function.parameters is not None:
                seen = check_schema(tool.function.parameters, ("tools", at, "function", "parameters"), seen)
    if chat.chat_template_kwargs is not None:
        check_size(chat.chat_template_kwargs, ("chat_template_kwargs",), seen)

"""The toy chat template. Marks of the template are tokens of their own; the same marks in a text stay text."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from enginehouse_plugin import AssistantMessage, Chat, DeveloperMessage, Message, TextPart, Tool, ToolMessage
from enginehouse_plugin.request import AudioPart, ContentPart, FilePart, ImagePart

from . import vocabulary

VARIABLE = "style"
"""The one variable that the template reads."""


def render(chat: Chat, tools: tuple[Tool, ...], variables: Mapping[str, object], *, is_open: bool = False) -> list[int]:
    """Token ids of *chat*, with *tools* shown first, up to where the assistant's turn begins.

    With *is_open* that is its last message, which goes on.
    """
    tokens: list[int] = []
    if VARIABLE in variables:
        tokens += _turn(VARIABLE, str(variables[VARIABLE]))
    if tools:
        tokens += _turn("tools", "\n".join(_shown(tool) for tool in tools))
    for message in chat.messages:
        tokens += _turn(_role(message), _text(message))
    if is_open:
        return tokens[:-1]
    return [*tokens, vocabulary.TURN, *vocabulary.encode("assistant\n")]


def _shown_part(part: ContentPart) -> str:
    """A text as it is; of other parts what stands for them: this model sees a picture as eight letters."""
    match part:
        case TextPart():
            return part.text
        case ImagePart():
            data = part.image_url.url
        case AudioPart():
            data = part.input_audio.data
        case FilePart():
            data = part.file.file_data or ""
    return hashlib.sha256(data.encode()).hexdigest()[:8]


def _shown(tool: Tool) -> str:
    parameters = "" if tool.parameters is None else msgspec.json.encode(tool.parameters).decode()
    return f"{tool.name} {tool.description or ''}{parameters}"


def _turn(role: str, text: str) -> list[int]:
    return [vocabulary.TURN, *vocabulary.encode(f"{role}\n{text}"), vocabulary.END_TURN]


def _role(message: Message) -> str:
    if isinstance(message, DeveloperMessage):
        return "system"
    return str(message.__struct_config__.tag)


def _text(message: Message) -> str:
    content = message.content
    text = content if isinstance(content, str) else "".join(map(_shown_part, content or ()))
    if isinstance(message, AssistantMessage):
        text = (message.reasoning_content or "") + text + (message.refusal or "")
        text += "".join(f"{call.function.name}({call.function.arguments})" for call in message.tool_calls or ())
    if isinstance(message, ToolMessage):
        text = f"{message.tool_call_id}: {text}"
    return text

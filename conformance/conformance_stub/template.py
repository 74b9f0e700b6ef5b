"""The toy chat template. Marks of the template are tokens of their own; the same marks in a text stay text."""

from __future__ import annotations

import msgspec

from enginehouse_plugin import AssistantMessage, Chat, DeveloperMessage, Message, TextPart, Tool, ToolMessage

from . import vocabulary


def render(chat: Chat, tools: tuple[Tool, ...]) -> list[int]:
    """Token ids of *chat*, with *tools* shown first, up to where the assistant's turn begins."""
    tokens: list[int] = []
    if tools:
        tokens += _turn("tools", "\n".join(_shown(tool) for tool in tools))
    for message in chat.messages:
        tokens += _turn(_role(message), _text(message))
    return [*tokens, vocabulary.TURN, *vocabulary.encode("assistant\n")]


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
    text = content if isinstance(content, str) else ""
    if content is not None and not isinstance(content, str):
        text = "".join(part.text for part in content if isinstance(part, TextPart))
    if isinstance(message, AssistantMessage):
        text = (message.reasoning_content or "") + text + (message.refusal or "")
        text += "".join(f"{call.function.name}({call.function.arguments})" for call in message.tool_calls or ())
    if isinstance(message, ToolMessage):
        text = f"{message.tool_call_id}: {text}"
    return text

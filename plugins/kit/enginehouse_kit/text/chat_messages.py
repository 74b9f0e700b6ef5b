"""Write a conversation as the messages that a chat template understands; what it has no place for becomes text.

Nothing of a conversation is left out: a template that knows no tools, names or reasoning shows them as text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec

from enginehouse_plugin.errors import InvalidRequest, LoadFailed
from enginehouse_plugin.request import (
    AssistantMessage,
    Content,
    DeveloperMessage,
    GenerationRequest,
    Message,
    NamedTool,
    SystemMessage,
    TextPart,
    Tool,
    ToolMessage,
    UserMessage,
)

CALL_OPENS, CALL_CLOSES = "<tool_call>", "</tool_call>"
"""Marks of a call, in what the model reads and writes where its template has no form of its own."""

MAX_TEMPLATE_BYTES = 4 * 2**20
_CALLS_ARE_ALLOWED = (
    "To call functions, answer with nothing but the call, in exactly this form:\n"
    '<tool_call>\n{{"name": "function-name", "arguments": {{"parameter": "value"}}}}\n</tool_call>\n'
    "{several}Answer in plain text when no function is needed."
)
_SEVERAL = "To make several calls at once, write one such block for each. "
_CALLS_ARE_REQUIRED = (
    'You must now call {whom}. Answer with nothing but JSON: {{"name": "function-name", "arguments": {{…}}}}{several}.'
)


class TemplateMessage(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A message as templates read it; `arguments` of a call are JSON text."""

    role: str
    content: str
    reasoning_content: str | None = None
    tool_calls: list[dict[str, Any]] | None = None  # JSON
    tool_call_id: str | None = None
    name: str | None = None


class TemplateFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a chat template has a place for."""

    tools: bool = False
    tool_calls: bool = False
    reasoning: bool = False
    """A past message's reasoning."""
    thinking: bool = False
    """Reasoning between `<think>` and `</think>` in answers."""
    variables: frozenset[str] = frozenset()
    """Variables of its own that a request may set."""


def template_messages(
    messages: Sequence[Message], facts: TemplateFacts, instructions: str | None
) -> list[TemplateMessage]:
    """Write *messages*; *instructions* join the first system message, or become one."""
    function_of = {
        call.id: call.function.name
        for message in messages
        if isinstance(message, AssistantMessage)
        for call in message.tool_calls or ()
    }
    written = [_write(message, facts, function_of) for message in _results_in_order_of_calls(messages)]
    if instructions is None:
        return written
    if written and written[0].role == "system":
        written[0] = msgspec.structs.replace(written[0], content=f"{written[0].content}\n\n{instructions}")
    else:
        written.insert(0, TemplateMessage(role="system", content=instructions))
    return written


def instructions(request: GenerationRequest, facts: TemplateFacts) -> str | None:
    """What the model must be told about tools and its template does not say."""
    if not request.tools or request.tool_choice == "none":
        return None
    parts = [] if facts.tools else [tools_shown(request.tools)]
    if isinstance(request.tool_choice, NamedTool):
        parts.append(calls_required(request.tool_choice.name, request.parallel_tool_calls))
    elif request.tool_choice == "required":
        parts.append(calls_required(None, request.parallel_tool_calls))
    elif not facts.tools:
        parts.append(calls_allowed(request.parallel_tool_calls))
    return "\n\n".join(parts) or None


def read_template(path: str) -> str:
    """The chat template in the file that the option `chat_template_file` names.

    Raises:
        LoadFailed: it cannot be read, or is no file, which might never come to an end, or longer than any template is.
    """
    place = Path(path)
    try:
        if place.exists() and not place.is_file():
            problem: object = "it is no file"
        elif place.stat().st_size > MAX_TEMPLATE_BYTES:
            problem = f"it is longer than {MAX_TEMPLATE_BYTES // 2**20} MiB"
        else:
            return place.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problem = error
    raise LoadFailed(f"chat_template_file '{path}' cannot be read: {problem}.", retryable=False, code="bad_options")


def check_variables(variables: Mapping[str, Any], facts: TemplateFacts, *, reasons: bool) -> None:  # JSON
    """Refuse what a request sets of the template's variables and the template would ignore.

    To turn thinking off asks for nothing where the model does not reason: *reasons*.

    Raises:
        InvalidRequest: naming the first.
    """
    for name, value in variables.items():
        if name not in facts.variables and (reasons or name != "enable_thinking" or value is not False):
            raise InvalidRequest(
                f"This model's chat template has no variable '{name}'; it has "
                f"{', '.join(sorted(facts.variables)) or 'none'}.",
                param=f"chat_template_kwargs.{name}",
            )


def tools_shown(tools: Iterable[Tool]) -> str:
    """Text that shows *tools* to a model whose template does not."""
    lines = [msgspec.json.encode(tool_json(tool)["function"]).decode() for tool in tools]
    return "You may call these functions:\n<tools>\n" + "\n".join(lines) + "\n</tools>"


def calls_allowed(parallel: bool) -> str:
    """Text that says how to call a function."""
    return _CALLS_ARE_ALLOWED.format(several=_SEVERAL if parallel else "")


def calls_required(name: str | None, parallel: bool) -> str:
    """Text that says that a function must be called: the one called *name*, or any."""
    whom = (
        f"the function '{name}'" if name else ("one or more of the functions" if parallel else "one of the functions")
    )
    return _CALLS_ARE_REQUIRED.format(whom=whom, several=", or a list of such calls" if parallel and not name else "")


def tool_json(tool: Tool) -> dict[str, Any]:  # JSON
    """*tool* in the form that templates expect."""
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    function["parameters"] = tool.parameters or {"type": "object", "properties": {}}
    return {"type": "function", "function": function}


def _results_in_order_of_calls(messages: Sequence[Message]) -> list[Message]:
    """Put the results of each turn in the order of its calls: few templates show ids, so the place must tell."""
    ordered: list[Message] = []
    place: dict[str, int] = {}
    for is_results, turns in groupby(messages, key=lambda message: isinstance(message, ToolMessage)):
        if is_results:
            results = [message for message in turns if isinstance(message, ToolMessage)]
            results.sort(key=lambda result: place.get(result.tool_call_id, len(place)))
            ordered += results
        else:
            ordered += turns
            called = ordered[-1].tool_calls if isinstance(ordered[-1], AssistantMessage) else None
            place = {call.id: at for at, call in enumerate(called or ())}
    return ordered


def _write(message: Message, facts: TemplateFacts, function_of: dict[str, str]) -> TemplateMessage:
    if isinstance(message, AssistantMessage):
        return _write_assistant(message, facts)
    text = _text(message.content)
    if isinstance(message, ToolMessage):
        name = message.name or function_of.get(message.tool_call_id)
        if facts.tool_calls:
            return TemplateMessage(role="tool", content=text, tool_call_id=message.tool_call_id, name=name)
        label = name or message.tool_call_id
        return TemplateMessage(role="user", content=f'<tool_response name="{label}">\n{text}\n</tool_response>')
    role = "user" if isinstance(message, UserMessage) else "system"
    return TemplateMessage(role=role, content=_named(message, text))


def _write_assistant(message: AssistantMessage, facts: TemplateFacts) -> TemplateMessage:
    text = _text(message.content) if message.content is not None else ""
    if message.refusal:
        text = f"{text}\n{message.refusal}" if text else message.refusal
    if text:
        text = _named(message, text)
    reasoning = message.reasoning_content
    if reasoning and not facts.reasoning:
        text, reasoning = f"<think>\n{reasoning}\n</think>\n\n{text}", None
    calls = message.tool_calls or ()
    if calls and not facts.tool_calls:
        shown = [f'{{"name": {_quoted(c.function.name)}, "arguments": {c.function.arguments or "{}"}}}' for c in calls]
        shown = [f"{CALL_OPENS}\n{call}\n{CALL_CLOSES}" for call in shown]
        text, calls = "\n".join([*([text] if text else []), *shown]), ()
    native = [
        {"id": c.id, "type": "function", "function": {"name": c.function.name, "arguments": c.function.arguments}}
        for c in calls
    ]
    return TemplateMessage(
        role="assistant", content=text, reasoning_content=reasoning or None, tool_calls=native or None
    )


def _named(message: SystemMessage | DeveloperMessage | UserMessage | AssistantMessage, text: str) -> str:
    """Put the speaker's name before the text: no template has a place for it."""
    return f"{message.name}: {text}" if message.name else text


def _text(content: Content) -> str:
    """Join text parts; parts of other kinds have been refused before."""
    if isinstance(content, str):
        return content
    return "".join(part.text for part in content if isinstance(part, TextPart))


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()

"""Rules of a request that look at more than one field, or that allow only some of a field's values.

The reasons stand in docs/api.md.
"""

from __future__ import annotations

from enginehouse.dialects.openai.chat.endings import check_endings
from enginehouse.dialects.openai.chat.messages import AssistantMessage, ChatMessage, CustomToolCall, ToolMessage
from enginehouse.dialects.openai.chat.request import (
    AllowedToolsChoice,
    ChatRequest,
    CustomTool,
    NamedCustom,
    NamedFunction,
    StreamOptions,
    Thinking,
)
from enginehouse_plugin.errors import InvalidRequest


def check(chat: ChatRequest) -> None:
    """Refuse *chat* where its fields do not go together.

    Raises:
        InvalidRequest: naming the first field that does not.
    """
    _check_messages(chat.messages)
    check_stream_options(chat.stream_options, is_stream=bool(chat.stream))
    if chat.top_logprobs is not None and not chat.logprobs:
        raise _invalid("top_logprobs", "it is only allowed when 'logprobs' is true")
    if isinstance(chat.stop, str) and not chat.stop:
        raise _invalid("stop", "an empty string would end every answer at once; leave it out", code="empty_string")
    if chat.tools is not None or chat.tool_choice is not None:
        _check_tools(chat)
    if chat.thinking is not None:
        _check_thinking(chat, chat.thinking)
    check_endings(chat)
    _check_values(chat)


def check_stream_options(options: StreamOptions | None, *, is_stream: bool) -> None:
    """Refuse *options* where the rest of a request does not go with them.

    Raises:
        InvalidRequest: naming the option.
    """
    if options is None:
        return
    if not is_stream:
        raise _invalid("stream_options", "it is only allowed when 'stream' is true")
    if options.continuous_usage_stats and not options.include_usage:
        raise _invalid(
            "stream_options.continuous_usage_stats", "it is only allowed when 'stream_options.include_usage' is true"
        )


def _check_thinking(chat: ChatRequest, thinking: Thinking) -> None:
    if thinking.type == "enabled":
        raise _unsupported_value("thinking.type", "enabled", "'disabled'; choose with 'reasoning_effort' instead")
    if (chat.chat_template_kwargs or {}).get("enable_thinking", False) is not False:
        raise _invalid("thinking", "'chat_template_kwargs.enable_thinking' says the opposite")
    if chat.reasoning_effort not in (None, "none", "minimal"):
        raise _invalid("thinking", "'reasoning_effort' says the opposite")


def _check_messages(messages: tuple[ChatMessage, ...]) -> None:
    called: set[str] = set()
    for at, message in enumerate(messages):
        if type(message) is AssistantMessage:
            for index, call in enumerate(message.tool_calls or ()):
                if isinstance(call, CustomToolCall):
                    raise _only_functions(f"messages[{at}].tool_calls[{index}].type")
                called.add(call.id)
            if message.reasoning and message.reasoning_content and message.reasoning != message.reasoning_content:
                raise _invalid(f"messages[{at}].reasoning", "'reasoning_content', its other name, says something else")
        elif type(message) is ToolMessage and message.tool_call_id not in called:
            raise _invalid(f"messages[{at}].tool_call_id", "no earlier assistant message has a tool call with this id")


def _check_tools(chat: ChatRequest) -> None:
    names: set[str] = set()
    for at, tool in enumerate(chat.tools or ()):
        if isinstance(tool, CustomTool):
            raise _only_functions(f"tools[{at}].type")
        if tool.function.name in names:
            raise _invalid(f"tools[{at}].function.name", "another tool has the same name")
        names.add(tool.function.name)
    choice = chat.tool_choice
    if choice is None or choice in ("none", "auto"):
        return
    if not names:
        raise _invalid("tool_choice", "a call can only be asked for when 'tools' are given")
    if isinstance(choice, NamedCustom):
        raise _only_functions("tool_choice.type")
    if isinstance(choice, NamedFunction) and choice.function.name not in names:
        raise _invalid("tool_choice.function.name", f"no tool has this name. Tools are: {_listed(names)}")
    if isinstance(choice, AllowedToolsChoice):
        for at, allowed in enumerate(choice.allowed_tools.tools):
            where = f"tool_choice.allowed_tools.tools[{at}]"
            if isinstance(allowed, NamedCustom):
                raise _only_functions(f"{where}.type")
            if allowed.function.name not in names:
                raise _invalid(f"{where}.function.name", f"no tool has this name. Tools are: {_listed(names)}")


def _listed(names: set[str]) -> str:
    shown = sorted(names)[:8]
    return ", ".join(shown) + (", …" if len(names) > len(shown) else "")


def _check_values(chat: ChatRequest) -> None:
    """Refuse values that the reference has and this API cannot honour."""
    if chat.modalities is not None and "audio" in chat.modalities:
        raise _unsupported_value("modalities", "audio", "'text'", f"modalities[{chat.modalities.index('audio')}]")
    if chat.store:
        raise _unsupported_value("store", "true", "false: nothing is stored")
    if chat.service_tier not in (None, "auto", "default"):
        raise _unsupported_value("service_tier", str(chat.service_tier), "'auto' and 'default': there is one tier")
    if chat.verbosity not in (None, "medium"):
        raise _unsupported_value("verbosity", str(chat.verbosity), "'medium'; ask for it in the messages instead")


def _unsupported_value(name: str, value: str, supported: str, param: str | None = None) -> InvalidRequest:
    return InvalidRequest(
        f"Unsupported value: '{name}' does not support '{value}' here. Supported: {supported}.",
        param=param or name,
        code="unsupported_value",
    )


def _only_functions(param: str) -> InvalidRequest:
    return InvalidRequest(
        f"Unsupported value: '{param}' does not support 'custom' here. Supported: 'function'.",
        param=param,
        code="unsupported_value",
    )


def _invalid(param: str, problem: str, *, code: str | None = None) -> InvalidRequest:
    return InvalidRequest(f"Invalid '{param}': {problem}.", param=param, code=code)

"""From a decoded request to what an instance is asked: no value is replaced, and what is left out is named."""

from __future__ import annotations

from collections.abc import Collection
from operator import attrgetter
from typing import Any, Final

import msgspec

from enginehouse.dialects.ollama.request import (
    RECORDED_OPTIONS,
    AssistantMessage,
    ChatRequest,
    GenerateRequest,
    Message,
    OllamaRequest,
    Options,
    SystemMessage,
    Tool,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from enginehouse.wire.json_schema import check_schema, check_size
from enginehouse_plugin import request as contract
from enginehouse_plugin.errors import InvalidRequest

_encode = msgspec.json.Encoder().encode
_KINDS: Final = {"/9j/": "jpeg", "R0lG": "gif", "UklG": "webp"}
"""How base64 of an image begins; any other is taken for a PNG."""
_NOTHING: Final = {"typical_p": 1, "tfs_z": 1, "mirostat": 0, "penalize_newline": True}
"""Options that no engine here has, and the values by which they ask for nothing."""
_rare: Final = attrgetter(*_NOTHING, *RECORDED_OPTIONS)
_NONE_RARE: Final = (None,) * (len(_NOTHING) + len(RECORDED_OPTIONS))


class Asked(msgspec.Struct, frozen=True):
    """What an instance is asked, which of its fields the client said, what is noted and what is left out."""

    request: contract.GenerationRequest
    said: Collection[str]
    recorded: dict[str, Any]
    ignored: tuple[str, ...]


def chat_asked(chat: ChatRequest, request_id: str) -> Asked:
    """Build what an instance is asked for a chat.

    Raises:
        InvalidRequest: fields that do not go together, a schema that is none.
    """
    said, recorded, ignored = _common(chat)
    if chat.tools:
        seen = 0
        for at, tool in enumerate(chat.tools):
            if tool.function.parameters is not None:
                seen = check_schema(tool.function.parameters, ("tools", at, "function", "parameters"), seen)
        said["tools"], said["tool_choice"] = _tools(chat.tools), "auto"
    return _asked(request_id, contract.Chat(_conversation(chat.messages)), said, recorded, ignored)


def generate_asked(wanted: GenerateRequest, request_id: str) -> Asked:
    """Build what an instance is asked for a prompt: with `raw` or a `suffix` the text as it is, else a user's message.

    Raises:
        InvalidRequest: fields that do not go together, a schema that is none.
    """
    said, recorded, ignored = _common(wanted)
    for name in ("template", "context"):
        if getattr(wanted, name):
            ignored.append(name)
    if wanted.suffix:
        said["suffix"] = wanted.suffix
    if wanted.raw or wanted.suffix:
        for name in ("system", "images"):
            if getattr(wanted, name):
                raise _invalid(name, "a raw prompt goes to the model as it is; leave one of the two out")
        return _asked(request_id, contract.Text(wanted.prompt), said, recorded, ignored)
    messages: list[Message] = [SystemMessage(wanted.system)] if wanted.system else []
    messages.append(UserMessage(wanted.prompt, wanted.images))
    return _asked(request_id, contract.Chat(_conversation(tuple(messages))), said, recorded, ignored)


def _asked(
    request_id: str, prompt: contract.Prompt, said: dict[str, Any], recorded: dict[str, Any], ignored: list[str]
) -> Asked:
    request = contract.GenerationRequest(id=request_id, prompt=prompt, logit_bias={}, **said)
    return Asked(request, said.keys(), recorded, tuple(ignored))


def _common(wanted: OllamaRequest) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """What both requests say: fields of the contract's request, what is recorded, what is left out."""
    said: dict[str, Any] = {"stream": wanted.stream is not False}
    recorded: dict[str, Any] = {}
    ignored: list[str] = []
    if wanted.options is not None:
        _take_options(wanted.options, said, recorded, ignored)
    if wanted.keep_alive is not None:
        recorded["keep_alive"] = wanted.keep_alive
    if wanted.format == "json":
        said["output"] = contract.JsonObject()
    elif isinstance(wanted.format, dict):
        check_schema(wanted.format, ("format",))
        said["output"] = contract.JsonSchema(name="format", schema=wanted.format)
    if isinstance(wanted.think, bool):
        said["chat_template_kwargs"] = {"enable_thinking": wanted.think}
    elif wanted.think is not None:
        said["reasoning_effort"] = wanted.think
    if wanted.logprobs is not None:
        said["logprobs"] = wanted.logprobs
    if wanted.top_logprobs:
        if not wanted.logprobs:
            raise _invalid("top_logprobs", "it is only allowed when 'logprobs' is true")
        said["top_logprobs"] = wanted.top_logprobs
    return said, recorded, ignored


def _take_options(options: Options, said: dict[str, Any], recorded: dict[str, Any], ignored: list[str]) -> None:
    for name in ("temperature", "top_p", "min_p", "presence_penalty", "frequency_penalty"):
        if (value := getattr(options, name)) is not None:
            said[name] = value
    if options.top_k is not None:
        said["top_k"] = max(options.top_k, 0)
    if options.repeat_penalty is not None:
        said["repetition_penalty"] = options.repeat_penalty
    if options.repeat_last_n == 0:
        said["repetition_penalty"] = 1.0
    elif options.repeat_last_n is not None and options.repeat_last_n > 0:
        ignored.append("options.repeat_last_n")
    if options.seed is not None and options.seed != -1:
        said["seed"] = options.seed
    if options.num_predict == 0:
        raise _invalid("options.num_predict", "an answer has at least 1 token; -1 and -2 are as many as fit")
    if options.num_predict is not None:
        said["max_tokens"] = options.num_predict if options.num_predict > 0 else None
    if options.stop is not None:
        if options.stop == "":
            raise _invalid("options.stop", "an empty string would end every answer at once; leave it out")
        said["stop"] = (options.stop,) if isinstance(options.stop, str) else options.stop
    if _rare(options) == _NONE_RARE:
        return
    for name, nothing in _NOTHING.items():
        if (value := getattr(options, name)) is not None and value != nothing:
            ignored.append(f"options.{name}")
    noted = {name: value for name in RECORDED_OPTIONS if (value := getattr(options, name)) is not None}
    if noted:
        recorded["options"] = noted


def _tools(given: tuple[Tool, ...]) -> tuple[contract.Tool, ...]:
    names: set[str] = set()
    for at, tool in enumerate(given):
        if tool.function.name in names:
            raise _invalid(f"tools[{at}].function.name", "another tool has the same name")
        names.add(tool.function.name)
    return tuple(
        contract.Tool(
            name=tool.function.name, description=tool.function.description, parameters=tool.function.parameters
        )
        for tool in given
    )


def _conversation(messages: tuple[Message, ...]) -> tuple[contract.Message, ...]:
    """The messages as the contract has them. Calls that have no ids are given some, and results find theirs."""
    found: list[contract.Message] = []
    open_calls: dict[str, str] = {}  # names by ids, of calls without a result
    seen = 0
    for at, message in enumerate(messages):
        if isinstance(message, SystemMessage):
            found.append(contract.SystemMessage(message.content))
        elif isinstance(message, UserMessage):
            found.append(contract.UserMessage(_content(message)))
        elif isinstance(message, ToolMessage):
            call_id = _call_of(message, open_calls, at)
            found.append(contract.ToolMessage(message.content, call_id, message.tool_name or message.name))
        else:
            for index, call in enumerate(message.tool_calls or ()):
                place = ("messages", at, "tool_calls", index, "function", "arguments")
                seen = check_size(call.function.arguments, place, seen)
            calls = tuple(_call(call, f"call_{at}_{index}") for index, call in enumerate(message.tool_calls or ()))
            open_calls |= {call.id: call.function.name for call in calls}
            found.append(_assistant(message, calls))
    return tuple(found)


def _assistant(message: AssistantMessage, calls: tuple[contract.ToolCall, ...]) -> contract.AssistantMessage:
    content = message.content if message.content or not calls else None
    return contract.AssistantMessage(content, reasoning_content=message.thinking or None, tool_calls=calls or None)


def _call(call: ToolCall, otherwise: str) -> contract.ToolCall:
    arguments = _encode(call.function.arguments).decode()
    return contract.ToolCall(call.id or otherwise, contract.FunctionCall(call.function.name, arguments))


def _call_of(message: ToolMessage, open_calls: dict[str, str], at: int) -> str:
    name = message.tool_name or message.name
    if message.tool_call_id is not None:
        found = message.tool_call_id if message.tool_call_id in open_calls else None
    else:
        found = next((call for call, called in open_calls.items() if name is None or called == name), None)
    if found is None:
        field = "tool_call_id" if message.tool_call_id is not None else "tool_name"
        raise _invalid(f"messages[{at}].{field}", "no earlier assistant message has such a call without a result")
    del open_calls[found]
    return found


def _content(message: UserMessage) -> contract.Content:
    if not message.images:
        return message.content
    parts: list[contract.ContentPart] = [contract.TextPart(message.content)] if message.content else []
    for image in message.images:
        url = f"data:image/{_KINDS.get(image[:4], 'png')};base64,{image}"
        parts.append(contract.ImagePart(contract.ImageURL(url)))
    return tuple(parts)


def _invalid(param: str, problem: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid '{param}': {problem}.", param=param)

"""From a decoded request to what an instance is asked: every default is decided here, and no value is replaced."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from enginehouse.config import Defaults
from enginehouse.dialects.openai.chat.messages import AssistantMessage, ChatMessage, RefusalPart
from enginehouse.dialects.openai.chat.request import (
    AllowedToolsChoice,
    ChatRequest,
    FunctionTool,
    JsonObjectFormat,
    JsonSchemaFormat,
    NamedFunction,
)
from enginehouse_plugin import Profile
from enginehouse_plugin import request as contract
from enginehouse_plugin.errors import InvalidRequest

T = TypeVar("T")


def generation_request(
    chat: ChatRequest, *, request_id: str, profile: Profile, defaults: Defaults | None = None
) -> contract.GenerationRequest:
    """Build what an instance is asked: the request's own values, else the model's, else the profile's.

    Raises:
        InvalidRequest: a value is beyond a limit of *profile*.
    """
    _check_profile(chat, profile)
    model = defaults if defaults is not None else _NO_DEFAULTS
    tools, tool_choice = _tools(chat)
    return contract.GenerationRequest(
        id=request_id,
        prompt=contract.Chat(messages=_messages(chat.messages)),
        stream=bool(chat.stream),
        n=1 if chat.n is None else chat.n,
        max_tokens=_decided(_limit(chat), model.max_tokens, profile.default_max_tokens),
        temperature=_decided(chat.temperature, model.temperature, profile.default_temperature),
        top_p=_decided(chat.top_p, model.top_p, profile.default_top_p),
        top_k=_decided(chat.top_k, model.top_k, 0),
        min_p=_decided(chat.min_p, model.min_p, 0.0),
        frequency_penalty=_decided(chat.frequency_penalty, model.frequency_penalty, 0.0),
        presence_penalty=_decided(chat.presence_penalty, model.presence_penalty, 0.0),
        repetition_penalty=_decided(chat.repetition_penalty, model.repetition_penalty, 1.0),
        logit_bias={} if chat.logit_bias is None else chat.logit_bias,
        seed=_decided(chat.seed, model.seed, None),
        stop=_decided(_stop(chat), model.stop, ()),
        logprobs=bool(chat.logprobs),
        top_logprobs=0 if chat.top_logprobs is None else chat.top_logprobs,
        output=_output(chat),
        tools=tools,
        tool_choice=tool_choice,
        parallel_tool_calls=True if chat.parallel_tool_calls is None else chat.parallel_tool_calls,
        reasoning_effort=_decided(chat.reasoning_effort, model.reasoning_effort, None),
        # The model's variables stand beside the request's; where both name one, the request's holds.
        chat_template_kwargs={**(model.chat_template_kwargs or {}), **(chat.chat_template_kwargs or {})} or None,
    )


_NO_DEFAULTS = Defaults()


def _decided(own: T | None, models: T | None, last: T) -> T:
    return own if own is not None else models if models is not None else last


def _check_profile(chat: ChatRequest, profile: Profile) -> None:
    if chat.n is not None and chat.n > profile.max_n:
        raise _above("n", "integer", chat.n, profile.max_n)
    if chat.temperature is not None and chat.temperature > profile.max_temperature:
        raise _above("temperature", "decimal", chat.temperature, profile.max_temperature)
    if isinstance(chat.stop, tuple) and len(chat.stop) > profile.max_stop:
        raise InvalidRequest(
            f"Invalid 'stop': array too long. Expected an array with maximum length {profile.max_stop}, "
            f"but got length {len(chat.stop)} instead.",
            param="stop",
            code="array_above_max_length",
        )


def _above(param: str, noun: str, value: float, limit: float) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid '{param}': {noun} above maximum value. Expected a value <= {limit:g}, but got {value:g} instead.",
        param=param,
        code=f"{noun}_above_max_value",
    )


def _limit(chat: ChatRequest) -> int | None:
    """Return the smaller of the two names' values: both are upper bounds, so it satisfies both."""
    newer, older = chat.max_completion_tokens, chat.max_tokens
    if newer is None or older is None:
        return older if newer is None else newer
    return min(newer, older)


def _stop(chat: ChatRequest) -> tuple[str, ...] | None:
    return (chat.stop,) if isinstance(chat.stop, str) else chat.stop


def _output(chat: ChatRequest) -> contract.OutputFormat | None:
    wanted = chat.response_format
    if wanted is None:
        return None
    if isinstance(wanted, JsonObjectFormat):
        return contract.JsonObject()
    if isinstance(wanted, JsonSchemaFormat):
        spec = wanted.json_schema
        return contract.JsonSchema(
            name=spec.name, schema=spec.schema, description=spec.description, strict=bool(spec.strict)
        )
    return None


def _tools(chat: ChatRequest) -> tuple[tuple[contract.Tool, ...], contract.ToolChoice]:
    if chat.tools is None:
        return (), "none"
    functions = [tool.function for tool in chat.tools if isinstance(tool, FunctionTool)]
    if not functions:
        return (), "none"
    choice: contract.ToolChoice = "auto"
    if isinstance(chat.tool_choice, str):
        choice = chat.tool_choice
    elif isinstance(chat.tool_choice, NamedFunction):
        choice = contract.NamedTool(name=chat.tool_choice.function.name)
    elif isinstance(chat.tool_choice, AllowedToolsChoice):
        allowed = chat.tool_choice.allowed_tools
        choice = allowed.mode
        names = {tool.function.name for tool in allowed.tools if isinstance(tool, NamedFunction)}
        functions = [function for function in functions if function.name in names]
    tools = tuple(
        contract.Tool(
            name=function.name,
            description=function.description,
            parameters=function.parameters,
            strict=bool(function.strict),
        )
        for function in functions
    )
    return tools, choice


def _messages(messages: tuple[ChatMessage, ...]) -> tuple[contract.Message, ...]:
    """Return the conversation as the contract has it: as it is, unless a refusal is written as a part."""
    for message in messages:
        if type(message) is AssistantMessage and _has_refusal_part(message):
            return tuple(_without_refusal_parts(each) if type(each) is AssistantMessage else each for each in messages)
    return messages


def _has_refusal_part(message: AssistantMessage) -> bool:
    return isinstance(message.content, tuple) and any(isinstance(part, RefusalPart) for part in message.content)


def _without_refusal_parts(message: AssistantMessage) -> contract.Message:
    if not _has_refusal_part(message):
        return message
    parts = message.content if isinstance(message.content, tuple) else ()
    refusals = [part.refusal for part in parts if isinstance(part, RefusalPart)]
    texts = tuple(part for part in parts if not isinstance(part, RefusalPart))
    return msgspec.structs.replace(message, content=texts or None, refusal="".join([message.refusal or "", *refusals]))
